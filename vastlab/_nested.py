"""The one place that patches asyncio, and only when it is asked to."""

from __future__ import annotations

import importlib
import importlib.util
import sys

from vastlab.errors import ConfigError

__all__ = ["allow_nested"]

_BROKEN_SINCE = (3, 14)


def allow_nested() -> str:
    """Let ``asyncio.run(...)`` work inside a notebook's cell.

    vastlab does not need this: in a cell, ``await`` the asynchronous API or use
    `vastlab.connect`. It is for code that insists on ``asyncio.run``, and it changes asyncio
    for the whole process, until it ends.

    Returns
    -------
    str
        The package that did it: ``nest_asyncio2`` where it is installed, as beside ipykernel,
        else ``nest_asyncio``.

    Raises
    ------
    ConfigError
        Only ``nest_asyncio`` is installed, and Python is 3.14 or later, where it breaks
        asyncio.

    Examples
    --------
    >>> allow_nested()  # doctest: +SKIP
    'nest_asyncio2'
    """
    name = _package()
    importlib.import_module(name).apply()
    return name


def _package() -> str:
    if importlib.util.find_spec("nest_asyncio2") is not None:
        return "nest_asyncio2"
    if sys.version_info >= _BROKEN_SINCE:
        raise ConfigError(
            "nest_asyncio breaks asyncio on Python 3.14 and later",
            hint="`pip install nest_asyncio2`, or use `await` or vastlab.connect()",
        )
    return "nest_asyncio"

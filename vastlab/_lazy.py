"""Libraries that take long to import: imported when something of them is first used.

``from vastlab._lazy import pd`` is as good as ``import pandas as pd``, also for a type checker,
but a count on the shell never loads pandas, and a status never loads the engine. What is used
while a module is imported, such as the base of a class, would load them at once.
"""

from __future__ import annotations

import importlib
import sys
from importlib.abc import MetaPathFinder
from types import ModuleType
from typing import TYPE_CHECKING, Any

__all__ = ["col", "datafusion", "functions", "is_loaded", "leave_out", "lit", "pd", "yaml"]


class _Lazy(ModuleType):
    """A module that is imported when an attribute of it is first asked for."""

    def __getattr__(self, name: str) -> Any:
        value = getattr(importlib.import_module(self.__name__), name)
        setattr(self, name, value)
        return value


if TYPE_CHECKING:
    import datafusion
    import pandas as pd
    import yaml
    from datafusion import functions
else:
    datafusion = _Lazy("datafusion")
    functions = _Lazy("datafusion.functions")
    pd = _Lazy("pandas")
    yaml = _Lazy("yaml")


class _Finder(MetaPathFinder):
    """Finds no library of a name, as if it were not installed."""

    def __init__(self, name: str) -> None:
        self._name = name

    def find_spec(self, name: str, _path: object, _target: object = None) -> None:
        """Refuse the library, and leave others to the next finder."""
        if name == self._name:
            raise ModuleNotFoundError(f"{name} is left out of this process", name=name)


def leave_out(module: ModuleType) -> None:
    """Do without a library until the process ends, unless it is loaded already.

    Arrow looks for pandas at its first conversion of a Python value, and does without where it is
    not installed. Its import takes longer than most counts, which have nothing of pandas in them.
    """
    if not is_loaded(module):
        sys.meta_path.insert(0, _Finder(module.__name__))


def is_loaded(module: ModuleType) -> bool:
    """Whether the library has been imported: until then there are no objects of its classes."""
    return module.__name__ in sys.modules


def col(name: str) -> datafusion.Expr:
    """Return a column of the engine."""
    return datafusion.col(name)


def lit(value: Any) -> datafusion.Expr:
    """Return a value for the engine."""
    return datafusion.lit(value)

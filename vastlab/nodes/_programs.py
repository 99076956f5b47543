"""The programs that reach a node, and where they are installed."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

from vastlab.errors import ClientNotFoundError

REMEDY = (
    "put `vast` (for nodes up to version 3) or `tenzir` (from version 6) on PATH, "
    'or `pip install "vastlab[tenzir]"`; the endpoint "demo:" and any folder of logs need neither'
)


def find_vast() -> Path | None:
    """Return ``vast`` on PATH, where it is there."""
    found = shutil.which("vast")
    return None if found is None else Path(found)


def find_tenzir() -> Path | None:
    """Return the program ``tenzir``: that of the installed package, else the one on PATH.

    The package's own command is a Python script around the program, and takes twice as long.
    """
    bundled = _bundled("bin", "tenzir")
    if bundled is not None:
        return bundled
    found = shutil.which("tenzir")
    return None if found is None else Path(found)


def find_tenzir_engine() -> Path:
    """Return the program that runs a node; it goes by the name that it is started under.

    Raises
    ------
    ClientNotFoundError
        The package is not installed, and no ``tenzir-node`` is on PATH.
    """
    bundled = _bundled("libexec", "tenzir-engine")
    found = shutil.which("tenzir-node")
    if bundled is not None:
        return bundled
    if found is not None:
        return Path(found)
    raise ClientNotFoundError(
        "no Tenzir node is installed", hint='`pip install "vastlab[tenzir]"` brings one'
    )


def _bundled(*parts: str) -> Path | None:
    spec = importlib.util.find_spec("tenzir")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        program = Path(folder, "bundled", *parts)
        if program.is_file():
            return program
    return None

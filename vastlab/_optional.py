"""Packages that need not be installed."""

from __future__ import annotations

import importlib
from types import ModuleType

from vastlab import errors


def import_optional(module: str, *, extra: str) -> ModuleType:
    """Import a module that needs an extra, or raise a `UsageError` that says how to install it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise errors.UsageError(
            f"this needs the Python package {error.name!r}, which is not installed",
            hint=f'pip install "vastlab[{extra}]"',
        ) from error

"""Packages that may be missing."""

from __future__ import annotations

import math
import sys

import pytest

from vastlab._optional import import_optional
from vastlab.errors import UsageError


def test_a_package_that_is_there_is_imported():
    """What is installed is imported."""
    assert import_optional("math", extra="plots") is math


def test_a_missing_package_is_named_with_its_cure(monkeypatch):
    """What is missing is named, with the command that installs it."""
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(UsageError, match=r"'polars'.*pip install \"vastlab\[polars\]\""):
        import_optional("polars", extra="polars")

"""What the package exports."""

from __future__ import annotations

import inspect

import vastlab


def test_everything_public_is_listed_and_sorted():
    """The names in ``__all__`` are exactly the public ones, in the order of the linter."""
    public = {
        name
        for name, value in vars(vastlab).items()
        if not name.startswith("_")
        and not inspect.ismodule(value)
        and name not in {"Any", "annotations"}
    }
    assert public | {"__version__"} == set(vastlab.__all__)


def test_everything_public_is_documented():
    """Each exported class and function says what it is."""
    for name in vastlab.__all__:
        value = getattr(vastlab, name)
        assert isinstance(value, str) or inspect.getdoc(value), name

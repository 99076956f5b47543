"""What the package exports."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import vastlab


def test_every_exported_name_is_there_on_first_use():
    """The package imports nothing large by itself, and each name and module where it is used."""
    code = """
import sys, vastlab
assert not {"pyarrow", "pandas", "datafusion"} & sys.modules.keys()
assert set(vastlab.__all__) <= set(dir(vastlab))
assert all(getattr(vastlab, name) is not None for name in vastlab.__all__)
assert vastlab.errors.VastlabError and vastlab.VAST is vastlab.client.VAST
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_an_unknown_name_is_an_attribute_error():
    """As for any module; private names are never imported by accident."""
    for name in ("nothing", "_nothing", "__wrapped__"):
        with pytest.raises(AttributeError, match=name):
            getattr(vastlab, name)


def test_type_checkers_and_python_agree_on_the_names():
    """The imports for type checkers name the same modules as those at run time."""
    source = Path(vastlab.__file__).read_text()
    block = source[source.index("if TYPE_CHECKING:") : source.index("__all__")]
    imports = re.findall(r"from vastlab\.(\S+) import (.+)", block)
    named = {name.strip(): module for module, names in imports for name in names.split(",")}
    assert named == vastlab._MODULES
    assert named.keys() <= set(vastlab.__all__)


def test_everything_public_is_documented():
    """Each exported class and function says what it is."""
    for name in vastlab.__all__:
        value = getattr(vastlab, name)
        assert isinstance(value, str) or inspect.getdoc(value), name

"""The folder from which Binder builds an image, followed here without a network."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from tests.conftest import ROOT

BINDER = ROOT / "binder"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def _run(cache: Path, *command: str) -> str:
    """Run a command as in the image: from the project's folder, with its programs on PATH."""
    env = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(cache),
        "XDG_CACHE_HOME": str(cache),
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_all_files_mean_something():
    """There is no file that Binder would not look at, and its programs can be run."""
    programs = {"postBuild", "start"}
    assert {path.name for path in BINDER.iterdir()} == {
        "requirements.txt",
        "runtime.txt",
    } | programs
    for name in programs:
        assert os.access(BINDER / name, os.X_OK)
        assert (BINDER / name).read_text().startswith("#!/bin/bash\n")


def test_the_project_installs_itself_with_its_extras():
    """What is installed is this project, with extras that it has: a page, widgets and pictures."""
    (line,) = (BINDER / "requirements.txt").read_text().split()
    match = re.fullmatch(r"\.\[(?P<extras>[a-z,]+)\]", line)
    assert match is not None
    offered = PROJECT["optional-dependencies"]
    brought = [*PROJECT["dependencies"]]
    for extra in match["extras"].split(","):
        brought += offered[extra]
    assert {Requirement(text).name for text in brought} >= {
        *("jupyterlab", "ipykernel", "ipywidgets", "matplotlib", "pandas")
    }


def test_its_python_is_one_of_ours():
    """The image's Python is one that the project supports."""
    name, _, version = (BINDER / "runtime.txt").read_text().strip().partition("-")
    assert name == "python"
    assert version in SpecifierSet(PROJECT["requires-python"])


def test_notebooks_ask_the_demo(tmp_path):
    """Whatever is opened asks the demo database, and the page's own command still runs."""
    assert _run(tmp_path, str(BINDER / "start"), "printenv", "VAST_ENDPOINT") == "demo:\n"


@pytest.mark.full
def test_the_image_holds_the_demo(tmp_path):
    """Building the image makes the demo database, so that it is not made later."""
    _run(tmp_path, str(BINDER / "postBuild"))
    made = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    assert made
    count = [str(BINDER / "start"), "vastlab", "count"]
    assert _run(tmp_path, *count).strip() == "200000"
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == made

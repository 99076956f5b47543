"""The packages that a release uploads work where nothing else is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = [pytest.mark.full, pytest.mark.timeout(1200)]


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Build the sdist, and the wheel from the sdist."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", str(folder), str(ROOT))
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return wheel, sdist


def test_packages_hold_the_library_and_its_data(built):
    """The wheel has the code and its data only; the sdist has the tests, too."""
    wheel, sdist = built
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].partition("-")[0] for name in names} == {"vastlab"}
    assert {"vastlab/py.typed", "vastlab/data/schemas/zeek.json"} <= set(names)
    with tarfile.open(sdist) as archive:
        folders = {name.split("/")[1] for name in archive.getnames() if "/" in name}
    assert {"vastlab", "tests", "notebooks", "README.md", "LICENSE", "Makefile"} <= folders
    metadata = next(name for name in names if name.endswith("METADATA"))
    assert b"Requires-Python: >=3.11" in zipfile.ZipFile(wheel).read(metadata)


@pytest.mark.parametrize("minor", [11, 12, 13, 14])
def test_the_wheel_works_in_an_empty_environment(built, tmp_path, minor):
    """It is installed with what it requires; the demo and a notebook run."""
    interpreter = shutil.which(f"python3.{minor}")
    if sys.version_info[:2] == (3, minor):
        interpreter = sys.executable
    if interpreter is None or subprocess.run([interpreter, "-V"], capture_output=True).returncode:
        pytest.skip(f"Python 3.{minor} is not installed here")
    environment = tmp_path / "venv"
    run(interpreter, "-m", "venv", "--without-pip", str(environment))
    python = str(environment / "bin" / "python")
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    wheel = f"vastlab[plots] @ {built[0].as_uri()}"
    run(*pip, "--python", python, "install", wheel, "ipykernel", "nbclient")
    clean = {
        "PATH": f"{environment / 'bin'}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "VAST_ENDPOINT": "demo:",
    }
    shown = run(python, "-m", "vastlab", "demo", env=clean, cwd=tmp_path)
    assert "zeek.conn" in shown
    notebook = shutil.copy(ROOT / "notebooks" / "quickstart.ipynb", tmp_path)
    run(python, "-m", "ipykernel", "install", "--prefix", str(environment), env=clean)
    run(str(environment / "bin" / "jupyter-execute"), str(notebook), env=clean, cwd=tmp_path)

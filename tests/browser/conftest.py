"""A real JupyterLab and a real Notebook 7, and a browser that looks at them."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.browser.servers import Lab, Notebook, Page, Server, browser, write_notebook
from tests.conftest import ROOT


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.full)


@contextlib.contextmanager
def _started(kind: type[Server], folder: Path) -> Iterator[Server]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    pytest.importorskip(kind.module, reason=f"{kind.module} is not installed")
    program = browser()
    if program is None:
        pytest.skip("there is no chromium")
    root = folder / "root"
    root.mkdir()
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        shutil.copy(notebook, root)
    with api.sync_playwright() as playwright:
        server = kind(root, playwright, program)
        try:
            yield server
        finally:
            server.close()


@contextlib.contextmanager
def _opening(server: Server) -> Iterator[Callable[..., Page]]:
    """Give what opens a notebook: one of ours by name, or one made of cells."""
    opened: list[Page] = []

    def open_(name: str, *cells: str) -> Page:
        if cells:
            write_notebook(server.root / name, cells)
        opened.append(server.open(name))
        return opened[-1]

    yield open_
    for page in opened:
        server.shut(page)
        assert page.failures == []


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Iterator[Server]:
    with _started(Lab, tmp_path_factory.mktemp("lab")) as server:
        yield server


@pytest.fixture(scope="module")
def notebook_7(tmp_path_factory) -> Iterator[Server]:
    with _started(Notebook, tmp_path_factory.mktemp("notebook")) as server:
        yield server


@pytest.fixture
def notebook(lab) -> Iterator[Callable[..., Page]]:
    """Open notebooks in JupyterLab."""
    with _opening(lab) as open_:
        yield open_


@pytest.fixture
def classic(notebook_7) -> Iterator[Callable[..., Page]]:
    """Open notebooks in Notebook 7."""
    with _opening(notebook_7) as open_:
        yield open_

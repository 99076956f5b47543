"""A real JupyterLab, and a browser that looks at it."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT

PATIENCE = 90  # seconds
_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
_SETTINGS = {
    "apputils-extension/notification": '{"fetchNews": "false", "checkForUpdates": false}',
    # All cells are in the page, also those out of sight.
    "notebook-extension/tracker": '{"windowingMode": "none"}',
}
_PROGRAMS = ("chromium", "chromium-browser", "google-chrome")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.full)


class Page:
    """One notebook in the browser."""

    def __init__(self, lab: Lab, page: Any) -> None:
        self.lab, self.page = lab, page
        self.failures: list[str] = []
        page.on("pageerror", lambda error: self.failures.append(str(error)))
        page.on("dialog", self._dialog)

    def _dialog(self, dialog: Any) -> None:
        self.failures.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def until(self, true: Callable[[], bool]) -> None:
        """Wait, letting the browser work."""
        end = time.monotonic() + PATIENCE
        while not true():
            assert time.monotonic() < end, self.text()[-3000:]
            self.page.wait_for_timeout(100)

    def text(self) -> str:
        """Return the text of all outputs."""
        found: list[str] = self.page.eval_on_selector_all(
            ".jp-OutputArea-output", "all => all.map(one => one.innerText)"
        )
        return "\n".join(found)

    def has(self, text: str) -> bool:
        return text in self.text()

    def run_all(self) -> None:
        """Begin to run all cells."""
        self.page.locator(".jp-Notebook .jp-Cell").first.click()
        command = "notebook:run-all-cells"
        self.page.evaluate(f"() => {{ window.jupyterapp.commands.execute('{command}') }}")
        self.page.wait_for_timeout(300)

    def settle(self) -> None:
        """Wait until no cell runs and none waits."""

        def quiet() -> bool:
            waiting = self.page.locator(".jp-InputPrompt", has_text="*").count()
            return not waiting and {k["execution_state"] for k in self.lab.kernels()} == {"idle"}

        self.until(quiet)
        self.page.wait_for_timeout(500)
        self.until(quiet)

    def cell(self, source: str) -> None:
        """Type a new last cell, without running it."""
        self.page.locator(".jp-Notebook .jp-Cell").last.click()
        self.page.keyboard.press("Escape")
        self.page.keyboard.press("b")
        self.page.keyboard.press("Enter")
        self.page.keyboard.type(source)

    def lay_out(self) -> None:
        """Make the window as high as the notebook, so that all of it is laid out."""
        script = """() => {
            const all = document.querySelectorAll('.jp-WindowedPanel-outer, .jp-Notebook')
            return Math.max(...[...all].map(one => one.scrollHeight)) + 200
        }"""
        self.page.set_viewport_size(
            {"width": 1300, "height": min(20_000, self.page.evaluate(script))}
        )
        self.page.wait_for_timeout(500)

    def broken(self) -> int:
        """Count the widgets that could not be shown."""
        bad = ("Error displaying widget", "Model not found", "Error creating widget")
        return sum(self.text().count(words) for words in bad)


class Lab:
    """The server, and one browser."""

    def __init__(self, root: Path, playwright: Any, program: str) -> None:
        self.root = root
        self._port, self._token = _free_port(), secrets.token_hex(16)
        self._server = self._start()
        self._browser = playwright.chromium.launch(
            executable_path=program, headless=True, args=list(_FLAGS), timeout=PATIENCE * 1000
        )

    def _start(self) -> subprocess.Popen[bytes]:
        state = self.root.parent / "jupyter"
        for name, text in _SETTINGS.items():
            file = state / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
            file.parent.mkdir(parents=True)
            file.write_text(text)
        env = os.environ | {
            "JUPYTER_RUNTIME_DIR": str(state / "runtime"),
            "JUPYTER_CONFIG_DIR": str(state / "config"),
            "JUPYTERLAB_SETTINGS_DIR": str(state / "settings"),
            "JUPYTERLAB_WORKSPACES_DIR": str(state / "workspaces"),
            "IPYTHONDIR": str(state / "ipython"),
            "VAST_ENDPOINT": "demo:",
            "PYTHONPATH": str(ROOT),
        }
        command = [
            *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"),
            *(f"--port={self._port}", "--ServerApp.ip=127.0.0.1"),
            *(f"--IdentityProvider.token={self._token}", f"--ServerApp.root_dir={self.root}"),
            "--LabApp.expose_app_in_browser=True",
        ]
        self._log = (state / "log").open("wb")
        server = subprocess.Popen(
            command, env=env, cwd=self.root, stdout=self._log, stderr=self._log,
            start_new_session=True,
        )  # fmt: skip
        end = time.monotonic() + PATIENCE
        while True:
            try:
                self._api("status")
            except (OSError, urllib.error.URLError):
                assert server.poll() is None, (state / "log").read_text()
                assert time.monotonic() < end
                time.sleep(0.2)
            else:
                return server

    def _api(self, path: str, method: str = "GET") -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._port}/api/{path}",
            headers={"Authorization": f"token {self._token}"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            return json.load(answer) if answer.status == 200 else None

    def kernels(self) -> list[dict[str, Any]]:
        """Return the kernels; none where one of them is just starting or ending."""
        try:
            return list(self._api("kernels"))
        except urllib.error.HTTPError:
            return []

    def interrupt(self) -> None:
        """Interrupt all kernels."""
        for kernel in self.kernels():
            self._api(f"kernels/{kernel['id']}/interrupt", "POST")

    def open(self, name: str) -> Page:
        """Open a notebook of the root folder."""
        page = self._browser.new_page(viewport={"width": 1300, "height": 1000})
        opened = Page(self, page)
        url = f"http://127.0.0.1:{self._port}/lab/tree/{name}?token={self._token}&reset"
        page.goto(url, timeout=PATIENCE * 1000)
        page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=PATIENCE * 1000)
        opened.until(lambda: {k["execution_state"] for k in self.kernels()} == {"idle"})
        return opened

    def shut(self, opened: Page) -> None:
        """Close a notebook and end its kernel."""
        opened.page.close()
        for kernel in self.kernels():
            with contextlib.suppress(urllib.error.HTTPError):  # it has ended by itself
                self._api(f"kernels/{kernel['id']}", "DELETE")

    def close(self) -> None:
        self._browser.close()
        os.killpg(self._server.pid, signal.SIGTERM)
        try:
            self._server.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(self._server.pid, signal.SIGKILL)
            self._server.wait()
        self._log.close()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Iterator[Lab]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    pytest.importorskip("jupyterlab", reason="jupyterlab is not installed")
    program = next(filter(None, map(shutil.which, _PROGRAMS)), None)
    if program is None:
        pytest.skip("there is no chromium")
    root = tmp_path_factory.mktemp("lab") / "root"
    root.mkdir()
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        shutil.copy(notebook, root)
    with api.sync_playwright() as playwright:
        started = Lab(root, playwright, program)
        try:
            yield started
        finally:
            started.close()


@pytest.fixture
def notebook(lab) -> Iterator[Callable[..., Page]]:
    """Return what opens a notebook: one of ours by name, or one made of cells."""
    opened: list[Page] = []

    def open_(name: str, *cells: str) -> Page:
        if cells:
            _write(lab.root / name, cells)
        opened.append(lab.open(name))
        return opened[-1]

    yield open_
    for page in opened:
        lab.shut(page)
        assert page.failures == []


def _write(path: Path, cells: tuple[str, ...]) -> None:
    made = [
        {
            "cell_type": "code", "id": f"c{number}", "metadata": {}, "outputs": [],
            "execution_count": None, "source": source,
        }
        for number, source in enumerate(cells)
    ]  # fmt: skip
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    content = {"cells": made, "metadata": {"kernelspec": kernel}, "nbformat": 4}
    path.write_text(json.dumps(content | {"nbformat_minor": 5}), encoding="utf-8")

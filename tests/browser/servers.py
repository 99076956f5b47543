"""Jupyter as people run it: a server, a browser, and a notebook in it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.conftest import ROOT

PATIENCE = 120  # seconds
_ATTEMPTS = 3
_PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
_SETTINGS = {
    "apputils-extension/notification": '{"fetchNews": "false", "checkForUpdates": false}',
    # All cells are in the page, also those out of sight.
    "notebook-extension/tracker": '{"windowingMode": "none"}',
    # What a kernel on a busy machine completes comes late, and is dropped after a second otherwise.
    "completer-extension/manager": '{"providerTimeout": 120000}',
}
# What is being run, as a promise that a test can wait for.
_EXECUTE = """command => {
    window.__done = false
    window.jupyterapp.commands.execute(command).finally(() => { window.__done = true })
}"""
_SELECT = """index => {
    const notebook = window.jupyterapp.shell.currentWidget.content
    notebook.activeCellIndex = index < 0 ? notebook.widgets.length + index : index
    notebook.deselectAll()
}"""
_WRITE = """source => {
    window.jupyterapp.shell.currentWidget.content.activeCell.model.sharedModel.setSource(source)
}"""
_READ = "window.jupyterapp.shell.currentWidget.content.activeCell.model.sharedModel.getSource()"
_LAID_OUT = """() => {
    const all = document.querySelectorAll('.jp-WindowedPanel-outer, .jp-Notebook')
    return Math.max(...[...all].map(one => one.scrollHeight)) + 200
}"""


class Page:
    """One notebook in the browser."""

    def __init__(self, server: Server, page: Any) -> None:
        self.server, self.page = server, page
        self.failures: list[str] = []
        page.on("pageerror", self._failed)
        page.on("dialog", self._dialog)

    def _failed(self, error: Any) -> None:
        if not any(words in str(error) for words in self.server.complaints):
            self.failures.append(str(error))

    def _dialog(self, dialog: Any) -> None:
        self.failures.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    # --- looking ----------------------------------------------------------------------------

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

    def count(self, selector: str, **options: Any) -> int:
        """Count elements of the page."""
        return int(self.page.locator(selector, **options).count())

    def broken(self) -> int:
        """Count the widgets that could not be shown."""
        bad = ("Error displaying widget", "Model not found", "Error creating widget")
        return sum(self.text().count(words) for words in bad)

    def lay_out(self) -> None:
        """Make the window as high as the notebook, so that all of it is laid out."""
        height = min(20_000, self.page.evaluate(_LAID_OUT))
        self.page.set_viewport_size({"width": 1300, "height": height})
        self.page.wait_for_function(f"innerHeight == {height}")

    # --- doing ------------------------------------------------------------------------------

    def run_all(self) -> None:
        """Begin to run all cells."""
        self.page.evaluate(_EXECUTE, "notebook:run-all-cells")

    def settle(self) -> None:
        """Wait until what was begun has run."""
        self.until(lambda: self.page.evaluate("window.__done") and self.server.idle())

    def run_each(self) -> None:
        """Run the cells one by one, also after one that fails, which would stop the others."""
        for index in range(self.count(".jp-Notebook .jp-Cell")):
            self.page.evaluate(_SELECT, index)
            self.page.evaluate(_EXECUTE, "notebook:run-cell")
            self.settle()

    def cell(self, source: str = "") -> None:
        """Add a last cell, without running it; the cursor is in it."""
        self.page.evaluate(_SELECT, -1)
        for command in ("insert-cell-below", "enter-edit-mode"):
            self.page.evaluate(f"() => window.jupyterapp.commands.execute('notebook:{command}')")
        self.page.evaluate(_WRITE, source)
        self.page.wait_for_selector(".jp-Cell.jp-mod-active .cm-focused")

    def run(self, source: str) -> None:
        """Begin to run some code in a new last cell."""
        self.cell(source)
        self.page.evaluate(_EXECUTE, "notebook:run-cell")

    def click(self, button: str) -> None:
        """Click the button of a widget."""
        self.page.locator(".jupyter-button", has_text=button).click(timeout=PATIENCE * 1000)

    def completed(self, *lines: str) -> dict[str, str]:
        """Type some lines into a new cell and press Tab; return what is offered, with its type.

        Where there is one way to go on only, it has been gone: then that is what is returned.
        """
        self.cell()
        typed = "\n".join(lines)
        self.page.keyboard.type(typed)
        self.until(lambda: self._source() == typed)
        self.page.keyboard.press("Tab")
        offered = ".jp-Completer:not(.lm-mod-hidden) .jp-Completer-item"
        self.until(lambda: self.count(offered) > 0 or self._source() != typed)
        if self._source() != typed:
            return {re.split(r"[\s\"]", self._source())[-1]: ""}
        return dict(
            self.page.eval_on_selector_all(
                offered,
                "all => all.map(one => [one.querySelector('.jp-Completer-match').innerText, "
                "one.querySelector('.jp-Completer-typeExtended')?.innerText ?? ''])",
            )
        )

    def _source(self) -> str:
        return str(self.page.evaluate(_READ))


class Server:
    """A Jupyter server, and one browser.

    Parameters
    ----------
    root
        The folder of the notebooks.
    playwright, program
        What drives the browser, and the browser.
    scale
        How many pixels of a screenshot are one of the page.
    """

    module, where, option = "jupyterlab", "lab/tree", "LabApp"
    complaints: tuple[str, ...] = ()
    """Errors of pages in which nothing of ours has run yet."""

    def __init__(self, root: Path, playwright: Any, program: str, scale: float = 1) -> None:
        self.root, self._scale = root, scale
        self._token = secrets.token_hex(16)
        self._server = self._start()
        self._browser = playwright.chromium.launch(
            executable_path=program, headless=True, args=list(_FLAGS), timeout=PATIENCE * 1000
        )

    def _start(self) -> subprocess.Popen[bytes]:
        state = self.root.parent / "jupyter"
        for name, text in _SETTINGS.items():
            file = state / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
            file.parent.mkdir(parents=True, exist_ok=True)
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
        for _ in range(_ATTEMPTS):
            self._port = _free_port()
            server = self._attempt(state, env)
            if server is not None:
                return server
        raise AssertionError((state / "log").read_text())

    def _attempt(self, state: Path, env: Mapping[str, str]) -> subprocess.Popen[bytes] | None:
        """Start the server; None where it ends, as it does if another program took the port."""
        command = [
            *(sys.executable, "-m", self.module, "--no-browser", "--allow-root"),
            *(f"--port={self._port}", "--ServerApp.port_retries=0", "--ServerApp.ip=127.0.0.1"),
            *(f"--IdentityProvider.token={self._token}", f"--ServerApp.root_dir={self.root}"),
            f"--{self.option}.expose_app_in_browser=True",
        ]
        self._log = (state / "log").open("wb")
        server = subprocess.Popen(
            command, env=env, cwd=self.root, stdout=self._log, stderr=self._log,
            start_new_session=True,
        )  # fmt: skip
        end = time.monotonic() + PATIENCE
        while server.poll() is None and time.monotonic() < end:
            # What answers may be the other program, in any way.
            with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
                self._api("status")
                return server
            time.sleep(0.2)
        server.kill()
        server.wait()
        self._log.close()
        return None

    def _api(self, path: str, method: str = "GET") -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._port}/api/{path}",
            headers={"Authorization": f"token {self._token}"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return json.load(answer) if answer.status == 200 else None

    def kernels(self) -> list[dict[str, Any]]:
        """Return the kernels; none where one of them is just starting or ending."""
        try:
            return list(self._api("kernels"))
        except urllib.error.HTTPError:
            return []

    def idle(self) -> bool:
        """Tell whether there is a kernel, and none that works."""
        return {kernel["execution_state"] for kernel in self.kernels()} == {"idle"}

    def interrupt(self) -> None:
        """Interrupt all kernels."""
        for kernel in self.kernels():
            self._api(f"kernels/{kernel['id']}/interrupt", "POST")

    def open(self, name: str) -> Page:
        """Open a notebook of the root folder."""
        size = {"width": 1300, "height": 1000}
        page = self._browser.new_page(viewport=size, device_scale_factor=self._scale)
        opened = Page(self, page)
        url = f"http://127.0.0.1:{self._port}/{self.where}/{name}?token={self._token}&reset"
        page.goto(url, timeout=PATIENCE * 1000)
        page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=PATIENCE * 1000)
        opened.until(self.idle)
        return opened

    def shut(self, opened: Page) -> None:
        """Close a notebook and end its kernel."""
        opened.page.close()
        for kernel in self.kernels():
            with contextlib.suppress(urllib.error.HTTPError):  # it has ended by itself
                self._api(f"kernels/{kernel['id']}", "DELETE")

    def close(self) -> None:
        """End the browser and the server."""
        self._browser.close()
        os.killpg(self._server.pid, signal.SIGTERM)
        try:
            self._server.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(self._server.pid, signal.SIGKILL)
            self._server.wait()
        self._log.close()


class Lab(Server):
    """JupyterLab."""


class Notebook(Server):
    """Notebook 7."""

    module, where, option = "notebook", "notebooks", "JupyterNotebookApp"
    complaints = ("Cannot read properties of undefined (reading 'schema')",)  # while it loads


def browser() -> str | None:
    """Return the browser's program, if there is one."""
    return next(filter(None, map(shutil.which, _PROGRAMS)), None)


def write_notebook(path: Path, cells: tuple[str, ...]) -> None:
    """Make a notebook of some code."""
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


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])

"""Draw the README's pictures: ``python -m tests.browser.pictures``, or ``make pictures``."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image  # comes with matplotlib

from tests.browser.servers import Lab, Page, browser, write_notebook
from tests.conftest import ROOT

FOLDER = ROOT / "notebooks" / "pictures"
_WIDTH, _HEIGHT = 1160, 1600
_SCALE = 1.5
_COLOURS = 256  # no more, since the files are kept in the repository
_LOAD = "%load_ext vastlab\nimport vastlab\nvast = vastlab.connect('demo:')"
_COMMAND = "([name, options]) => window.jupyterapp.commands.execute(name, options)"
_SUMMARY = """outside = 'orig_h in 10.0.0.0/8 && resp_h !in 10.0.0.0/8'
display(vast.summarize(outside, by=['id.orig_h', 'id.resp_h'], limit=5, aggregates={
    'bytes': 'sum(orig_bytes)', 'sessions': 'count()', 'first': 'min(ts)'}))
vast.query('10.1.4.17', limit=0).timeline()"""
_QUIET = """
.jp-Cell-footer, .jp-Toolbar, .jp-cell-toolbar, .jp-InputPrompt, .jp-OutputPrompt, .jp-Collapser {
    display: none !important; }
"""


class Picture(NamedTuple):
    """A cell, and what is done until it looks as it should."""

    source: str
    draw: Callable[[Page], None]
    theme: str = "JupyterLab Light"


def explored(page: Page) -> None:
    """Wait for the counts of an explorer."""
    page.until(lambda: page.count(".vastlab-schemas button", has_text="(2,103)") > 0)


def summarised(page: Page) -> None:
    """Wait for a picture."""
    page.until(lambda: page.count(".jp-OutputArea-output img") > 0)


def narrowed(page: Page) -> None:
    """Click a value of an alert."""
    page.page.locator(".vastlab-schemas button", has_text="alert (").click()
    page.until(lambda: page.count(".vastlab-table td", has_text="DEMO") > 0)
    page.page.locator(".vastlab-table td", has_text="DEMO").last.click()


PICTURES = {
    "explorer": Picture("vast.explore('10.1.4.17')", explored),
    "summary": Picture(_SUMMARY, summarised),
    "narrowed": Picture(
        "vast.explore('203.0.113.0/24 && #type == /suricata.*/')", narrowed, "JupyterLab Dark"
    ),
}


def _small(shot: bytes) -> bytes:
    """Reduce the colours of a picture: it is text on a plain ground."""
    image = Image.open(io.BytesIO(shot)).convert("RGB")
    image = image.quantize(_COLOURS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    packed = io.BytesIO()
    image.save(packed, "PNG", optimize=True)
    return packed.getvalue()


def _shots(playwright: Any, root: Path) -> Iterator[tuple[str, bytes]]:
    program = browser()
    assert program is not None, "there is no chromium"
    lab = Lab(root, playwright, program, scale=_SCALE)
    try:
        for name, picture in PICTURES.items():
            write_notebook(root / f"{name}.ipynb", (_LOAD, picture.source))
            page = lab.open(f"{name}.ipynb")
            page.page.set_viewport_size({"width": _WIDTH, "height": _HEIGHT})
            page.page.add_style_tag(content=_QUIET)
            page.page.evaluate(_COMMAND, ["application:toggle-left-area", {}])
            page.page.evaluate(_COMMAND, ["apputils:change-theme", {"theme": picture.theme}])
            page.run_all()
            page.settle()
            picture.draw(page)
            page.settle()
            page.page.mouse.move(0, 0)
            page.page.wait_for_timeout(1000)  # what a click began to draw
            yield name, page.page.locator(".jp-Notebook .jp-Cell").last.screenshot()
            lab.shut(page)
    finally:
        lab.close()


def main() -> None:
    """Draw all of them."""
    # Here, since the module is also collected where only the other tests can run.
    from playwright.sync_api import sync_playwright

    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        root = Path(folder, "root")
        root.mkdir()
        for name, shot in _shots(playwright, root):
            small = _small(shot)
            (FOLDER / f"{name}.png").write_bytes(small)
            print(f"{name}.png  {len(small) // 1000} kB")  # noqa: T201 - what make shows


if __name__ == "__main__":
    main()

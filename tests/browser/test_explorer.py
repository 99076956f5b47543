"""The explorer in JupyterLab: mouse and keyboard lead to what the same query finds in Python."""

from __future__ import annotations

from typing import Any

import pytest

from tests import hostile

EVENTS = 1_000_000
_MANY = f"""
import tempfile, numpy as np, pyarrow as pa, vastlab
vast = vastlab.connect(tempfile.mkdtemp() + "/many.db")
number = np.arange({EVENTS})
vast.ingest(pa.table({{
    "ts": pa.array(number * 10**9, pa.timestamp("ns", "UTC")),
    "host": pa.array([f"h{{i}}" for i in range(1000)] * ({EVENTS} // 1000)),
    "size": (number * 7919) % {EVENTS},
}}), schema="my.events")
vast.ingest(pa.table({{"ts": pa.array([0, 1], pa.timestamp("ns", "UTC")), "host": ["h3", "x"]}}),
            schema="my.others")
box = vast.explore(limit=0)
box
"""
_SAME = """
again = vast.query(box.expression, since=box.since or None, until=box.until or None, limit=0)
box.wait()
same = again.num_rows == box.result.num_rows and list(again) == list(box.result)
print("step", {step}, "same", same, "rows", box.result.num_rows)
"""


def _cell(page: Any, text: str) -> Any:
    return page.page.locator(".vastlab-table td", has_text=text).first


def _choose(page: Any, text: str, choice: str) -> None:
    """Click on a value and choose what to do with it."""
    _cell(page, text).click()
    page.page.locator(".vastlab-menu button", has_text=choice).click()


def _is_same(page: Any, step: int) -> None:
    """Compare the explorer's result with the same query in Python."""
    page.run(_SAME.format(step=step))
    page.until(lambda: page.has(f"step {step} same True"))


def test_a_million_events_are_brushed_sorted_paged_and_narrowed(notebook):
    """The page never has more than a page of them."""
    page = notebook("explorer.ipynb", _MANY)
    page.run_all()
    page.until(lambda: page.has(f"my.events ({EVENTS:,})"))
    note = page.page.locator(".vastlab-foot").first
    assert f"1 to 100 of {EVENTS:,} events" in note.inner_text()
    page.page.locator("button[title='last page']").first.click()
    page.until(lambda: f"999,901 to {EVENTS:,} of" in note.inner_text())
    assert page.count(".vastlab-table:first-of-type tbody tr") <= 200
    sizes = page.page.locator(".vastlab-table th", has_text="size").first
    sizes.click()
    page.until(
        lambda: page.page.locator(".vastlab-table tbody tr").first.inner_text().endswith("\t0")
    )
    sizes.click()
    page.until(lambda: _cell(page, f"{EVENTS - 1}").is_visible())

    _choose(page, "h", "Only this")
    page.until(lambda: page.has("my.events (1,000)"))
    _is_same(page, 1)
    _choose(page, "1970-01-01", "Not this")
    page.until(lambda: page.has("my.events (999)"))
    _is_same(page, 2)
    page.click("Back")
    page.until(lambda: page.has("my.events (1,000)"))
    page.click("Back")
    page.until(lambda: page.has(f"my.events ({EVENTS:,})"))
    _is_same(page, 3)

    area = page.page.locator(".vastlab-area").bounding_box()
    middle = area["y"] + area["height"] / 2
    page.page.mouse.move(area["x"] + area["width"] * 0.3, middle)
    page.page.mouse.down()
    page.page.mouse.move(area["x"] + area["width"] * 0.5, middle, steps=5)
    page.page.mouse.up()
    page.until(lambda: page.page.locator("input[placeholder='exclusive']").input_value() != "")
    page.until(lambda: not page.has(f"my.events ({EVENTS:,})"))
    _is_same(page, 4)
    page.click("Back")
    page.until(lambda: page.has(f"my.events ({EVENTS:,})"))
    _choose(page, "h3", "Pivot on it")
    page.until(lambda: page.has("my.others (1)"))
    _is_same(page, 5)
    assert page.broken() == 0


def test_keys_run_the_query_and_not_the_cell(notebook):
    """Ctrl+Enter and Shift+Enter in the query."""
    page = notebook("keys.ipynb", "%load_ext vastlab", "%vast -e demo: --explore resp_p == 22")
    page.run_all()
    page.until(lambda: page.has("zeek.conn"))
    text = page.page.locator(".vastlab-box textarea").first
    for number, key in enumerate(("Control+Enter", "Shift+Enter"), 1):
        text.fill(f'resp_p == 22 && #type == "zeek.conn" && duration > {number}s')
        text.press(key)
        page.until(lambda n=number: page.has(f"duration > {n}s"))
    assert page.count(".jp-Notebook .jp-Cell") == 2


_FITS = """() => {
  const shown = [...document.querySelectorAll(".vastlab-axis span")]
    .filter((label) => label.style.visibility !== "hidden")
    .map((label) => label.getBoundingClientRect());
  const apart = shown.every((box, i) => i === 0 || box.left >= shown[i - 1].right);
  const more = document.querySelector(".vastlab-scroll").classList.contains("vastlab-more");
  return shown.length > 1 && apart && more;
}"""


def test_a_narrow_page_leaves_labels_out_and_says_that_the_table_goes_on(notebook):
    """Times do not run into each other, and a shadow is where columns are cut."""
    page = notebook("narrow.ipynb", "%load_ext vastlab", "%vast -e demo: --explore resp_p == 443")
    page.run_all()
    page.until(lambda: page.has("zeek.conn (15,069)"))
    page.page.set_viewport_size({"width": 1060, "height": 1000})
    page.until(lambda: page.page.evaluate(_FITS))


@pytest.mark.parametrize("theme", ["explorer-hostile"])
def test_hostile_events_are_only_text(notebook, tmp_path, theme):
    """In tables, titles, menus, tooltips, the chart, the query and the clipboard."""
    folder = hostile.database(tmp_path)
    page = notebook(
        f"{theme}.ipynb",
        f"import vastlab\nvast = vastlab.connect({str(folder)!r})\nbox = vast.explore()\nbox",
    )
    page.run_all()
    page.until(lambda: page.count(".vastlab-table td") > 0)
    tabs = page.page.locator(".vastlab-schemas button")
    choices = ("Only this", "Not this", "Pivot on it", "Copy as expression")
    cells = page.page.locator(".vastlab-table td:not(.vastlab-fixed)")
    for number in range(tabs.count()):
        tab = tabs.nth(number)
        tab.click()
        page.until(lambda tab=tab: "vastlab-current" in (tab.get_attribute("class") or ""))
        for choice in choices:
            page.until(lambda: cells.count() > 0)
            cells.nth(number % cells.count()).click()
            page.page.locator(".vastlab-menu button", has_text=choice).click()
            page.page.wait_for_timeout(300)  # some values change nothing, of which no event tells
            if page.count("button:has-text('Back'):not([disabled])"):
                page.click("Back")
                page.page.wait_for_timeout(300)  # as above
    assert page.page.evaluate("window.__p") is None
    assert page.count(".vastlab-box script, .vastlab-box img") == 0
    text = page.page.locator(".vastlab-box").first.inner_text()
    assert not [control for control in "\x1b\u202e\x00" if control in text]

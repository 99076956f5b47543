"""vastlab in Notebook 7."""

from __future__ import annotations

from tests.browser.completing import FACTS, prepared, wrong


def test_the_quickstart(classic):
    """The tour runs from top to bottom, with tables, pictures, and a form that asks on a click."""
    page = classic("quickstart.ipynb")
    page.run_all()
    page.settle()
    page.lay_out()
    page.until(lambda: page.count(".jupyter-widgets button", has_text="Run") == 1)
    page.until(lambda: page.count(".jp-OutputArea-output img") > 0)
    assert page.count(".jp-OutputArea-output table") > 0
    assert page.count("[data-mime-type='application/vnd.jupyter.error']") == 0
    assert page.broken() == 0


def test_tabs_and_a_query_box(classic):
    """The tabs of a result and those of an explorer show their tables, one at a time."""
    page = classic(
        "tabs.ipynb",
        "%load_ext vastlab\nfrom vastlab.notebook import QueryBox",
        "hits = %vast -e demo: -n 0 203.0.113.99\nhits.tabs()",
        "box = QueryBox('demo:', expression='203.0.113.66', limit=0)\nbox",
    )
    page.run_all()
    page.until(lambda: page.count(".lm-TabBar-tab:visible", has_text="suricata.flow") == 1)
    shown = page.page.locator(".widget-tab-contents table:visible")
    page.page.locator(".lm-TabBar-tab", has_text="suricata.flow").click()
    page.until(lambda: "flow.bytes_toserver" in shown.inner_text())
    page.click("Run")
    page.until(lambda: page.count(".vastlab-schemas button", has_text="zeek.http (1)") == 1)
    page.page.locator(".vastlab-schemas button", has_text="zeek.http").click()
    page.until(lambda: page.count(".vastlab-table th", has_text="status_code") == 1)
    page.run("print('the box has', box.result.num_rows)")
    page.until(lambda: page.has("the box has 5"))
    assert page.broken() == 0


def test_completion(classic):
    """Tab completes in line and cell magics: all that can be named, and what each name is."""
    page = prepared(classic)
    assert [text for fact in FACTS if (text := wrong(page, fact))] == []

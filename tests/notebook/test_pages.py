"""Events in the order and the choice of a user."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from tests.arrow_strategies import batches, schemas
from tests.display.conftest import conn
from tests.display.test_html import CONTROLS
from vastlab.notebook.explorer.pages import Pages
from vastlab.types import Kind

ORDERED = (Kind.STRING, Kind.INT64, Kind.UINT64, Kind.TIME, Kind.DURATION, Kind.IP, Kind.BOOL)


@st.composite
def layouts(draw: st.DrawFn) -> list[pa.Table]:
    """Draw events of some layouts."""
    drawn = [draw(schemas()) for _ in range(draw(st.integers(1, 2)))]
    return [pa.Table.from_batches([draw(batches(schema))]) for schema in drawn]


def all_rows(pages: Pages) -> list[list[str | None]]:
    columns = list(pages.leaves)
    return [row for i in range(pages.chosen) for row in pages.page(i, 1, columns, None)]


@given(tables=layouts(), data=st.data())
def test_pages_are_cuts_of_one_order(tables, data):
    """Whatever the sort and the size of a page, each event is on one page, safe to show."""
    pages = Pages(tables, complete=True)
    assert pages.held == pages.chosen == sum(table.num_rows for table in tables)
    columns = list(pages.leaves)
    before = sorted(map(str, all_rows(pages)))
    sort = None
    if columns:
        sort = (data.draw(st.sampled_from(columns)), data.draw(st.booleans()))
    pages.arrange(sort, {})
    assert sorted(map(str, all_rows(pages))) == before
    assert pages.page(0, pages.chosen, columns, None) == all_rows(pages)
    assert not any(CONTROLS.search(cell) for row in all_rows(pages) for cell in row if cell)


@given(schema=schemas(), data=st.data())
def test_a_sort_is_by_value_and_null_comes_last(schema, data):
    """In both directions; the same values stay in the order of time."""
    table = pa.Table.from_batches([data.draw(batches(schema, max_rows=8))])
    pages = Pages([table], complete=True)
    ordered = [leaf for leaf in schema.leaves if leaf.type.kind in ORDERED and len(leaf.path) == 1]
    names = [leaf.column for leaf in ordered if table.column_names.count(leaf.path[0]) == 1]
    if not names:
        return
    column = data.draw(st.sampled_from(names))
    upwards = data.draw(st.booleans())
    kind = next(leaf.type.kind for leaf in ordered if leaf.column == column)
    pages.arrange((column, not upwards), {})
    found = []
    for place in range(pages.chosen):
        array = pages.event(place).column(column).combine_chunks()
        plain = array.storage if isinstance(array, pa.ExtensionArray) else array
        is_number = kind in (Kind.TIME, Kind.DURATION)
        found.append((plain.cast(pa.int64()) if is_number else plain)[0].as_py())
    known = [value for value in found if value is not None]
    assert found == [*known, *[None] * (len(found) - len(known))]
    key = str.encode if kind is Kind.STRING else None
    assert known == sorted(known, key=key, reverse=not upwards)


def test_a_filter_is_a_part_of_the_text_or_a_comparison():
    """Several filters hold together; an expression's rules compare values."""
    table = conn([0, 1, 2, 3], ["Alpha", "beta", None, "ALPHABET"])
    pages = Pages([table], complete=True)

    def chosen(**filters: str) -> list[int]:
        pages.arrange(None, {name.replace("__", "."): text for name, text in filters.items()})
        return [pages.event(place)["id"][0].as_py()["resp_p"] for place in range(pages.chosen)]

    assert chosen(note="alpha") == [0, 3]
    assert chosen(note=" ") == [0, 1, 2, 3]
    assert chosen(id__resp_p="> 1") == [2, 3]
    assert chosen(id__resp_p="1") == [1]
    assert chosen(id__resp_p="> 0", note="alp") == [3]
    assert chosen(id__resp_p='== "text"') == []
    assert chosen(id__orig_h="10.0.0.0/8") == [0, 1, 2, 3]
    assert chosen(id__orig_h="192.168.0.0/16") == []
    assert chosen(nowhere="x") == [0, 1, 2, 3]

from __future__ import annotations

import gzip
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vastlab.errors import FormatError
from vastlab.readers.json_documents import Lines
from vastlab.readers.problems import Problems
from vastlab.readers.source import BOM, GZIP, ZSTD, Source, blocks, encoding_of


def cut(data: bytes, **options: int) -> tuple[list[tuple[bytes, int]], Problems]:
    problems = Problems()
    found = blocks(Source("x", io.BytesIO(data)), problems, **options)
    return [(block.data, block.line) for block in found], problems


# Bytes that no compressed data and no byte order mark begin with, and that are not UTF-16.
plain = (
    st.lists(st.binary(max_size=6), max_size=12)
    .map(b"\n".join)
    .filter(lambda data: not data.startswith((GZIP, ZSTD, BOM)) and encoding_of(data, None) is None)
)


@given(data=plain, size=st.integers(1, 20))
def test_blocks_hold_whole_lines_under_their_number(data, size):
    """Blocks put together are the file; each begins at a line, with that line's number."""
    found, problems = cut(data, size=size)
    assert b"".join(part for part, _ in found) == data
    assert problems.count == 0
    line = 1
    for part, number in found:
        assert number == line
        line += part.count(b"\n")
    assert all(part.endswith(b"\n") for part, _ in found[:-1])


def test_a_line_without_end_is_reported_and_passed_over():
    """A line longer than the memory allows is a problem; the lines around it are read."""
    found, problems = cut(b"a\n" + b"x" * 100 + b"\nb\n", size=10, longest=30)
    assert b"".join(part for part, _ in found) == b"a\nb\n"
    assert found[-1] == (b"b\n", 3)
    assert [(p.line, p.reason) for p in problems] == [(2, "the line is longer than 30 bytes")]


def test_a_cut_file_gives_its_whole_lines_and_then_an_error():
    """The line that a truncated gzip cuts is never taken for a whole one."""
    lines = [b"line %d" % i for i in range(3000)]
    packed = gzip.compress(b"\n".join(lines))
    found = []
    with pytest.raises(FormatError, match="the gzip data is incomplete"):
        for block in blocks(Source("x.gz", io.BytesIO(packed[:-60])), Problems(), size=1000):
            found += block.data.splitlines()
    assert found == lines[: len(found)]
    assert 0 < len(found) < len(lines)


KEY = b'"kind":"'
parts = st.sampled_from([KEY, b"a", b"bc", b'"', b"\\", b'"kind": "', b'"kin', b"{", b"}"])


@given(st.lists(st.lists(parts, max_size=6).map(b"".join), min_size=1, max_size=12))
def test_the_text_after_a_key_is_that_of_its_line(texts):
    """Each line has its text, if each has one such key; lines of one text can be separated."""
    lines = Lines.of([b"{%s}" % text for text in texts], range(10, 10 + len(texts)))
    found = lines.texts_after(KEY)
    plain = [text.count(KEY) == 1 for text in texts]
    if found is None:
        after = [text.partition(KEY)[2].partition(b'"') for text in texts]
        assert not all(plain) or any(not a or not quote or b"\\" in a for a, quote, _ in after)
        return
    distinct, codes = found
    assert all(plain)
    assert len({*distinct}) == len(distinct)
    for text, code in zip(texts, codes.tolist(), strict=True):
        assert text.partition(KEY)[2].startswith(distinct[code] + b'"')
    for code, group in enumerate(lines.grouped(codes)):
        rows = [row for row, each in enumerate(codes.tolist()) if each == code]
        assert group.numbers.tolist() == [row + 10 for row in rows]
        assert group.texts() == [b"{%s}" % texts[row] for row in rows]
        assert group.newlines.tolist() == [i for i, b in enumerate(group.data) if b == 10]

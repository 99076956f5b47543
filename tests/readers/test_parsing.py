"""What is parsed ahead in another thread changes nothing but the time that it takes."""

from __future__ import annotations

import gzip
import io
import threading
from contextlib import nullcontext

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.benchmarks.test_readers import HEADER
from tests.readers.reading import read
from vastlab import readers
from vastlab.errors import FormatError
from vastlab.readers import csv_records, parsing, source
from vastlab.readers.problems import Problems


def zeek() -> str:
    """Return connections, of which some have a port that is no number, or one field more."""
    lines = [
        f"{i}.5\tC{i}\t10.0.0.{i % 256}\t{i if i % 97 else 'x'}\t10.1.1.1\t53\tudp\tdns\t0.5\t{i}"
        "\t1\tSF\t-\tDd\t1\t1\t(empty)"
        for i in range(2000)
    ]
    lines[::89] = [f"{line}\tmore" for line in lines[::89]]
    lines[200::200] = [f"#strange\t{i}" for i in range(len(lines[200::200]))]
    return HEADER.decode() + "\n".join([*lines, ""])


def csv() -> str:
    """Return events under two headers in turn, of which some have one field more."""
    lines = []
    for block in range(6):
        lines.append("#type,b,c,d" if block % 2 else "#type,a,b")
        more = ",z" if block % 2 else ""
        lines += [f"x.{i % 3},{i},10.0.0.{i % 256}{more}" for i in range(300)]
        lines[-300::83] = [f"{line},more" for line in lines[-300::83]]
        lines[-150] += ',"not closed'
    return "\n".join([*lines, ""])


@pytest.fixture
def small_blocks(monkeypatch):
    """Read blocks of a few lines, all of them in another thread."""
    monkeypatch.setitem(source.blocks.__kwdefaults__, "size", 4096)
    monkeypatch.setattr(csv_records, "MAX_RECORD_SIZE", 1000)
    monkeypatch.setattr(parsing, "MIN_SIZE", 0)


def threads() -> list[str]:
    """Return the threads that parse."""
    return [thread.name for thread in threading.enumerate() if "parse" in thread.name]


@pytest.mark.parametrize("data, name", [(zeek() * 2, "conn.log"), (csv(), "x.csv")])
@pytest.mark.usefixtures("small_blocks")
def test_events_and_problems_are_those_of_one_thread(monkeypatch, data, name):
    """Headers change, lines are bad, and values do not fit, in many blocks."""
    found, problems = read(data, name)
    monkeypatch.setattr(parsing, "MIN_SIZE", 1 << 60)
    expected, expected_problems = read(data, name)
    assert len(found) > 10
    assert all(
        one.equals(other, check_metadata=True) for one, other in zip(found, expected, strict=True)
    )
    assert list(problems) == list(expected_problems)
    assert problems.count == expected_problems.count > 10


@pytest.mark.usefixtures("small_blocks")
def test_no_thread_stays_where_reading_ends_early():
    """A consumer that stops, and a strict reader that finds a problem."""
    batches = readers.read(io.BytesIO(zeek().encode()), problems=Problems())
    next(batches)
    assert threads()
    batches.close()
    assert not threads()
    with pytest.raises(FormatError, match=":8: 18 fields"):
        list(readers.read(io.BytesIO(zeek().encode())))
    assert not threads()


@pytest.mark.usefixtures("small_blocks")
def test_events_before_damage_come_first():
    """The error of a block that was read ahead does not overtake the events before it."""
    packed = gzip.compress(zeek().replace("\tx\t", "\t1\t").encode())
    found = []
    with pytest.raises(FormatError, match="incomplete"):
        found.extend(readers.read(io.BytesIO(packed[:-100]), problems=Problems()))
    uids = pa.concat_arrays([batch.column("uid") for batch in found]).to_pylist()
    assert uids[:1000] == [f"C{i}" for i in range(2000) if i % 89 and (i < 200 or i % 200)][:1000]


class Broken(Exception):
    """An error of a file that is not about its content."""


@given(
    st.lists(st.sampled_from([1, parsing.MIN_SIZE])),
    st.sampled_from([None, FormatError("damaged"), Broken()]),
    st.booleans(),
)
def test_items_problems_and_errors_keep_their_order(sizes, error, is_strict):
    """Each is parsed once, large ones in another thread; what the file raises comes last."""
    problems = Problems(strict=is_strict)
    seen, parsed_by = [], {}

    def items(found):
        for number, size in enumerate(sizes):
            if not is_strict:
                found.add("x", number, "before the item")
            yield number, size
        if error is not None:
            raise error

    def parse(item):
        parsed_by[item[0]] = threading.current_thread()
        return -item[0]

    expected = nullcontext() if error is None else pytest.raises(type(error))
    with expected as raised:
        for (number, _), parsed in parsing.parsed_ahead(items, parse, lambda i: i[1], problems):
            assert parsed == -number
            assert problems.count == (0 if is_strict else number + 1)
            seen.append(number)
    assert raised is None or raised.value is error
    assert seen == list(range(len(sizes)))
    for number, size in enumerate(sizes):
        is_elsewhere = parsed_by[number] is not threading.current_thread()
        assert is_elsewhere == (size > 1 and not is_strict)

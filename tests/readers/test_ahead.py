"""What is parsed ahead in other threads changes nothing but the time that it takes."""

from __future__ import annotations

import gzip
import io
import threading

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.benchmarks.test_readers import HEADER
from tests.readers.reading import read
from vastlab import readers
from vastlab.errors import FormatError
from vastlab.readers import ahead, source
from vastlab.readers.problems import Problems


def zeek() -> str:
    """Return connections, of which some have a port that is no number, or one field more."""
    lines = [
        f"{i}.5\tC{i}\t10.0.0.{i % 256}\t{i if i % 97 else 'x'}\t10.1.1.1\t53\tudp\tdns\t0.5\t{i}"
        "\t1\tSF\t-\tDd\t1\t1\t(empty)"
        for i in range(2000)
    ]
    lines[::89] = [f"{line}\tmore" for line in lines[::89]]
    return HEADER.decode() + "\n".join([*lines, ""])


def csv() -> str:
    """Return events under two headers in turn, of which some have one field more."""
    lines = []
    for block in range(6):
        lines.append("#type,b,c,d" if block % 2 else "#type,a,b")
        more = ",z" if block % 2 else ""
        lines += [f"x.{i % 3},{i},10.0.0.{i % 256}{more}" for i in range(300)]
        lines[-300::83] = [f"{line},more" for line in lines[-300::83]]
    return "\n".join([*lines, ""])


@pytest.fixture
def small_blocks(monkeypatch):
    """Read blocks of a few lines, all of them in other threads."""
    monkeypatch.setitem(source.blocks.__kwdefaults__, "size", 4096)
    monkeypatch.setattr(ahead, "MIN_SIZE", 0)


def threads() -> list[str]:
    """Return the threads that parse."""
    return [thread.name for thread in threading.enumerate() if "parse" in thread.name]


@pytest.mark.parametrize("data, name", [(zeek() * 2, "conn.log"), (csv(), "x.csv")])
@pytest.mark.usefixtures("small_blocks")
def test_events_and_problems_are_those_of_one_thread(monkeypatch, data, name):
    """Headers change, lines are bad, and values do not fit, in many blocks."""
    found, problems = read(data, name)
    monkeypatch.setattr(ahead, "MIN_SIZE", 1 << 60)
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
    assert uids[:1000] == [f"C{i}" for i in range(2000) if i % 89][:1000]


@given(st.lists(st.sampled_from([1, ahead.MIN_SIZE])), st.booleans(), st.booleans())
def test_items_keep_their_order(sizes, is_damaged, is_strict):
    """Each is parsed once, large ones elsewhere; what the file raises comes last."""

    def items():
        yield from enumerate(sizes)
        if is_damaged:
            raise FormatError("damaged")

    seen = []
    parse = ahead.parsed_ahead(
        items(), lambda item: -item[0], lambda item: item[1], Problems(strict=is_strict)
    )
    try:
        for (number, _), parsed in parse:
            assert parsed == -number
            seen.append(number)
        assert not is_damaged
    except FormatError:
        assert is_damaged
    assert seen == list(range(len(sizes)))

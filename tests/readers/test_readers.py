"""Detection, and what holds for the readers together."""

from __future__ import annotations

import gzip
import io
import subprocess
import sys
from contextlib import suppress

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vastlab import readers
from vastlab.arrow import schema as arrow_schema
from vastlab.errors import FormatError, UsageError, VastlabError

ZEEK = (
    b"#separator \\x09\n#path\tconn\n#fields\tts\tuid\n#types\ttime\tstring\n"
    b"1.5\tabc\n2.5\tdef\n#close\t2024\n"
)
SURICATA = b'{"timestamp":"2024-01-01T00:00:00Z","event_type":"flow","src_ip":"1.2.3.4"}\n'


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


def parquet() -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({"a": [1]}), sink)
    return sink.getvalue()


def arrow(new: object) -> bytes:
    sink = io.BytesIO()
    table = pa.table({"a": [1]})
    with new(sink, table.schema) as writer:
        writer.write(table)
    return sink.getvalue()


SAMPLES = [
    ("zeek", ZEEK),
    ("zeek", b"\n\n" + ZEEK),
    ("zeek", ZEEK.partition(b"\n")[2]),
    ("zeek-json", b'{"ts":1,"uid":"x","id.orig_h":"1.2.3.4"}\n'),
    ("zeek-json", b'{"_path":"conn","x":1}'),
    ("suricata", SURICATA),
    ("suricata", b"x\n".join([b"", SURICATA]).removeprefix(b"x\n")),
    ("suricata", b"[" + SURICATA + b"]"),
    ("json", b'{"a":1}'),
    ("json", b"{}"),
    ("json", b'\xef\xbb\xbf{"a":1}'),
    ("json", b'{\n  "a": 1\n}'),
    ("csv", b"a,b\n1,2\n"),
    ("csv", b"a\tb\n1\t2\n3\t4\n"),
    ("parquet", parquet()),
    ("arrow", arrow(pa.ipc.new_file)),
    ("arrow", arrow(pa.ipc.new_stream)),
]


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstd])
@pytest.mark.parametrize("expected, data", SAMPLES)
def test_formats_are_detected_by_content(tmp_path, expected, data, pack):
    """Whatever a file is called and however it is packed, its content tells the format."""
    path = tmp_path / "file.bin"
    path.write_bytes(pack(data))
    assert readers.detect(path) == expected
    problems = readers.Problems()
    assert sum(batch.num_rows for batch in readers.read(path, problems=problems)) >= 1
    assert problems.count == 0


@pytest.mark.parametrize(
    "data",
    [
        b"hello world\n",
        b"# A title\n\nSome words, and some more.\nAnd others.\n",
        b"\x89PNG\r\n\x1a\n" + bytes(range(256)),
        b"\x7fELF" + bytes(100),
        b"[section]\nkey = value\n",
        b"{\\rtf1 hello}",
        gzip.compress(b"hello"),
        b"#!/bin/sh\necho a b\n",
    ],
)
def test_a_file_that_is_not_a_log_is_one_clear_line(tmp_path, data):
    """Prose, pictures and programs are refused with the file's name, not half read."""
    path = tmp_path / "thing.log"
    path.write_bytes(data)
    for attempt in (readers.detect, lambda path: list(readers.read(path))):
        with pytest.raises(FormatError, match=r"thing\.log: unknown log format"):
            attempt(path)


@pytest.mark.parametrize("data", [b"", b"\n \n", gzip.compress(b"")])
def test_an_empty_file_is_one_clear_line(tmp_path, data):
    """A source without events is an error, not skipped silently."""
    path = tmp_path / "empty.log"
    path.write_bytes(data)
    with pytest.raises(FormatError, match=r"empty\.log: the file is empty"):
        list(readers.read(path))


def test_a_suffix_helps_where_content_does_not(tmp_path):
    """One column is a table too, if the file says so."""
    path = tmp_path / "hosts.csv"
    path.write_bytes(b"host\na\nb\n")
    assert [row["host"] for batch in readers.read(path) for row in batch.to_pylist()] == ["a", "b"]


def test_a_cut_gzip_gives_its_events_and_then_an_error(tmp_path):
    """What can be read is read, and the error names the file and the damage."""
    lines = b"".join(b"%d.5\tabc%d\n" % (i, i) for i in range(5000))
    path = tmp_path / "conn.log.gz"
    path.write_bytes(gzip.compress(ZEEK.partition(b"1.5")[0] + lines)[:-5000])
    found = []
    with pytest.raises(FormatError, match=r"log\.gz:\d+: the gzip data is incomplete") as caught:
        for batch in readers.read(path):
            found += batch.column("uid").to_pylist()
    assert "\n" not in str(caught.value)
    assert found == [f"abc{i}" for i in range(len(found))]
    assert 0 < len(found) < 5000


def test_unknown_formats_are_named():
    """A wrong format is a usage error that lists the right ones."""
    with pytest.raises(UsageError, match=r"unknown format 'pcap'.*suricata"):
        list(readers.read(io.BytesIO(b"x"), format="pcap"))


def test_sources_can_be_paths_texts_and_open_files(tmp_path):
    """A path, its text, and a file that is open already read the same."""
    path = tmp_path / "conn.log"
    path.write_bytes(ZEEK)
    with path.open("rb") as file:
        found = [list(readers.read(source)) for source in (path, str(path), file)]
    assert found[0] == found[1] == found[2]


def test_standard_input_can_be_a_pipe():
    """A pipe, which cannot seek, is read and sniffed all the same."""
    script = (
        "import sys; from vastlab import readers;"
        "print(sum(b.num_rows for b in readers.read(sys.stdin.buffer)))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", script], input=gzip.compress(ZEEK), capture_output=True, check=True
    )
    assert answer.stdout.strip() == b"2"


def test_memory_does_not_grow_with_the_file():
    """A file much larger than a block is read in bounded memory."""

    class Endless(io.RawIOBase):
        """A log of any size that is nowhere in memory."""

        def __init__(self) -> None:
            self.left = 40
            self.pending = ZEEK.partition(b"1.5")[0]

        def readable(self) -> bool:
            return True

        def read(self, size: int = -1) -> bytes:
            if not self.pending and self.left:
                self.left -= 1
                self.pending = b"1.5\tabcdefghijklmnopqrstuvwxyz\n" * 40_000
            part, self.pending = self.pending[:size], self.pending[size:]
            return part

    before, peak, total = pa.total_allocated_bytes(), 0, 0
    for batch in readers.read(Endless()):
        total += batch.num_rows
        peak = max(peak, pa.total_allocated_bytes() - before)
    assert total == 1_600_000
    assert peak < 100 << 20


def test_real_logs_are_read_whole(shared):
    """The counts of the real logs, by schema."""
    total: dict[str, int] = {}
    for name in ("conn", "dns", "http", "snmp"):
        for batch in readers.read(shared / f"data/zeek/{name}.log.gz"):
            key = arrow_schema.name_of(batch.schema)
            total[key] = total.get(key, 0) + batch.num_rows
    assert total == {"zeek.conn": 8462, "zeek.dns": 5124, "zeek.http": 4896, "zeek.snmp": 4}


def test_nothing_in_the_folder_of_real_files_is_silent(shared):
    """Every real file, broken or not, gives events or problems."""
    for path in sorted((shared / "data").glob("*/*")):
        problems = readers.Problems()
        count = sum(batch.num_rows for batch in readers.read(path, problems=problems))
        assert count + problems.count > 0, path


TOKENS = [
    *(b"#separator \\x09\n", b"#fields\tts\tx\n", b"#types\ttime\tset[addr]\n", b"#path\t../x\n"),
    *(b"1\t1.2.3.4,::1\n", b"\t\t\n", b"#types\t\n", b"#\n", b"\\x", b"(empty)", b"-", b"1e9"),
    *(b'{"a":', b'"b"', b"}", b"[", b"]", b",", b"\n", b'"', b"\\", b"a", b"\r", b"\0", b"\xff"),
    *(b'{"event_type":"dns","timestamp":"x"}\n', b'{"event_type":"dns"}', b"a,b\n", b"1,2\n"),
    *(b"\xff\xff\xff\xff", b"PAR1", b"ARROW1", b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xef\xbb\xbf"),
]
GARBAGE = st.lists(st.sampled_from(TOKENS) | st.binary(max_size=4), max_size=30).map(b"".join)


@pytest.mark.parametrize("format_", [None, *sorted(readers.FORMATS)])
@given(data=GARBAGE)
def test_no_input_does_harm(format_, data):
    """Whatever the bytes are, the answer is whole events, problems, or an error of vastlab's."""
    with suppress(VastlabError):
        for batch in readers.read(io.BytesIO(data), format=format_, problems=readers.Problems()):
            batch.validate(full=True)
            assert arrow_schema.name_of(batch.schema)

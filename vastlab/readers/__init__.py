"""Readers of log formats, which return Arrow batches.

A format is recognised by its content, also inside ``.gz`` and ``.zst``. Nested and flat spellings
(``{"id": {"orig_h": ...}}``, ``id.orig_h``, ``id_orig_h``) are the same field. Text without a
declared type becomes an address, a network, a time, a duration or a truth value (in CSV a number,
too) where all values of its column in one import are; else the column is text, and a remark names
the first value that did not fit. A user's schemas, in ``schemas/*.yaml`` next to ``vast.yaml`` or
in the database, decide before any guess; dotted names declare members of records::

    events:
      my.app: {ts: time, client: ip, took: duration, "id.orig_h": ip, http: {status: uint64}}

A malformed line costs that line, a value that does not fit its type becomes null and its event
stays, an unreadable file costs that file: each is counted and named. Sizes, depths, numbers of
columns and ratios of compression are bounded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice, takewhile
from pathlib import Path
from typing import BinaryIO, Protocol, TypedDict, Unpack

import pyarrow as pa

from vastlab._text import did_you_mean
from vastlab.errors import FormatError, UsageError
from vastlab.readers import columnar, csv, json, schemas, zeek_tsv
from vastlab.readers.batch_check import BatchChecker
from vastlab.readers.csv_records import OWN_HEAD, find_header, split_line
from vastlab.readers.inference import Context, Inference
from vastlab.readers.json_documents import first_events
from vastlab.readers.json_forms import TYPE_KEY
from vastlab.readers.problems import Problem, Problems
from vastlab.readers.schemas import Schemas
from vastlab.readers.schemas import load_user_schemas as load_schemas
from vastlab.readers.source import Source, check_encoding, open_source

__all__ = [
    "FORMATS",
    "SCHEMAS",
    "Context",
    "Inference",
    "Problem",
    "Problems",
    "ReadOptions",
    "Schemas",
    "detect",
    "load_schemas",
    "read",
]

SCHEMAS = "schemas"  # the folder of the user's schemas, in a database and next to `vast.yaml`


class Reader(Protocol):
    """Reads one format."""

    def __call__(self, source: Source, context: Context, /) -> Iterator[pa.RecordBatch]:
        """Read the events of one source in nested form; one schema per batch."""
        ...


class ReadOptions(TypedDict, total=False):
    """The user's options for reading files."""

    format: str | None  # a key of `FORMATS`; detected by default
    schema: str | None  # its name; by default taken from the content or the file name
    infer: bool  # whether text without a declared type may become addresses, times and so on
    encoding: str | None  # the encoding of text without a byte order mark; UTF-8 by default
    schemas: Schemas


FORMATS: dict[str, Reader] = {
    "arrow": columnar.read_arrow,
    "csv": csv.read,
    "json": json.read_ndjson,
    "parquet": columnar.read_parquet,
    "suricata": json.read_eve,
    "zeek": zeek_tsv.read,
    "zeek-json": json.read_zeek_json,
}
_COLUMNAR = (columnar.read_arrow, columnar.read_parquet)


def detect(path: str | Path | BinaryIO, encoding: str | None = None) -> str:
    """Detect the format of a file by its content, also if it is compressed.

    Examples
    --------
    >>> import io
    >>> detect(io.BytesIO(b'{"timestamp":"2024-01-01T00:00:00Z","event_type":"flow"}'))
    'suricata'
    """
    with open_source(path, encoding) as source:
        return _detect(source)


def read(
    path: str | Path | BinaryIO,
    *,
    problems: Problems | None = None,
    inference: Inference | None = None,
    **options: Unpack[ReadOptions],
) -> Iterator[pa.RecordBatch]:
    """Read the events of a file, batch by batch.

    Parameters
    ----------
    path
        A path, or an open binary file such as standard input.
    problems
        Collects the lines that cannot be read; without it, the first one raises.
    inference
        The types of undeclared fields in other files of the same import.
    options
        See `ReadOptions`.

    Yields
    ------
    pyarrow.RecordBatch
        At most 65,536 events of one schema, in nested form, with the name in the metadata.

    Raises
    ------
    FormatError
        The content as a whole does not match its format, or the compressed data is incomplete;
        the events before this place are yielded first.

    Examples
    --------
    >>> import io
    >>> [batch] = read(io.BytesIO(b'{"port": 80}'), schema="example")
    >>> batch.to_pylist()
    [{'port': 80}]
    """
    found = Problems(strict=True) if problems is None else problems
    context = Context(found, inference=inference or Inference(), **options)
    check_encoding(context.encoding)
    with open_source(path, context.encoding) as source:
        reader = _reader(source, context.format)
        # Events of columnar files may take much more space than the file.
        size = (lambda: source.stored) if reader in _COLUMNAR else None
        checker = BatchChecker(source.name, found, size)
        try:
            for batch in reader(source, context):
                yield from checker.convert(batch)
        finally:
            checker.report()


def _reader(source: Source, format_: str | None) -> Reader:
    if format_ is not None and format_ not in FORMATS:
        raise UsageError(f"unknown format {format_!r}", hint=did_you_mean(format_, FORMATS))
    if format_ == "zeek" and source.peek(1) == b"{":
        format_ = "zeek-json"
    return FORMATS[format_ or _detect(source)]


# --- detecting the format -------------------------------------------------------------------

_HEAD_SIZE = 1 << 16
_SAMPLE_LINES = 20
_MAX_LINES = 500  # most of them may be comments
_ZEEK = re.compile(
    rb"#(separator|((set_separator|empty_field|unset_field|path|fields|types|open)(?=\W)(?![ :])))"
)
_JSON = re.compile(rb"\s*(?:\[\s*)*\{\s*(?:[\"}]|$)")
_PARQUET = b"PAR1"
_STREAM = b"\xff\xff\xff\xff"  # the start of each message of an Arrow stream
_SUFFIX = re.compile(r"\.[ctp]sv(\.|$)", re.IGNORECASE)
_NAME = re.compile(r"[\w@#][\w .:/@#()\-\[\]%$]{0,79}")
_HINT = (
    "vastlab reads Zeek, Suricata, JSON lines, CSV, Parquet and Arrow, also in gzip or zstd; "
    "name what it is, as in format='csv' or -f csv, where it is not recognised"
)


def _detect(source: Source) -> str:
    """Detect the format of a source by its first bytes, which stay unread."""
    head = source.peek(_HEAD_SIZE)
    lines = [line for line in head.splitlines() if line.strip()]
    if not lines:
        raise FormatError(source.damage or "the file is empty", path=source.name)
    if head.startswith(_PARQUET):
        return "parquet"
    if head.startswith((columnar.MAGIC, _STREAM)):
        return "arrow"
    header = takewhile(lambda line: line.startswith(b"#"), lines[:_SAMPLE_LINES])
    if any(map(_ZEEK.match, header)):
        return "zeek"
    if _JSON.match(head):
        return _json_format(source, head)
    if _is_csv(source, head):
        return "csv"
    raise FormatError("unknown log format", path=source.name, hint=_HINT)


def _json_format(source: Source, head: bytes) -> str:
    for event in islice(first_events(head), _SAMPLE_LINES):
        if isinstance(event.get(TYPE_KEY), str):
            return "json"
        if "event_type" in event and "timestamp" in event:
            return "suricata"
        if "_path" in event or ("ts" in event and _looks_like_zeek(source.log, event)):
            return "zeek-json"
    return "json"


def _looks_like_zeek(log: str, event: dict[str, object]) -> bool:
    known = schemas.load("zeek").find(log) is not None
    address = "id.orig_h" in event or "id_orig_h" in event
    return known or address or ("uid" in event and "id" in event)


def _is_csv(source: Source, head: bytes) -> bool:
    """Return whether the first lines have the same number of fields, unlike prose."""
    if OWN_HEAD.match(head):
        return True
    # The reader reports text that is not UTF-8; a value may contain a NUL.
    if _SUFFIX.search(Path(source.name).name) and b"\0" not in head.split(b"\n", 1)[0]:
        return True
    if b"\0" in head:
        return False
    lines = head.decode("utf-8", "replace").splitlines()[:_MAX_LINES]
    start = find_header(lines)
    if start is None:
        return False
    names = start.names
    rows = [line for line in lines[start.end :] if line.strip()][:_SAMPLE_LINES]
    if len(rows) < _SAMPLE_LINES and len(head) == _HEAD_SIZE:
        del rows[-1:]
    widths = {len(split_line(line, start.delimiter)) for line in rows if not line.startswith("#")}
    # In prose, a space follows each comma, so that a name would start with it.
    return len(names) > 1 and widths == {len(names)} and all(map(_NAME.fullmatch, names))

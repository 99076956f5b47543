"""Detecting the format of a log by its content."""

from __future__ import annotations

import re
from itertools import islice, takewhile
from pathlib import Path

from vastlab.errors import FormatError
from vastlab.readers import columnar, schemas
from vastlab.readers.csv_records import OWN_HEAD, find_header, split_line
from vastlab.readers.json_documents import first_events
from vastlab.readers.json_forms import TYPE_KEY
from vastlab.readers.source import Source

HEAD = 1 << 16
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
_HINT = "vastlab reads Zeek, Suricata, JSON lines, CSV, Parquet and Arrow, also in gzip or zstd"


def detect(source: Source) -> str:
    """Detect the format of a source by its first bytes, which stay unread."""
    head = source.peek(HEAD)
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
    if len(rows) < _SAMPLE_LINES and len(head) == HEAD:
        del rows[-1:]
    widths = {len(split_line(line, start.delimiter)) for line in rows if not line.startswith("#")}
    # In prose, a space follows each comma, so that a name would start with it.
    return len(names) > 1 and widths == {len(names)} and all(map(_NAME.fullmatch, names))

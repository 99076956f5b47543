"""Which format a file has, by its first bytes."""

from __future__ import annotations

import re
from itertools import islice
from pathlib import Path

from vastlab.errors import FormatError
from vastlab.store.readers import _schemas, arrow
from vastlab.store.readers._json_documents import first_events
from vastlab.store.readers._source import Source
from vastlab.store.readers.csv import delimiter_of

HEAD = 1 << 16
_LOOK = 20
_ZEEK = (b"#separator", b"#set_separator", b"#empty_field", b"#unset_field", b"#path", b"#fields")
_JSON = re.compile(rb"\s*(?:\[\s*)*\{\s*(?:[\"}]|$)")
_PARQUET = b"PAR1"
_STREAM = b"\xff\xff\xff\xff"  # begins each message of an Arrow stream
_HINT = "vastlab reads Zeek, Suricata, JSON lines, CSV, Parquet and Arrow, also in gzip or zstd"


def detect(source: Source) -> str:
    """Look at the head of a source without taking it."""
    head = source.peek(HEAD)
    lines = [line for line in head.splitlines() if line.strip()]
    if not lines:
        reason = source.damage or "the file is empty"
        raise FormatError(f"{reason}: there is nothing to read", path=source.name)
    if head.startswith(_PARQUET):
        return "parquet"
    if head.startswith((arrow.MAGIC, _STREAM)):
        return "arrow"
    first = lines[0].lstrip()
    if first.startswith(_ZEEK):
        return "zeek"
    if _JSON.match(head):
        return _json_format(source, head)
    if _is_csv(source, head):
        return "csv"
    raise FormatError("no log of a known format", path=source.name, hint=_HINT)


def _json_format(source: Source, head: bytes) -> str:
    for event in islice(first_events(head), _LOOK):
        if "event_type" in event and "timestamp" in event:
            return "suricata"
        if "_path" in event or ("ts" in event and _looks_like_zeek(source.stem, event)):
            return "zeek-json"
    return "json"


def _looks_like_zeek(stem: str, event: dict[str, object]) -> bool:
    known = _schemas.load("zeek").find(stem) is not None
    return known or "id.orig_h" in event or ("uid" in event and "id" in event)


def _is_csv(source: Source, head: bytes) -> bool:
    """Tell a table from prose: some lines of text with the same delimiters in each."""
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        text = head[: error.start].decode()
        if error.start < len(head) - 4:
            return False
    if "\0" in text:
        return False
    if ".csv" in Path(source.name).suffixes:
        return True
    lines = [line for line in text.splitlines()[:_LOOK] if line]
    if len(lines) < 2:
        return False
    delimiter = delimiter_of(lines[0])
    names = lines[0].split(delimiter)
    counts = {line.count(delimiter) for line in lines[: _LOOK - 1]}
    proper = all(name.strip('"').isidentifier() or "." in name for name in names)
    return len(names) > 1 and len(counts) == 1 and proper

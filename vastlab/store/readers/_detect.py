"""Which format a file has, by its first bytes."""

from __future__ import annotations

from vastlab.errors import FormatError
from vastlab.store.readers import _json_text, _schemas
from vastlab.store.readers._source import Source

HEAD = 1 << 16
_ZEEK = (b"#separator", b"#set_separator", b"#empty_field", b"#unset_field", b"#path", b"#fields")
_HINT = "vastlab reads Zeek, Suricata, JSON lines, CSV, Parquet and Arrow, also in gzip or zstd"


def detect(source: Source) -> str:
    """Look at the head of a source without taking it."""
    head = source.peek(HEAD)
    lines = [line for line in head.splitlines() if line.strip()]
    if not lines:
        reason = source.damage or "the file is empty"
        raise FormatError(f"{reason}: there is nothing to read", path=source.name)
    first = lines[0].removeprefix(b"\xef\xbb\xbf").lstrip()
    if first.startswith(_ZEEK):
        return "zeek"
    if first.startswith(b"{"):
        return _json_format(source, lines)
    raise FormatError("no log of a known format", path=source.name, hint=_HINT)


def _json_format(source: Source, lines: list[bytes]) -> str:
    for line in lines[:20]:
        try:
            events = _json_text.decode(line)
        except ValueError:
            continue
        for event in events:
            if "event_type" in event and "timestamp" in event:
                return "suricata"
            if "_path" in event or "ts" in event and _looks_like_zeek(source.stem, event):
                return "zeek-json"
    return "json"


def _looks_like_zeek(stem: str, event: dict[str, object]) -> bool:
    known = _schemas.load("zeek").find(stem) is not None
    return known or "id.orig_h" in event or ("uid" in event and "id" in event)

"""What a real VAST 3.1 node answered about the same logs.

The recordings stand beside the project. Where vastlab finds another number of events,
`DIFFERENT` says why; where the node also held events that are not at hand, it may only have
found more.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from tests.conftest import ROOT
from vastlab.arrow.ipc import read_streams

SHARED = ROOT.parent / "shared"
GOLDEN = SHARED / "golden"
LOGS = ("conn.log.gz", "dns.log.gz", "http.log.gz", "snmp.log.gz")
TYPED = {
    "golden.types": GOLDEN / "types" / "golden_types",
    "all_types": GOLDEN / "export" / "e42_all_types",
}
"""Complete exports of the events that have a field of every type."""

NULL = "the node finds no null on export"
NEGATIVE = "ranges of the node miss negative durations and times before 1970"
NUMBER = "numbers compare by value"
ENUM = "an enum against a list of labels compares labels"
DASH = "the client takes a leading dash for an option"
DIFFERENT = {
    'service == null && #type == "zeek.conn"': NULL,
    "service == null": NULL,
    "zeek.conn.service == null": NULL,
    "! (service != null)": NULL,
    '#type == "zeek.conn" && ! (service != null)': NULL,
    "duration == null": NULL,
    '#type == "zeek.conn" && duration == null': NULL,
    ":string == null": NULL,
    "s == null": NULL,
    '#type == "golden.types" && s == null': NULL,
    '#type == "golden.types" && i == null': NULL,
    '#type == "golden.types" && ! s': NULL,
    "! b": NULL,
    "dur < 0s": NEGATIVE,
    "dur < 1ns": NEGATIVE,
    "dur > -1h": NEGATIVE,
    "dur >= -3ms": NEGATIVE,
    '#type == "golden.types" && dur < 0s': NEGATIVE,
    "t < 1970-01-01": NEGATIVE,
    "t < 1970-01-02": NEGATIVE,
    "t < 2021-01-01": NEGATIVE,
    "t > 1960-01-01": NEGATIVE,
    "d < 0": NUMBER,
    "u == +42": NUMBER,
    "r.x == 1": NUMBER,
    'e in ["red","blue"]': ENUM,
    '#schema == "golden.types"': "#schema is another word for #type",
    "-42": DASH,
}
# The node also held events of Suricata and Sysmon.
ELSEWHERE = {
    '"GET"',
    "53",
    "true",
    "#type == /suricata.*/",
    '"suricata" in #type',
    '#type != "zeek.conn"',
    "! (#type == /zeek.*/)",
    ":uint64 == 137",
    ":time >= 2009-11-18T08:05",
    ":string == /.*google.*/",
    '"google" in :string',
    ':string ni "google"',
    '#type == "suricata.alert" || #type == "suricata.dns"',
    "src_ip == 147.32.84.165 && #type == \"suricata.alert\"",
    "#import_time > 1 day ago",
    "src_ip",
    "#type == /sysmon.*/",
    ":ip in 147.32.84.0/24",
}  # fmt: skip


@dataclass(frozen=True)
class Recording:
    """One question to the real node, and the number of events that it found."""

    text: str
    number: int
    stream: Path | None = None
    """The events that it exported, at most 50 of them."""

    @property
    def reason(self) -> str | None:
        """Why vastlab finds another number."""
        return DIFFERENT.get(self.text)


@functools.cache
def questions() -> list[Recording]:
    """Return every expression that was recorded, without pipelines and what only VAST has."""
    found = []
    for name, key in (
        ("summary", "json_rows_all"),
        ("more_counts", "export_where_rows"),
        ("more_counts_typed", "export_rows"),
    ):
        path = GOLDEN / "export" / f"{name}.json"
        for case in json.loads(path.read_text()) if path.exists() else ():
            text = case["expr"]
            if not text.startswith("where ") and "#schema_id" not in text:
                stream = path.with_name(f"{case.get('case')}.arrow.stdout.bin")
                exported = stream.exists() and not case["arrow_exit"]
                found.append(Recording(text, case[key], stream if exported else None))
    return found


@functools.cache
def logs() -> list[Path]:
    """Return the logs that the node had imported."""
    return [SHARED / "data" / "zeek" / name for name in LOGS]


@functools.cache
def typed_events() -> dict[str, pa.RecordBatch]:
    """Return the events of every type as the node exported them, by schema."""
    found = {}
    for name, path in TYPED.items():
        (found[name],) = read_streams(path.with_name(f"{path.name}.arrow.stdout.bin"))
    return found


@functools.cache
def typed_rows(name: str) -> list[dict]:
    """Return the same events as the node wrote them as JSON."""
    (path,) = TYPED[name].parent.glob(f"{TYPED[name].name}.json.stdout.*")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]

"""The events of the demo network, and their schemas."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vastlab.arrow import convert
from vastlab.demo.scenario import (
    ALERT,
    CONN,
    DNS,
    EVE_HTTP,
    HISTORIES,
    HTTP,
    PROTOCOLS,
    SECOND,
    SERVICES,
    SIGNATURES,
    STATES,
    Bytes,
    Ints,
    Rows,
    World,
    ends,
)
from vastlab.types import Field, Kind, Schema, Type

_TIMESTAMP = Type(Kind.TIME, names=("timestamp",))
_PORT = Type(Kind.UINT64, names=("port",))
_WORDS = {kind.value: Type(kind) for kind in Kind} | {
    "timestamp": _TIMESTAMP,
    "port": _PORT,
    "action": Type(Kind.ENUM, labels=(("allowed", 0), ("blocked", 1))),
    "role": Type(Kind.ENUM, labels=(("workstation", 0), ("server", 1), ("printer", 2))),
}


def _type(word: str) -> Type:
    if word.startswith("["):
        return Type(Kind.LIST, item=_type(word[1:-1]))
    return _WORDS[word]


def _fields(text: str) -> tuple[Field, ...]:
    """Read ``name:type`` pairs; ``[type]`` is a list."""
    pairs = (pair.partition(":") for pair in text.split())
    return tuple(Field(name, _type(word)) for name, _, word in pairs)


def _record(name: str, text: str, alias: tuple[str, ...] = ()) -> Field:
    return Field(name, Type(Kind.RECORD, names=alias, fields=_fields(text)))


_ID = _record("id", "orig_h:ip orig_p:port resp_h:ip resp_p:port", ("zeek.conn_id",))
_SURICATA = """timestamp:timestamp flow_id:uint64 pcap_cnt:uint64 vlan:[uint64] in_iface:string
    src_ip:ip src_port:port dest_ip:ip dest_port:port proto:string event_type:string
    community_id:string app_proto:string"""
_FLOW_COUNTS = """pkts_toserver:uint64 pkts_toclient:uint64 bytes_toserver:uint64
    bytes_toclient:uint64 start:time"""

CONN_SCHEMA = Schema(
    "zeek.conn",
    (
        *_fields("ts:timestamp uid:string"),
        _ID,
        *_fields(
            """proto:string service:string duration:duration orig_bytes:uint64
            resp_bytes:uint64 conn_state:string local_orig:bool local_resp:bool
            missed_bytes:uint64 history:string orig_pkts:uint64 orig_ip_bytes:uint64
            resp_pkts:uint64 resp_ip_bytes:uint64 tunnel_parents:[string] community_id:string"""
        ),
    ),
)
DNS_SCHEMA = Schema(
    "zeek.dns",
    (
        *_fields("ts:timestamp uid:string"),
        _ID,
        *_fields(
            """proto:string trans_id:uint64 rtt:duration query:string qclass:uint64
            qclass_name:string qtype:uint64 qtype_name:string rcode:uint64 rcode_name:string
            AA:bool TC:bool RD:bool RA:bool Z:uint64 answers:[string] TTLs:[duration]
            rejected:bool"""
        ),
    ),
)
HTTP_SCHEMA = Schema(
    "zeek.http",
    (
        *_fields("ts:timestamp uid:string"),
        _ID,
        *_fields(
            """trans_depth:uint64 method:string host:string uri:string referrer:string
            version:string user_agent:string origin:string request_body_len:uint64
            response_body_len:uint64 status_code:uint64 status_msg:string info_code:uint64
            info_msg:string tags:[string] username:string password:string proxied:[string]
            resp_fuids:[string] resp_mime_types:[string]"""
        ),
    ),
)
ALERT_SCHEMA = Schema(
    "suricata.alert",
    (
        *_fields(_SURICATA),
        _record(
            "alert",
            """action:action gid:uint64 signature_id:uint64 rev:uint64 signature:string
            category:string severity:uint64""",
        ),
        _record("flow", _FLOW_COUNTS),
        *_fields("payload_printable:string"),
    ),
)
FLOW_SCHEMA = Schema(
    "suricata.flow",
    (
        *_fields(_SURICATA),
        _record("flow", f"{_FLOW_COUNTS} end:time age:uint64 state:string reason:string"),
    ),
)
EVE_HTTP_SCHEMA = Schema(
    "suricata.http",
    (
        *_fields(_SURICATA),
        *_fields("tx_id:uint64"),
        _record(
            "http",
            """hostname:string url:string http_user_agent:string http_content_type:string
            http_refer:string http_method:string protocol:string status:uint64 length:uint64""",
        ),
    ),
)
ASSET_SCHEMA = Schema(
    "demo.asset",
    (
        *_fields(
            """seen:timestamp host:string address:ip network:subnet role:role
            addresses:[ip] networks:[subnet] open_ports:[port] labels:[string] risk:double
            scores:[double] drift:int64 serial:uint64 clock_skew:duration installed:time
            restarts:[time] key:blob managed:bool note:string""",
        ),
    ),
)


def render(world: World, sessions: Rows, flows: Rows) -> Iterator[pa.RecordBatch]:
    """Make the events of all schemas."""
    makers: tuple[tuple[int, Schema, Callable[[World, Rows], dict[str, Any]]], ...] = (
        (CONN, CONN_SCHEMA, _conn),
        (DNS, DNS_SCHEMA, _dns),
        (HTTP, HTTP_SCHEMA, _http),
        (ALERT, ALERT_SCHEMA, _alert),
        (EVE_HTTP, EVE_HTTP_SCHEMA, _eve_http),
    )
    for bit, schema, maker in makers:
        rows = sessions[sessions["events"] & bit > 0]
        if len(rows):
            yield nested(schema, maker(world, rows), len(rows))
    if len(flows):
        flows = flows[np.argsort(ends(flows), kind="stable")]
        yield nested(FLOW_SCHEMA, _flow(flows), len(flows))


def nested(schema: Schema, columns: Mapping[str, Any], size: int) -> pa.RecordBatch:
    """Put columns, named by their leaves, into a nested batch; what is missing is null."""
    flat = convert.flat_schema(schema)
    arrays = [_array(columns.get(field.name), field.type, size) for field in flat]
    return convert.nest(pa.RecordBatch.from_arrays(arrays, schema=flat), schema)


def _array(column: Any, type_: pa.DataType, size: int) -> pa.Array:
    if isinstance(column, pa.Array) and isinstance(column, pa.ExtensionArray | pa.ListArray):
        return column.cast(type_) if column.type != type_ else column
    storage = type_.storage_type if isinstance(type_, pa.ExtensionType) else type_
    if column is None:
        array = pa.nulls(size, storage)
    elif isinstance(column, str | int | bool):
        array = pa.repeat(pa.scalar(column, storage), size)
    elif isinstance(column, np.ndarray) and column.ndim == 2:
        data = pa.py_buffer(np.ascontiguousarray(column))
        array = pa.FixedSizeBinaryArray.from_buffers(storage, size, [None, data])
    elif isinstance(column, pa.Array):
        array = column
    else:
        array = pa.array(column).cast(storage)
    return array if storage is type_ else pa.ExtensionArray.from_storage(type_, array)


def _pick(pool: tuple[str, ...], indices: npt.NDArray[Any]) -> pa.Array:
    """Take texts from a pool; a negative index is a null."""
    return pa.array(pool, pa.string()).take(pa.array(indices, pa.int32(), mask=indices < 0))


def _text(letters: npt.NDArray[Any]) -> pa.Array:
    """Make a string array of fixed-size bytes without touching Python strings."""
    width, size = letters.dtype.itemsize, len(letters)
    offsets = pa.py_buffer(np.arange(size + 1, dtype=np.int32) * width)
    return pa.StringArray.from_buffers(size, offsets, pa.py_buffer(np.ascontiguousarray(letters)))


def _masked(values: npt.NDArray[Any], nulls: npt.NDArray[np.bool_], type_: Any = None) -> pa.Array:
    return pa.array(values, type_, mask=nulls)


def lists(counts: Ints, values: pa.Array, nulls: npt.NDArray[np.bool_] | None = None) -> pa.Array:
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    mask = None if nulls is None else pa.array(nulls)
    return pa.ListArray.from_arrays(pa.array(offsets), values, mask=mask)


def _inside(addresses: Bytes) -> npt.NDArray[np.bool_]:
    four = (addresses[:, 10] == 0xFF) & (addresses[:, 12] == 10)
    return np.asarray(four | (addresses[:, 0] == 0xFD) | ~addresses[:, :15].any(axis=1))


def _zeek(rows: Rows, delay: int = 0) -> dict[str, Any]:
    """Make the columns that all of Zeek's events have."""
    return {
        "ts": rows["ts"] + delay,
        "uid": _text(rows["uid"]),
        "id.orig_h": rows["orig_h"],
        "id.orig_p": rows["orig_p"],
        "id.resp_h": rows["resp_h"],
        "id.resp_p": rows["resp_p"],
        "proto": _pick(tuple(PROTOCOLS.values()), _protocol(rows)),
    }


def _protocol(rows: Rows) -> Ints:
    return np.select([rows["proto"] == number for number in PROTOCOLS], [0, 1, 2])


def _packets(sizes: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    return np.asarray(sizes // np.uint64(1400) + np.uint64(3))


def _conn(world: World, rows: Rows) -> dict[str, Any]:
    sent, received = rows["orig_bytes"], rows["resp_bytes"]
    silent = (rows["state"] == 1) | (rows["state"] == 2)
    size = len(rows)
    return _zeek(rows) | {
        "service": _pick(SERVICES, rows["service"]),
        "duration": _masked(rows["duration"], silent, pa.duration("ns")),
        "orig_bytes": _masked(sent, silent),
        "resp_bytes": _masked(received, silent),
        "conn_state": _pick(STATES, rows["state"]),
        "local_orig": _inside(rows["orig_h"]),
        "local_resp": _inside(rows["resp_h"]),
        "missed_bytes": 0,
        "history": _pick(HISTORIES, np.where(rows["proto"] == 6, rows["state"], 4)),
        "orig_pkts": _packets(sent),
        # The headers wrap around at the largest sizes, as a sensor's counters do.
        "orig_ip_bytes": sent + _packets(sent) * np.uint64(40),
        "resp_pkts": _packets(received),
        "resp_ip_bytes": received + _packets(received) * np.uint64(40),
        "tunnel_parents": lists(np.zeros(size, np.int64), pa.array([], pa.string()), silent),
        "community_id": _community_ids(rows),
    }


def _dns(world: World, rows: Rows) -> dict[str, Any]:
    known = rows["status"] == 0
    size = len(rows)
    # Some answers bring an alias along, and a few an item that could not be read.
    aliases = known & (rows["flow_id"] % np.uint64(5) == 0)
    counts = known.astype(np.int64) + aliases
    indices = np.repeat(rows["domain"], counts)
    alias = np.zeros(len(indices), bool)
    alias[(np.cumsum(counts) - counts)[aliases]] = True
    unread = alias & (indices % 50 == 7)
    six = rows["flow_id"] % np.uint64(9) == 0
    names = _pick(world.domains, indices * 7 % world.lure)
    hosts = _pick(world.domain_addresses, indices + np.repeat(six, counts) * len(world.domains))
    answers = pa.compute.if_else(pa.array(alias, mask=unread), names, hosts)
    seconds = pa.array((60 + indices.astype(np.int64) % 7 * 600) * SECOND).cast(pa.duration("ns"))
    empty = ~known & (rows["flow_id"] % np.uint64(2) == 0)
    nulls = ~known & ~empty
    return _zeek(rows) | {
        "trans_id": rows["flow_id"] % np.uint64(65536),
        "rtt": _masked(rows["duration"], nulls, pa.duration("ns")),
        "query": _pick(world.domains, rows["domain"]),
        "qclass": 1,
        "qclass_name": "C_INTERNET",
        "qtype": np.where(six, 28, 1),
        "qtype_name": _pick(("A", "AAAA"), six.astype(np.int32)),
        "rcode": rows["status"],
        "rcode_name": _pick(("NOERROR", "NXDOMAIN"), (~known).astype(np.int32)),
        "AA": False,
        "TC": False,
        "RD": True,
        "RA": known,
        "Z": 0,
        "answers": lists(counts, answers, nulls),
        "TTLs": lists(counts, seconds, nulls),
        "rejected": np.zeros(size, bool),
    }


_REASONS = {200: "OK", 304: "Not Modified", 404: "Not Found"}


def _http(world: World, rows: Rows) -> dict[str, Any]:
    size = len(rows)
    found = rows["status"] == 200
    posted = rows["orig_bytes"] > 700
    reasons = np.select([rows["status"] == status for status in _REASONS], [0, 1, 2], -1)
    return _zeek(rows, 48_211_000) | {
        "trans_depth": 1,
        "method": _pick(("GET", "POST"), posted.astype(np.int32)),
        "host": _pick(world.domains, rows["domain"]),
        "uri": _pick(world.uris, rows["uri"]),
        "version": "1.1",
        "user_agent": _pick(world.agents, rows["agent"]),
        "request_body_len": np.where(posted, rows["orig_bytes"], 0),
        "response_body_len": np.where(found, rows["resp_bytes"], 0),
        "status_code": rows["status"],
        "status_msg": _pick(tuple(_REASONS.values()), reasons),
        "tags": lists(np.zeros(size, np.int64), pa.array([], pa.string())),
        "resp_mime_types": lists(
            found.astype(np.int64), pa.repeat(pa.scalar("text/html"), int(found.sum())), ~found
        ),
    }


def _suricata(rows: Rows, kind: str, times: Ints) -> dict[str, Any]:
    """Make the columns that all of Suricata's events have."""
    tagged = rows["flow_id"] % np.uint64(3) == 0
    tags = pa.repeat(pa.scalar(104, pa.uint64()), int(tagged.sum()))
    names = tuple(name.upper() for name in PROTOCOLS.values())
    services = ("dns", "http", "tls", "smb", "rdp", "ssh", "ntp", "failed")
    return {
        "timestamp": times // 1000 * 1000,
        "flow_id": rows["flow_id"],
        "vlan": lists(tagged.astype(np.int64), tags, ~tagged),
        "in_iface": "tap0",
        "src_ip": rows["orig_h"],
        "src_port": rows["orig_p"],
        "dest_ip": rows["resp_h"],
        "dest_port": rows["resp_p"],
        "proto": _pick(names, _protocol(rows)),
        "event_type": kind,
        "community_id": _community_ids(rows),
        "app_proto": _pick(services, np.where(rows["service"] < 0, 7, rows["service"])),
    }


def _flow_counts(rows: Rows) -> dict[str, Any]:
    return {
        "flow.pkts_toserver": _packets(rows["orig_bytes"]),
        "flow.pkts_toclient": _packets(rows["resp_bytes"]),
        "flow.bytes_toserver": rows["orig_bytes"],
        "flow.bytes_toclient": rows["resp_bytes"],
        "flow.start": rows["ts"] // 1000 * 1000,
    }


def _flow(rows: Rows) -> dict[str, Any]:
    finished = ends(rows)
    established = (rows["state"] != 1) & (rows["state"] != 2)
    return (
        _suricata(rows, "flow", finished)
        | _flow_counts(rows)
        | {
            "flow.end": finished // 1000 * 1000,
            "flow.age": (finished - rows["ts"]) // SECOND,
            "flow.state": _pick(("new", "closed"), established.astype(np.int32)),
            "flow.reason": "timeout",
        }
    )


def _alert(world: World, rows: Rows) -> dict[str, Any]:
    codes, texts, categories, severities, actions = zip(*SIGNATURES, strict=True)
    chosen = rows["signature"]
    labels = pa.array(["allowed", "blocked"])
    return (
        _suricata(rows, "alert", rows["ts"] + 61_000_000)
        | _flow_counts(rows)
        | {
            "alert.action": pa.DictionaryArray.from_arrays(
                pa.array(np.array(actions)[chosen], pa.uint8()), labels
            ),
            "alert.gid": 1,
            "alert.signature_id": np.array(codes)[chosen],
            "alert.rev": 2,
            "alert.signature": _pick(texts, chosen),
            "alert.category": _pick(categories, chosen),
            "alert.severity": np.array(severities)[chosen],
            "payload_printable": _pick(world.uris, np.where(rows["service"] == 1, rows["uri"], -1)),
        }
    )


def _eve_http(world: World, rows: Rows) -> dict[str, Any]:
    posted = (rows["orig_bytes"] > 700).astype(np.int32)
    return _suricata(rows, "http", rows["ts"] + 48_211_000) | {
        "tx_id": 0,
        "http.hostname": _pick(world.domains, rows["domain"]),
        "http.url": _pick(world.uris, rows["uri"]),
        "http.http_user_agent": _pick(world.agents, rows["agent"]),
        "http.http_content_type": "text/html",
        "http.http_method": _pick(("GET", "POST"), posted),
        "http.protocol": "HTTP/1.1",
        "http.status": rows["status"],
        "http.length": np.where(rows["status"] == 200, rows["resp_bytes"], 0),
    }


def _community_ids(rows: Rows) -> pa.Array:
    """Compute version 1 of the Community ID, which both sensors give a session."""
    ports = np.stack([rows["orig_p"], rows["resp_p"]], axis=1).astype(">u2")
    ends = np.concatenate(
        [
            np.stack([rows["orig_h"], rows["resp_h"]], axis=1),
            ports.view(np.uint8).reshape(-1, 2, 2),
        ],
        axis=2,
    )
    keys = np.ascontiguousarray(ends).view("S18")[:, :, 0]
    ends = np.where((keys[:, 0] > keys[:, 1])[:, None, None], ends[:, ::-1], ends)
    four = (rows["orig_h"][:, 10] == 0xFF) & (rows["orig_h"][:, :10] == 0).all(axis=1)
    digests = np.zeros((len(rows), 21), np.uint8)
    for chosen, first in ((four, 12), (~four, 0)):
        size = int(chosen.sum())
        middle = np.stack([rows["proto"][chosen], np.zeros(size, np.uint8)], axis=1)
        part = ends[chosen]
        text = np.concatenate(
            [
                np.zeros((size, 2), np.uint8),
                part[:, 0, first:16], part[:, 1, first:16],
                middle,
                part[:, 0, 16:], part[:, 1, 16:],
            ],
            axis=1,
        )  # fmt: skip
        digests[chosen, :20] = _sha1(text)
    letters = np.frombuffer(base64.b64encode(digests.tobytes()), np.uint8).reshape(-1, 28)
    ids = np.concatenate([np.tile(np.frombuffer(b"1:", np.uint8), (len(rows), 1)), letters], axis=1)
    ids[:, -1] = ord("=")
    return _text(ids.view("S30")[:, 0])


def _sha1(rows: Bytes) -> Bytes:
    width, data = rows.shape[1], rows.tobytes()
    digest = hashlib.sha1
    found = [
        digest(data[at : at + width], usedforsecurity=False).digest()
        for at in range(0, len(data), width)
    ]
    return np.frombuffer(b"".join(found), np.uint8).reshape(-1, 20)

"""Small logs in every format and in odd forms, all with the same three events.

Each log has a marker in its events, so that a query finds those of one log among all others.
"""

from __future__ import annotations

import gzip
import io
import ipaddress
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import product

import pyarrow as pa
import pyarrow.parquet as pq

from vastlab.arrow import types as arrow_types

TIMES = ("2026-03-04T05:06:07.123456", "2026-03-04T05:06:08.5", "2026-03-04T05:06:09")
SHOWN_TIMES = ("2026-03-04T05:06:07.123456", "2026-03-04T05:06:08.500000", "2026-03-04T05:06:09")
SECONDS = ("1772600767.123456", "1772600768.500000", "1772600769.000000")
ADDRESSES = ("192.0.2.66", "2001:db8::1", "192.0.2.67")
PORTS = (443, 80, 8080)
WAITS = ("163.82ms", "1.28min", "1s")
SHOWN_WAITS = ("0 days 00:00:00.163820", "0 days 00:01:16.800000", "0 days 00:00:01")
WAIT_SECONDS = ("0.163820", "76.8", "1.0")
NOTES = ('say "x", y', "a; b|c", "ü → z")
NAMES = ("ts", "uid", "addr", "port", "wait", "note")
ZEEK = ("ts", "uid", "id.orig_h", "id.orig_p", "duration", "service")


@dataclass(frozen=True)
class Log:
    """A log, and what must be found of it.

    Parameters
    ----------
    file
        Its name.
    data
        Its content.
    marker
        What its events have in ``uid``.
    names
        What its fields are called.
    problems
        How many lines and values it has that cannot be read.
    lost
        Numbers of the events that these lines cost.
    nulled
        Fields, by position, that have no value in the last event.
    encoding
        What has to be named to read it.
    """

    file: str
    data: bytes
    marker: str
    names: tuple[str, ...] = NAMES
    problems: int = 0
    lost: tuple[int, ...] = ()
    nulled: tuple[int, ...] = ()
    encoding: str | None = None

    def events(self) -> list[dict[str, object]]:
        """Return what must be found, in the form of `Result.to_dicts`."""
        return [
            {
                name: None if event == 2 and field in self.nulled else value
                for field, (name, value) in enumerate(
                    zip(self.names, self._values(event), strict=True)
                )
            }
            for event in range(3)
            if event not in self.lost
        ]

    def _values(self, event: int) -> tuple[object, ...]:
        marker = f"@{self.marker}-{event}"
        shown = (SHOWN_TIMES[event], marker, ADDRESSES[event], PORTS[event], SHOWN_WAITS[event])
        return (*shown, NOTES[event])


def expression(names: tuple[str, ...], event: int) -> str:
    """Return what is true of one of the three events where the fields have these names."""
    note = json.dumps(NOTES[event], ensure_ascii=False)
    values = (TIMES[event], f'"-{event}"', ADDRESSES[event], PORTS[event], WAITS[event], note)
    terms = [f"{name} == {value}" for name, value in zip(names, values, strict=True)]
    terms[1] = f"{values[1]} in {names[1]}"
    return " && ".join(terms)


def logs() -> list[Log]:
    """Return all logs."""
    return [*_tables(), *_zeek(), *_zeek_json(), *_eve(), *_json(), *_binary(), *_exports()]


# --- packing --------------------------------------------------------------------------------


def _zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


PACKERS: dict[str, Callable[[bytes], bytes]] = {"": bytes, ".gz": gzip.compress, ".zst": _zstd}


# --- tables ---------------------------------------------------------------------------------


def _cell(text: str, *, always: bool) -> str:
    needed = always or any(letter in text for letter in ',;\t|"\n') or not text
    return '"' + text.replace('"', '""') + '"' if needed else text


def _rows(marker: str, delimiter: str, *, always: bool = False) -> list[str]:
    events = zip(TIMES, ADDRESSES, PORTS, WAITS, NOTES, strict=True)
    return [
        delimiter.join(_cell(str(v), always=always) for v in (ts, f"@{marker}-{i}", *rest))
        for i, (ts, *rest) in enumerate(events)
    ]


TABLES: dict[str, Callable[[str, list[str], str], str]] = {
    "plain": lambda head, rows, d: "\n".join([head, *rows, ""]),
    "comments": lambda head, rows, d: "\n".join(["####", "# list, x", "#", head, *rows, "# end"]),
    "slashes": lambda head, rows, d: "\n".join(["// list", head, *rows, ""]),
    "in-comment": lambda head, rows, d: "\n".join(["# list", f"# {head}", *rows, ""]),
    "sep": lambda head, rows, d: "\n".join([f"sep={d}", head, *rows, ""]),
    "windows": lambda head, rows, d: "\r\n".join([head, *rows, ""]),
    "blanks": lambda head, rows, d: "\n\n".join(["", head, *rows, ""]),
    "open end": lambda head, rows, d: "\n".join([head, *rows]),
    "surplus": lambda head, rows, d: "\n".join([head, *(row + d for row in rows)]),
    "mark": lambda head, rows, d: "\ufeff" + "\n".join([head, *rows, ""]),
}
BAD_ROWS = {"short": "x", "long": "{d}".join("1234567"), "quote": 'x"{d}"y"z{d}1{d}2{d}3{d}4'}


def _tables() -> Iterator[Log]:
    for number, (delimiter, form) in enumerate(product(",;\t|", TABLES)):
        for always in (False, True):
            marker = f"t{number}q{always:d}"
            rows = _rows(marker, delimiter, always=always)
            head = delimiter.join(NAMES)
            suffix = "tsv" if delimiter == "\t" else "csv"
            text = TABLES[form](head, rows, delimiter)
            yield Log(f"{marker}.{suffix}", text.encode(), marker)
    for number, (delimiter, kind) in enumerate(product(",;\t|", BAD_ROWS)):
        marker = f"tb{number}"
        rows = _rows(marker, delimiter)
        rows.insert(1, BAD_ROWS[kind].format(d=delimiter))
        text = "\n".join([delimiter.join(NAMES), *rows, ""])
        yield Log(f"{marker}.csv", text.encode(), marker, problems=1)
    for number, encoding in enumerate(["utf-16", "utf-16-le", "utf-16-be", "utf-32"]):
        for packer in PACKERS:
            marker = f"te{number}{packer[1:]}"
            text = "\n".join([",".join(NAMES), *_rows(marker, ","), ""])
            yield Log(f"{marker}.csv{packer}", PACKERS[packer](text.encode(encoding)), marker)
    for number, encoding in enumerate(["cp1252", "latin-1", "cp437", "koi8-r"]):
        marker = f"tn{number}"
        text = "\n".join([",".join(NAMES), *_rows(marker, ","), ""])
        data = text.replace(NOTES[2], "ascii").encode(encoding)
        data = data.replace(b"ascii", "ü → z".encode(encoding, "ignore"))
        if "ü → z".encode(encoding, "ignore").decode(encoding) == NOTES[2]:
            yield Log(f"{marker}.csv", data, marker, encoding=encoding)
    for number, packer in enumerate(PACKERS):
        marker = f"tl{number}"
        text = "\n".join([",".join(NAMES), *_rows(marker, ","), ""])
        data = text.encode().replace("ü".encode(), b"\xfc")
        log = Log(f"{marker}.csv{packer}", PACKERS[packer](data), marker, problems=1, lost=(2,))
        yield log


# --- Zeek -----------------------------------------------------------------------------------


def _zeek_rows(marker: str, separator: str) -> list[list[str]]:
    notes = [note.replace(separator, _hex(separator)) for note in NOTES]
    events = zip(SECONDS, ADDRESSES, PORTS, WAIT_SECONDS, notes, strict=True)
    return [[ts, f"@{marker}-{i}", *map(str, rest)] for i, (ts, *rest) in enumerate(events)]


def _hex(text: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in text.encode())


ZEEK_TYPES = ("time", "string", "addr", "port", "interval", "string")
ORDERS = ("usual", "types first", "path last")


def _zeek_log(
    path: str, separator: str, order: str, rows: list[list[str]], unset: str = "-"
) -> bytes:
    usual = [
        ["#set_separator", "\x02"],
        ["#empty_field", "(empty)"],
        ["#unset_field", unset],
        ["#path", path],
        ["#fields", *ZEEK],
        ["#types", *ZEEK_TYPES],
    ]
    if order == "types first":
        usual[-1], usual[-2] = usual[-2], usual[-1]
    if order == "path last":
        usual.append(usual.pop(3))
    lines = [f"#separator {_hex(separator)}", *map(separator.join, [*usual, *rows])]
    return ("\n".join([*lines, separator.join(["#close", "2026-03-04-05-06-10"])]) + "\n").encode()


def _zeek() -> Iterator[Log]:
    separators = ("\t", ",", "|", " ", "||", "\x01", "§")
    for number, (separator, order, path, unset) in enumerate(
        product(separators, ORDERS, ("conn", "own"), ("-", ""))
    ):
        marker = f"z{number}"
        name = path if path == "conn" else f"own{number}"
        rows = _zeek_rows(marker, separator)
        data = _zeek_log(name, separator, order, rows, unset)
        packer = [*PACKERS][number % 3]
        yield Log(f"{marker}.log{packer}", PACKERS[packer](data), marker, ZEEK)
    faults = {"time": 0, "address": 2, "port": 3, "interval": 4}
    values = ("253402300799.0", "1e999", "nowhere")
    for number, (kind, value) in enumerate(product(faults, values)):
        marker, field = f"zb{number}", faults[kind]
        rows = _zeek_rows(marker, "\t")
        rows[2][field] = value
        data = _zeek_log(f"zb{number}", "\t", "usual", rows)
        log = Log(f"{marker}.log", data, marker, ZEEK, problems=1, nulled=(field,))
        yield log
    for number, line in enumerate([["x"], ["x"] * 9, ["\udcff"] * 6]):
        marker = f"zl{number}"
        rows = [*_zeek_rows(marker, "\t"), line]
        data = _zeek_log(marker, "\t", "usual", [[*map(str, row)] for row in rows[:3]])
        bad = "\t".join(line).encode("utf-8", "surrogateescape") + b"\n"
        data = data.replace(b"#close", bad + b"#close")
        yield Log(f"{marker}.log", data, marker, ZEEK, problems=1)


# --- JSON -----------------------------------------------------------------------------------


def _lines(events: list[dict[str, object]]) -> str:
    return "".join(json.dumps(event, ensure_ascii=False) + "\n" for event in events)


def _array(events: list[dict[str, object]]) -> str:
    return json.dumps(events)


def _pretty(events: list[dict[str, object]]) -> str:
    return "\n".join(json.dumps(event, indent=2) for event in events)


LAYOUTS = {"lines": _lines, "array": _array, "pretty": _pretty}


def _spelled(event: dict[str, object], form: str) -> dict[str, object]:
    """Write dotted names as records, or with another separator."""
    spelled: dict[str, object] = {}
    for name, value in event.items():
        record, dot, member = name.partition(".")
        if form == "nested" and dot:
            inner = spelled.setdefault(record, {})
            assert isinstance(inner, dict)
            inner[member] = value
        else:
            spelled[name.replace(".", "_") if form == "underscores" else name] = value
    return spelled


def _values(
    marker: str, times: tuple[object, ...], waits: tuple[object, ...]
) -> list[list[object]]:
    markers = [f"@{marker}-{i}" for i in range(3)]
    return [list(e) for e in zip(times, markers, ADDRESSES, PORTS, waits, NOTES, strict=True)]


def _zeek_json() -> Iterator[Log]:
    clocks = {
        "number": tuple(map(float, SECONDS)),
        "text of a number": SECONDS,
        "ISO": TIMES,
        "ISO with a zone": tuple(f"{t}Z" for t in TIMES),
    }
    for number, (form, clock, layout, path) in enumerate(
        product(("dotted", "nested", "underscores"), clocks, LAYOUTS, ("conn", "own"))
    ):
        marker = f"zj{number}"
        waits: tuple[object, ...] = tuple(map(float, WAIT_SECONDS)) if number % 2 else WAITS
        if path == "own":
            waits = WAITS
        events = [
            {"_path": path if path == "conn" else f"zj{number}"}
            | _spelled(dict(zip(ZEEK, values, strict=True)), form)
            for values in _values(marker, clocks[clock], waits)
        ]
        yield Log(f"{marker}.log", LAYOUTS[layout](events).encode(), marker, ZEEK)


def _eve() -> Iterator[Log]:
    names = ("timestamp", "uid", "src_ip", "src_port", "wait", "note")
    zones = ("+0000", "Z", "+00:00")
    kinds = ("flow", "dns", "http", "tls", "alert", "fileinfo", "newtype")
    for number, (kind, zone) in enumerate(product(kinds, zones)):
        marker = f"e{number}"
        times = tuple(f"{t}{zone}" for t in TIMES)
        events = [
            {"event_type": kind} | dict(zip(names, values, strict=True))
            for values in _values(marker, times, WAITS)
        ]
        packer = [*PACKERS][number % 3]
        data = PACKERS[packer](_lines(events).encode())
        yield Log(f"{marker}.json{packer}", data, marker, names)


BAD_LINES = (
    b"{",
    b"x",
    b'{"a":1}}',
    b'{"a":"\xff"}',
    b'{"a":"\\ud800"}',
    b'{"a":1,"a":2}',
    b"[" * 5000,
)


def _json() -> Iterator[Log]:
    for number, (layout, packer) in enumerate(product(LAYOUTS, PACKERS)):
        marker = f"j{number}"
        events = [dict(zip(NAMES, v, strict=True)) for v in _values(marker, TIMES, WAITS)]
        data = PACKERS[packer](LAYOUTS[layout](events).encode())
        yield Log(f"{marker}.json{packer}", data, marker)
    nested = ("r.ts", "uid", "r.s.addr", "r.s.port", "r.wait", "note")
    for number, form in enumerate(("dotted", "deep", "nested")):
        marker = f"jn{number}"
        events = [
            _deep(dict(zip(nested, v, strict=True)), form) for v in _values(marker, TIMES, WAITS)
        ]
        yield Log(f"{marker}.json", _lines(events).encode(), marker, nested)
    for number, line in enumerate(BAD_LINES):
        marker = f"jb{number}"
        events = [dict(zip(NAMES, v, strict=True)) for v in _values(marker, TIMES, WAITS)]
        first, rest = _lines(events[:1]).encode(), _lines(events[1:]).encode()
        yield Log(f"{marker}.json", first + line + b"\n" + rest, marker, problems=1)
    for number, encoding in enumerate(("utf-8-sig", "utf-16", "utf-16-le")):
        marker = f"je{number}"
        events = [dict(zip(NAMES, v, strict=True)) for v in _values(marker, TIMES, WAITS)]
        yield Log(f"{marker}.json", _lines(events).encode(encoding), marker)


def _deep(event: dict[str, object], form: str) -> dict[str, object]:
    if form == "dotted":
        return event
    if form == "nested":
        return _spelled(event, "nested")
    r = {"ts": event["r.ts"], "wait": event["r.wait"]}
    s = {"addr": event["r.s.addr"], "port": event["r.s.port"]}
    return {"uid": event["uid"], "note": event["note"], "r": r | {"s": s}}


# --- binary formats, and what vastlab writes --------------------------------------------------


def _table(marker: str, unit: str) -> pa.Table:
    times = [datetime.fromisoformat(text) for text in TIMES]
    spans = [163_820, 76_800_000, 1_000_000]
    return pa.table(
        {
            "ts": pa.array(times, pa.timestamp("us")).cast(pa.timestamp(unit)),
            "uid": [f"@{marker}-{i}" for i in range(3)],
            "addr": pa.array([_packed(text) for text in ADDRESSES], _ip()),
            "port": pa.array(PORTS, pa.uint16()),
            "wait": pa.array(spans, pa.duration("us")).cast(pa.duration(unit)),
            "note": NOTES,
        }
    )


def _packed(text: str) -> bytes:
    address = ipaddress.ip_address(text)
    return address.packed if address.version == 6 else bytes(10) + b"\xff\xff" + address.packed


def _ip() -> pa.DataType:
    return arrow_types.IP


def _binary() -> Iterator[Log]:
    for number, (unit, kind) in enumerate(
        product(("us", "ns"), ("file", "stream", "parquet", "parquet-zstd"))
    ):
        marker = f"b{number}"
        table, sink = _table(marker, unit), io.BytesIO()
        if kind.startswith("parquet"):
            pq.write_table(table, sink, compression="zstd" if kind.endswith("d") else "none")
        else:
            new = pa.ipc.new_file if kind == "file" else pa.ipc.new_stream
            with new(sink, table.schema) as writer:
                writer.write_table(table)
        suffix = "parquet" if kind.startswith("parquet") else "arrow"
        yield Log(f"{marker}.{suffix}", sink.getvalue(), marker)


def _exports() -> Iterator[Log]:
    for number, (first, other) in enumerate(product(("#type", "type"), ("", "more"))):
        marker = f"x{number}"
        rows = [f"my.x{number},{row}" for row in _rows(marker, ",")]
        head = ",".join([first, *NAMES])
        between = [f"{first},a", "my.other,5", head] if other else []
        text = "\n".join([head, rows[0], *between, *rows[1:], ""])
        yield Log(f"{marker}.csv", text.encode(), marker)
    marker = "xj"
    events = [
        {"#type": "my.xj"} | dict(zip(NAMES, v, strict=True)) for v in _values(marker, TIMES, WAITS)
    ]
    yield Log(f"{marker}.json", _lines(events).encode(), marker)

"""A VAST 3.1 node of the tests, and the program `vast` that speaks with it.

The node runs in threads of the test; `tests/nodes/vast_program.py` is the client. What an
expression finds is decided by the reference evaluator, with numbers of one type only, as VAST
has it, and never by vastlab's compiler. Every fault that a real node showed can be asked for.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import socket
import struct
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from tests import reference_evaluator as reference
from tests.nodes.vast_indexes import Indexes
from tests.nodes.vast_steps import Step, parse_pipeline
from vastlab.arrow import convert
from vastlab.arrow import schema as arrow_schema
from vastlab.arrow import types as arrow_arrays
from vastlab.errors import ExpressionError
from vastlab.expression import parse
from vastlab.expression.ast import Constant
from vastlab.expression.literals import Double, Int64, UInt64
from vastlab.expression.rewrite import at
from vastlab.expression.taxonomy import Taxonomy
from vastlab.types import Field, Kind, Schema, Type

TYPED = {**reference.SAME, Kind.INT64: (Int64,), Kind.UINT64: (UInt64,), Kind.DOUBLE: (Double,)}
"""What compares with what: unlike in vastlab, a number only with its own type."""

PROGRAM = Path(__file__).with_name("vast_program.py")


def install(folder: Path) -> Path:
    """Write the program `vast` into a folder."""
    folder.mkdir(exist_ok=True)
    program = folder / "vast"
    program.write_text(f"#!{sys.executable} -IS\n{PROGRAM.read_text()}")
    program.chmod(0o755)
    return program


@dataclass
class Faults:
    """What goes wrong."""

    after: int | None = None
    """An export ends after a number of batches, by calling `end`."""
    end: str = "kill"
    """``kill``, ``stop``, ``cut`` (within a message), ``hang`` or ``signal``."""
    count_hangs: bool = False
    """Counting never ends if nothing is a candidate."""
    count_is_short: bool = False
    """Counting leaves an event out."""
    together: frozenset[str] = frozenset()
    """The commands of which none is answered before all of them are asked."""
    mute: bool = False
    """The node takes connections, and says nothing more."""
    refuse_import: str = ""
    """What an import fails with."""


@dataclass(frozen=True)
class Stored:
    """Events of one layout."""

    batch: pa.RecordBatch
    schema: Schema
    imported: int
    rows: list[reference.Row]


@dataclass
class FakeVast:
    """A node that listens on a free port until it is closed."""

    folder: Path
    faults: Faults = field(default_factory=Faults)
    version: str = "v3.1.0"

    def __post_init__(self):
        self.program = install(self.folder)
        self.stored: list[Stored] = []
        self.queries: list[str] = []
        self.running = 0
        self.most_running = 0
        self.listening = 0
        self.changed = threading.Condition()
        self.asked: list[str] = []
        self.lives = [""]  # how each ended, the last one not yet
        self.links: set[socket.socket] = set()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()

    @property
    def endpoint(self) -> str:
        """Where the node listens."""
        return f"127.0.0.1:{self.port}"

    @property
    def calls(self) -> list[dict]:
        """How the program was called."""
        path = self.folder / "calls.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def set_program(self, **settings) -> None:
        """Change how the program behaves without a node."""
        (self.folder / "settings.json").write_text(json.dumps(settings))

    def add(self, batch: pa.RecordBatch) -> None:
        """Import events."""
        batch = convert.normalise(batch)
        schema = arrow_schema.from_arrow(batch.schema)
        now = time.time_ns()
        with self.changed:
            self.stored.append(Stored(batch, schema, now, rows_of(batch, schema, now)))
            self.changed.notify_all()

    def wait_until_listening(self) -> None:
        """Return when an export waits for what arrives."""
        with self.changed:
            assert self.changed.wait_for(lambda: self.listening, 30)

    def wait_until_connected(self) -> None:
        """Return when a client is connected."""
        with self.changed:
            assert self.changed.wait_for(lambda: self.running, 30)

    def wait_until_alone(self) -> None:
        """Return when no program that was called runs any more."""
        deadline = time.monotonic() + 30
        while any(alive(call["pid"]) for call in self.calls):
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def wait_for_queries(self, number: int) -> None:
        """Return when that number of expressions has been received."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.queries) >= number, 30)

    def kill(self) -> None:
        """End as a killed process does: every connection breaks."""
        self._end("kill")

    def stop(self) -> None:
        """End in an orderly way: every client ends as after a complete answer."""
        self._end("stop")

    def start(self) -> None:
        """Listen again on the same port, with what is stored."""
        self.lives.append("")
        self.listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()

    def close(self) -> None:
        """End and break all connections."""
        self.kill()

    def _end(self, how: str) -> None:
        with self.changed:
            self.lives[-1] = self.lives[-1] or how
            self.changed.notify_all()
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        if how == "kill":
            for link in list(self.links):
                with contextlib.suppress(OSError):
                    link.shutdown(socket.SHUT_RDWR)

    # --- connections ----------------------------------------------------------------------------

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                link, _ = listener.accept()
            except OSError:
                return
            if self.lives[-1]:
                link.close()
                return
            self.links.add(link)
            threading.Thread(target=self._serve, args=(link,), daemon=True).start()

    def _serve(self, link: socket.socket) -> None:
        with self.changed:
            self.running += 1
            self.most_running = max(self.most_running, self.running)
            self.changed.notify_all()
        try:
            # Whoever speaks another language is not answered.
            with contextlib.suppress(OSError, ValueError), link, link.makefile("rb") as stream:
                link.sendall(b"VAST\n")
                if line := stream.readline():
                    self._answer(json.loads(line), Link(link, self.lives), stream)
        finally:
            with self.changed:
                self.running -= 1
                self.links.discard(link)

    def _answer(self, request: dict, link: Link, stream: io.BufferedIOBase) -> None:
        if self.faults.mute:
            self._wait_for_end(link)
            return
        with self.changed:
            self.asked.append(request["command"])
            self.changed.notify_all()
            assert self.changed.wait_for(lambda: self.faults.together <= {*self.asked}, 30)
        (self.folder / "asked").touch()
        match request["command"], request["sub"]:
            case "status", _:
                link.out(json.dumps(self._status(), indent=2).encode())
            case "show", "schemas":
                layouts = dict.fromkeys(part.schema for part in self.stored)
                link.out(json.dumps([{each.name: layout_of(each)} for each in layouts]).encode())
            case "count", _:
                self._count(request["query"], link)
            case "export", "arrow":
                self._export(request, link)
            case "import", "arrow":
                self._import(stream, link)
        link.end(0)

    def _wait_for_end(self, link: Link) -> None:
        with self.changed:
            self.changed.wait_for(lambda: link.ended)
        if link.ended == "kill":
            raise OSError("killed")

    # --- commands -------------------------------------------------------------------------------

    def _status(self) -> dict:
        schemas: dict[str, dict] = {}
        for part in self.stored:
            entry = schemas.setdefault(part.schema.name, {"num-events": 0, "num-partitions": 0})
            entry["num-events"] += part.batch.num_rows
            entry["num-partitions"] += 1
        catalog = {
            "memory-usage": 0,
            "num-events": sum(part.batch.num_rows for part in self.stored),
            "num-partitions": len(self.stored),
            "schemas": schemas,
        }
        return {
            "catalog": {k: v for k, v in catalog.items() if v != {}},  # empty ones are stripped
            "system": {
                "current-memory-usage": 517742592,
                "database-path": "/vast/db",
                "in-memory-table-slices": 0,
                "peak-memory-usage": 517742592,
                "swap-space-usage": 0,
            },
            "version": {"VAST": self.version},
        }

    def _count(self, text: str, link: Link) -> None:
        try:
            expr = self._parse(text)
        except ExpressionError:
            link.fail(f"parse_error: failed to parse expression '{text}': !! parse_error")
            return
        number = sum(found.num_rows for found in (matching(expr, e) for e in self.stored))
        number -= bool(number) and self.faults.count_is_short
        if not number and self.faults.count_hangs:
            self._wait_for_end(link)
            return
        link.out(f"{number}\n".encode())

    def _parse(self, text: str):
        expr = at(parse(text), time.time_ns()) if text else Constant(True)
        with self.changed:
            self.queries.append(text)
            self.changed.notify_all()
        return expr

    def _export(self, request: dict, link: Link) -> None:
        text, options = request["query"], request["options"]
        with self.changed:
            stored = len(self.stored)
        asked, step = parse_pipeline(text)
        try:
            expr = self._parse(asked)
        except ExpressionError:
            link.fail(
                "unspecified: failed to spawn 'spawn exporter' at node: !! syntax_error: "
                f"invalid query: !! syntax_error: failed to parse pipeline '{text}': "
                "operator name is invalid"
            )
            return
        export = Export(link, expr, int(options.get("max-events", 0)), self.faults, step)
        if "unified" in options:
            candidates = [e for e in self.stored[:stored] if matching(expr, e).num_rows]
            self._send(export, stored, since=0, live=bool(candidates))
        elif "continuous" in options:
            self._send(export, stored, since=stored, live=True)
        else:
            self._send(export, stored, since=0, live=False)

    def _send(self, export: Export, stored: int, *, since: int, live: bool) -> None:
        position = since
        while True:
            while position < (len(self.stored) if live else stored):
                how = export.send(self.stored[position], arrived=position >= stored)
                position += 1
                if how == "full":
                    return
                if how in ("kill", "stop"):
                    self._end(how)
                if how == "hang":
                    self._wait_for_end(export.link)
                if export.link.ended == "kill":
                    raise OSError("killed")
                if export.link.ended or how == "cut":
                    return
            if not live or export.link.ended:
                return
            self._wait_for_more(position, export.link)

    def _wait_for_more(self, position: int, link: Link) -> None:
        with self.changed:
            self.listening += 1
            self.changed.notify_all()
            self.changed.wait_for(lambda: link.ended or position < len(self.stored))
            self.listening -= 1

    def _import(self, stream: io.BufferedIOBase, link: Link) -> None:
        data = stream.read()
        if self.faults.refuse_import:
            link.fail(self.faults.refuse_import)
            return
        try:
            batches = list(pa.ipc.open_stream(data))
        except pa.ArrowInvalid as error:
            link.fail(f"format_error: {error}")
            return
        for batch in batches:
            if any(map(has_null, batch.schema)):
                link.say(b"s", b"11")
                return
            if any(has_nan(value) for column in batch.columns for value in column.to_pylist()):
                self._end("kill")
                raise OSError("aborted: a number has no order")
            if any(e.type.kind is Kind.BLOB for e in arrow_schema.from_arrow(batch.schema).leaves):
                link.fail("type_clash: unsupported arrow type 'large_binary'")
                return
            self.add(batch)


@dataclass
class Link:
    """What the node says to one client."""

    socket: socket.socket
    lives: list[str]

    def __post_init__(self):
        self.life = len(self.lives) - 1

    @property
    def ended(self) -> str:
        """How the node of this client ended."""
        return self.lives[self.life]

    def say(self, kind: bytes, data: bytes) -> None:
        """Send one piece."""
        self.socket.sendall(struct.pack("!cI", kind, len(data)) + data)

    def out(self, data: bytes) -> None:
        """Let the client print."""
        self.say(b"o", data)

    def fail(self, error: str) -> None:
        """Let the client end with an error."""
        self.say(b"e", f"!! {error}\n".encode())
        self.end(1)

    def end(self, status: int) -> None:
        """Let the client end."""
        self.say(b"x", str(status).encode())


@dataclass
class Export:
    """One export, which writes a stream for each run of equal layouts."""

    link: Link
    expr: object
    limit: int
    faults: Faults
    step: Step
    sent: int = 0
    batches: int = 0
    schema: pa.Schema | None = None
    writer: pa.RecordBatchStreamWriter | None = None
    sink: io.BytesIO = field(default_factory=io.BytesIO)

    def send(self, part: Stored, *, arrived: bool) -> str:
        """Send what matches; say ``full`` at the limit, or what goes wrong now."""
        found = (arriving if arrived else matching)(self.expr, part)
        if not found.num_rows:
            return ""
        if self.faults.after is not None and self.batches >= self.faults.after:
            return self._break(found)
        if self.limit > 0:
            found = found.slice(0, self.limit - self.sent)
        self.link.out(self.encoded(self.step(found)))
        self.sent += found.num_rows
        self.batches += 1
        return "full" if 0 < self.limit <= self.sent else ""

    def _break(self, batch: pa.RecordBatch) -> str:
        if self.faults.end == "signal":
            self.link.say(b"s", b"11")
        if self.faults.end == "cut":
            self.link.out(self.encoded(batch)[:-9])
        return self.faults.end

    def encoded(self, batch: pa.RecordBatch) -> bytes:
        """Write a batch behind what was written before."""
        self.sink.seek(0)
        self.sink.truncate()
        if self.writer is None or not batch.schema.equals(self.schema, check_metadata=True):
            if self.writer is not None:
                self.writer.close()  # only a stream that another one follows has an end mark
            self.schema = batch.schema
            self.writer = pa.ipc.new_stream(self.sink, batch.schema)
        self.writer.write_batch(batch)
        return self.sink.getvalue()


# --- what an expression finds -------------------------------------------------------------------


def matching(expr, part: Stored) -> pa.RecordBatch:
    """Return the stored events that VAST 3.1 would find."""
    answers = Indexes(part.schema, Taxonomy.default(), TYPED).answers(expr, part.rows)
    return part.batch.filter(pa.array(answers, pa.bool_()))


def arriving(expr, part: Stored) -> pa.RecordBatch:
    """Return the events that it would find where they arrive: without indexes and concepts."""
    answers = reference.answers(expr, part.schema, part.rows, Taxonomy(), same=TYPED)
    return part.batch.filter(pa.array(answers, pa.bool_()))


def has_null(field: pa.Field) -> bool:
    """Whether a type has a part without any type, or a record without fields."""
    type_ = field.type
    if isinstance(type_, pa.BaseExtensionType):
        return False
    if pa.types.is_struct(type_):
        return not type_.num_fields or any(map(has_null, type_))
    return pa.types.is_null(type_) or (pa.types.is_list(type_) and has_null(type_.value_field))


def has_nan(value) -> bool:
    """Whether a value is not equal to itself, at any depth."""
    match value:
        case dict():
            return any(map(has_nan, value.values()))
        case list():
            return any(map(has_nan, value))
        case _:
            return value != value


def rows_of(batch: pa.RecordBatch, schema: Schema, imported: int) -> list[reference.Row]:
    """Write events in the form of the reference evaluator."""
    flat = convert.flatten(batch)
    columns = {leaf.column: values(flat[leaf.column], leaf.type) for leaf in schema.leaves}
    columns["#import_time"] = [imported] * batch.num_rows
    names = list(columns)
    return [dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def values(array: pa.Array, type_: Type) -> list:
    """Turn an array into Python values, exactly."""
    storage = arrow_arrays.storage_of(array)
    match type_.kind:
        case Kind.TIME | Kind.DURATION:
            return storage.cast(pa.int64()).to_pylist()
        case Kind.SUBNET:
            return [None if e is None else (e["address"], e["length"]) for e in subnets(storage)]
        case Kind.ENUM:
            return storage.cast(pa.string()).to_pylist()
        case Kind.LIST:
            items = values(storage.values, type_.item)
            offsets = storage.offsets.to_pylist()
            return [
                items[offsets[i] : offsets[i + 1]] if storage[i].is_valid else None
                for i in range(len(storage))
            ]
        case _:
            return storage.to_pylist()


def subnets(storage: pa.StructArray) -> list:
    """Return subnets as dictionaries."""
    address = arrow_arrays.storage_of(storage.field("address")).to_pylist()
    length = storage.field("length").to_pylist()
    pairs = zip(storage.is_valid().to_pylist(), address, length, strict=True)
    return [{"address": a, "length": n} if valid else None for valid, a, n in pairs]


# --- what `show schemas` prints -----------------------------------------------------------------


def layout_of(schema: Schema) -> object:
    """Write a schema in VAST's short form."""
    return attributed([member_of(member) for member in schema.fields], schema.attributes)


def attributed(fields: list, attributes) -> object:
    """Put the attributes of a record beside it."""
    layout: object = {"record": fields}
    return {"type": layout, "attributes": dict(attributes)} if attributes else layout


def member_of(member: Field) -> dict:
    """Write one field."""
    return {member.name: type_layout(member.type)}


def type_layout(type_: Type) -> object:
    """Write a type: its names first, then what it is."""
    match type_.kind:
        case Kind.RECORD:
            layout: object = {"record": [member_of(member) for member in type_.fields]}
        case Kind.LIST:
            layout = {"list": type_layout(type_.item)}
        case Kind.ENUM:
            layout = {"enum": [label for label, _ in type_.labels]}
        case kind:
            layout = kind.value
    if type_.attributes:
        layout = {"type": layout, "attributes": dict(type_.attributes)}
    for name in reversed(type_.names):
        layout = {name: layout}
    return layout


def alive(pid: int) -> bool:
    """Whether a process runs."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True

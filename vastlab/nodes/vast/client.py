"""The `vast` program: its commands and their output."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa

from vastlab.arrow import convert
from vastlab.arrow.ipc import read_streams
from vastlab.endpoints import NodeEndpoint
from vastlab.errors import ClientNotFoundError, FormatError, NodeConnectionError, NodeError
from vastlab.nodes import upload
from vastlab.nodes.base import ExportMode, SingleFlight, completed
from vastlab.nodes.process import Child, Completed, Pump, Slots, clean_environment, run
from vastlab.table_slice import TableSlice
from vastlab.types import Field, Kind, Schema, Type

_WORDS = {
    kind.value: kind
    for kind in Kind
    if kind not in (Kind.LIST, Kind.MAP, Kind.RECORD, Kind.ENUM, Kind.BLOB)
}


def parse_layouts(text: bytes) -> tuple[Schema, ...]:
    """Read the answer to ``vast show schemas``."""
    try:
        return tuple(
            _schema(name, layout) for entry in json.loads(text) for name, layout in entry.items()
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NodeError(f"vast prints schemas in an unknown form: {error}") from error


def _schema(name: str, layout: Any) -> Schema:
    type_ = _type(layout)
    return Schema(name, type_.fields, type_.attributes)


def _type(layout: Any) -> Type:
    if isinstance(layout, str):
        return Type(_WORDS[layout])
    if layout.keys() == {"type", "attributes"}:
        return _with_attributes(_type(layout["type"]), layout["attributes"])
    ((word, inner),) = layout.items()
    match word, inner:
        case "record", list():
            return Type(Kind.RECORD, fields=tuple(_field(member) for member in inner))
        case "list", _:
            return Type(Kind.LIST, item=_type(inner))
        case "map", dict():
            return Type(Kind.MAP, key=_type(inner["key"]), item=_type(inner["value"]))
        case "enum", list():
            return Type(Kind.ENUM, labels=tuple((label, key) for key, label in enumerate(inner)))
        case _:
            type_ = _type(inner)
            return replace(type_, names=(word, *type_.names))


def _field(member: dict[str, Any]) -> Field:
    ((name, layout),) = member.items()
    return Field(name, _type(layout))


def _with_attributes(type_: Type, attributes: dict[str, Any]) -> Type:
    pairs = tuple((key, "" if value is None else str(value)) for key, value in attributes.items())
    return replace(type_, attributes=pairs + type_.attributes)


CONNECT_SECONDS = 5
IDLE_SECONDS = 3.0
_ANSWER_SECONDS = 60.0
_LONGEST_ARGUMENT = 100_000  # Linux allows 131,071 bytes
_ERROR = re.compile(r"^!! ([a-z_]+(?:::[a-z_]+)*)(?:: (.*))?$", re.MULTILINE)
_USAGE = re.compile(r"^error: (.*)$", re.MULTILINE)
_UNREACHABLE = "failed to connect to VAST node"
_LOST = ("caf::exit_reason::remote_link_unreachable", "remote_node_down")
_VERSION = re.compile(rb'"VAST": *"v?([0-9]+)\.([0-9]+)')
_OLDEST, _PIPELINES_SINCE, _TOO_NEW = (2, 0), (3, 1), (4, 0)
_MODES = {ExportMode.CONTINUOUS: ("--continuous",), ExportMode.UNIFIED: ("--unified",)}
_INCOMPLETE = "the answer is not complete"

_T = TypeVar("_T")


class VastClient:
    """Runs the program `vast` for one node.

    At most `max_clients` processes run at once, and one more for the schemas.
    """

    def __init__(self, endpoint: NodeEndpoint, program: Path, max_clients: int) -> None:
        self._endpoint = endpoint
        self._program = program
        self._slots = Slots(max_clients)
        # An export that holds a slot waits for the schemas: these have a slot of their own.
        self._schema_slot = Slots(1)
        self._known_version: tuple[int, ...] | None = None
        self._version_flight = SingleFlight(lambda begun: self._ask_version())
        self._schemas_flight = SingleFlight(self._ask_schemas)

    # --- questions --------------------------------------------------------------------------

    async def schemas(self) -> tuple[Schema, ...]:
        """Return all layouts that the node holds now."""
        return await self._schemas_flight.result()

    async def status(self, *words: str) -> dict[str, Any]:
        """Return what ``vast status`` says."""
        async with self._slots.take():
            return self._object(await self._checked(self._call(("status", *words))))

    async def ping(self) -> str:
        """Return the node's version; `NodeConnectionError` if nothing answers."""
        # Never waits for a slot: it is asked while an export holds one.
        answer = await self._checked(self._call(("status",), CONNECT_SECONDS + 0.5))
        return str(self._object(answer).get("version", {}).get("VAST", "unknown"))

    async def must_answer(self, stderr: str) -> None:
        """Raise where the node does not answer: its programs might wait endlessly."""
        try:
            await self.ping()
        except NodeError as error:
            raise self.gone(stderr or error.stderr) from error

    async def knows_pipelines(self) -> bool:
        """Whether an export takes a pipeline of operators instead of an expression."""
        return await self._version() >= _PIPELINES_SINCE

    async def _ask_schemas(self, begun: Callable[[], None]) -> tuple[Schema, ...]:
        async with self._schema_slot.take():
            begun()  # what is imported from now on may be missing in the answer
            return parse_layouts(await self._checked(self._call(("show", "schemas"))) or b"[]")

    async def _version(self) -> tuple[int, ...]:
        if self._known_version is None:
            self._known_version = await self._version_flight.result()
        return self._known_version

    async def _ask_version(self) -> tuple[int, ...]:
        done = await run((str(self._program), "version"), clean_environment(), timeout=5)
        found = _VERSION.search(done.stdout)
        version = (0,) if found is None else tuple(int(part) for part in found.groups())
        if done.returncode or not _OLDEST <= version < _TOO_NEW:
            says = ".".join(map(str, version)) if found else "not which version it is"
            raise ClientNotFoundError(
                f"{self._program} cannot be used: it says {says}",
                hint="vastlab speaks with VAST through `vast` 2 or 3, with Tenzir through "
                "`tenzir` from 6 on",
                stderr=done.stderr,
            )
        return version

    async def _checked(self, answer: Awaitable[_T]) -> _T:
        """Wait for an answer, and see meanwhile whether the program can be used at all."""
        if self._known_version is not None:
            return await answer
        asking = asyncio.ensure_future(answer)
        try:
            await self._version()
            return await asking
        finally:
            asking.cancel()
            await asyncio.wait([asking])

    async def _call(self, words: tuple[str, ...], seconds: float = _ANSWER_SECONDS) -> bytes:
        done = await run((*self._argv(), *words), clean_environment(), timeout=seconds)
        if done.returncode:
            raise self._error(done)
        return done.stdout

    # --- events -----------------------------------------------------------------------------

    async def export(
        self,
        text: str,
        mode: ExportMode = ExportMode.HISTORICAL,
        limit: int = 0,
        step: str = "",
    ) -> AsyncGenerator[TableSlice, None]:
        """Return what one process prints, after a step of a pipeline where it knows these."""
        async with self._slots.take():
            child = await self._start(text, mode, limit, step)
            parts = Pump(
                lambda: _slices(child),
                child.end,
                idle=IDLE_SECONDS,
                on_idle=lambda: self.must_answer(child.stderr),
            )
            async with aclosing(parts):
                async for part in parts:
                    yield part
            if child.returncode:
                raise self._error(Completed(child.returncode, b"", child.stderr))

    async def _start(self, text: str, mode: ExportMode, limit: int, step: str) -> Child:
        """Start an export as of 3.1, while the program may still be asked for its version."""
        piped = f"where ({text or _EVERYTHING}) | {step}" if step else text
        piped = f"where {piped}" if piped and not step else piped
        child = self._child(piped, mode, limit)
        try:
            if await self.knows_pipelines() or not piped:
                return child
        except BaseException:
            await completed(child.end)
            raise
        await completed(child.end)
        return self._child(text, mode, limit)

    def _child(self, text: str, mode: ExportMode, limit: int) -> Child:
        most = (f"--max-events={limit}",) if limit else ()
        argv = (*self._argv(), "export", *_MODES.get(mode, ()), *most, "arrow")
        if len(text.encode()) <= _LONGEST_ARGUMENT:
            return Child((*argv, text) if text else argv, clean_environment())
        with tempfile.TemporaryFile() as file:
            file.write(text.encode())
            file.seek(0)
            return Child(argv, clean_environment(), stdin=file.fileno())

    async def send(self, batches: Iterator[pa.RecordBatch]) -> None:
        """Import batches of one layout."""
        argv = (*self._argv(), "import", "--blocking", "arrow")
        async with self._slots.take():
            done = await self._checked(upload.feed(argv, clean_environment(), batches))
        if done.returncode:
            raise self._error(done, "it did not take all events")

    # --- the program ------------------------------------------------------------------------

    def _argv(self) -> tuple[str, ...]:
        return (
            str(self._program),
            f"--endpoint={self._endpoint}",
            f"--connection-timeout={CONNECT_SECONDS}s",
            "--connection-retry-delay=0s",
            "--console-verbosity=quiet",
        )

    def _object(self, answer: bytes) -> dict[str, Any]:
        try:
            parsed = json.loads(answer)
        except ValueError:
            parsed = None
        if not isinstance(parsed, dict):
            raise NodeError(f"{self._program.name} prints no status: {answer[:80]!r}")
        return parsed

    def gone(self, stderr: str, outcome: str = "the export is not complete") -> NodeError:
        """Return the error that says that the node is gone."""
        return NodeError(
            f"the node at {self._endpoint} is gone; {outcome}",
            hint="what came before is kept; start the node and run the query again",
            stderr=stderr,
        )

    def _error(self, done: Completed, outcome: str = _INCOMPLETE) -> NodeError:
        found = _ERROR.findall(done.stderr)
        if not found:
            ending = f"signal {-done.returncode}" if done.returncode < 0 else str(done.returncode)
            usage = _USAGE.search(done.stderr)
            details = f": {usage[1]}" if usage else ""
            return NodeError(
                f"{self._program.name} ended with {ending}, {outcome}{details}", stderr=done.stderr
            )
        code, message = found[-1]
        if code in _LOST:
            lost = "the export is not complete" if outcome == _INCOMPLETE else outcome
            return self.gone(done.stderr, lost)
        if message.startswith(_UNREACHABLE):
            return NodeConnectionError(
                f"nothing answers at {self._endpoint}",
                hint='start the node; the endpoint "demo:" and any folder of logs work without one',
                stderr=done.stderr,
            )
        reason = f"{message} [{code}]" if message else code
        # `vast` reads no IPv6 address.
        hint = "name the host instead of its address" if ":" in self._endpoint.host else None
        return NodeError(f"the node at {self._endpoint}: {reason}", hint=hint, stderr=done.stderr)


_EVERYTHING = '#type != ""'


def _slices(child: Child) -> Iterator[TableSlice]:
    """Read what a child prints to its end, and wait for that of the child."""
    try:
        for batch in read_streams(child.stdout):
            yield TableSlice(convert.normalise(batch))
    except FormatError as error:
        # Where the child failed, its own words say more than the place of the cut.
        with contextlib.suppress(OSError, ValueError):
            child.stdout.read()
        if not child.wait():
            raise NodeError(
                f"the node's answer was cut short: {error}", stderr=child.stderr
            ) from error
    child.wait()

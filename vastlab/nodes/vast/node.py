"""A VAST (<= 3) node."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vastlab.arrow import schema as arrow_schema
from vastlab.arrow.types import list_parts, null_mask
from vastlab.compile import vast as compiler
from vastlab.compile.groups import Groups
from vastlab.endpoints import NodeEndpoint
from vastlab.errors import NodeError
from vastlab.expression.aggregates import Summary
from vastlab.nodes import upload
from vastlab.nodes.base import (
    Explanation,
    ExportMode,
    LayoutPlan,
    Limit,
    NoTimes,
    Query,
    Report,
    both,
    ignore,
)
from vastlab.nodes.ordering import newest_of, of_each_schema
from vastlab.nodes.plan import bind, group_export
from vastlab.nodes.vast.client import VastClient
from vastlab.nodes.vast.groups import NodeGroups, groups_of
from vastlab.nodes.vast.indexes import is_certain
from vastlab.nodes.vast.plan import Filter, Plan, plans, without
from vastlab.readers.problems import Problem
from vastlab.store.ingest import IngestReport
from vastlab.store.layout import union
from vastlab.table_slice import TableSlice
from vastlab.types import Schema, by_name

_Part = tuple[pa.Field, pa.Array]


class FittingBatches:
    """Fits batches to what a node can store, and counts what is lost."""

    def __init__(self) -> None:
        self.lost: Counter[tuple[str, str]] = Counter()
        """How many values became null, by the names of schema and field."""

    def fit(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return the events as the node can take them."""
        name = arrow_schema.name_of(batch.schema)
        parts = [
            part
            for field, array in zip(batch.schema, batch.columns, strict=True)
            if (part := self._part(field, array, (name, field.name))) is not None
        ]
        if not parts:
            # An event needs a field to exist: a text without a value.
            first = batch.schema[0].name if batch.num_columns else "empty"
            parts = [(pa.field(first, pa.string()), pa.nulls(batch.num_rows, pa.string()))]
        schema = pa.schema([field for field, _ in parts], batch.schema.metadata)
        return pa.RecordBatch.from_arrays([array for _, array in parts], schema=schema)

    def problems(self) -> tuple[tuple[Problem, int], ...]:
        """Say of each field that lost values how many these are."""
        return tuple(
            (
                Problem(schema, None, f"{field}: {_values(number)} NaN, which VAST cannot store"),
                number,
            )
            for (schema, field), number in sorted(self.lost.items())
        )

    def _part(self, field: pa.Field, array: pa.Array, place: tuple[str, str]) -> _Part | None:
        """Return what can be stored of one field; ``None`` where it has no values at all."""
        if isinstance(field.type, pa.BaseExtensionType):
            return field, array
        if pa.types.is_null(field.type):
            return None
        if pa.types.is_floating(field.type):
            return field, self._without_nan(array, place)
        if pa.types.is_struct(field.type):
            return self._record(field, array, place)
        if pa.types.is_list(field.type):
            return self._list(field, array, place)
        if pa.types.is_map(field.type):
            return self._map(field, array, place)
        return field, array

    def _without_nan(self, array: pa.Array, place: tuple[str, str]) -> pa.Array:
        found = pc.is_nan(array)
        number = pc.sum(found).as_py()
        if not number:
            return array
        self.lost[place] += number
        return pc.if_else(found, pa.scalar(None, array.type), array)

    def _record(self, field: pa.Field, array: pa.Array, place: tuple[str, str]) -> _Part | None:
        # flatten() applies the record's own nulls: what lies below one may be anything.
        parts = [
            part
            for member, values in zip(field.type, array.flatten(), strict=True)
            if (part := self._part(member, values, (place[0], f"{place[1]}.{member.name}")))
        ]
        if not parts:
            return None
        members = [member for member, _ in parts]
        values = pa.StructArray.from_arrays(
            [values for _, values in parts], fields=members, mask=null_mask(array)
        )
        return field.with_type(values.type), values

    def _list(self, field: pa.Field, array: pa.Array, place: tuple[str, str]) -> _Part | None:
        offsets, (values,) = list_parts(array)
        part = self._part(field.type.value_field, values, place)
        if part is None:
            return None
        type_ = pa.list_(part[0])
        lists = pa.ListArray.from_arrays(offsets, part[1], type=type_, mask=null_mask(array))
        return field.with_type(type_), lists

    def _map(self, field: pa.Field, array: pa.Array, place: tuple[str, str]) -> _Part | None:
        offsets, (keys, items) = list_parts(array)
        key = self._part(field.type.key_field, keys, place)
        item = self._part(field.type.item_field, items, place)
        if key is None or item is None:
            return None
        # A map has no null key: an entry under NaN is left out.
        kept = key[1].is_valid()
        before = np.concatenate([[0], np.cumsum(kept.to_numpy(zero_copy_only=False))])
        type_ = pa.map_(key[0], item[0])
        maps = pa.MapArray.from_arrays(
            pa.array(before[offsets.to_numpy()], pa.int32()),
            key[1].filter(kept), item[1].filter(kept), type=type_, mask=null_mask(array),
        )  # fmt: skip
        return field.with_type(type_), maps


def _values(number: int) -> str:
    return f"{number:,} value{'s are' if number != 1 else ' is'}"


MAX_CLIENTS = 4
_RETRY_SECONDS = (0.1, 0.2, 0.5, 1.0)


class VastNode(NoTimes):
    """A VAST node that listens on a port; at most `max_clients` processes run at once."""

    def __init__(
        self, endpoint: NodeEndpoint, program: Path, *, max_clients: int = MAX_CLIENTS
    ) -> None:
        self._client = VastClient(endpoint, program, max_clients)
        self._known: tuple[Schema, ...] | None = None

    # --- queries ----------------------------------------------------------------------------

    def export(self, query: Query, report: Report = ignore) -> AsyncGenerator[TableSlice, None]:
        """Return the events batch by batch; a live export begins when it is iterated over.

        For the newest first, everything that matches is read. A limit for each schema is a
        process for each.
        """
        if query.newest:
            return newest_of(self._events, query)
        if query.per_schema:
            return of_each_schema(self._events, query, self._schemas)
        return self._events(query)

    async def counts(self, query: Query, report: Report = ignore) -> dict[str, int]:
        """Return the number of events per schema, without schemas that have none.

        The events are exported and counted here. The node's own counter is sometimes too
        small, sometimes never answers, and counts one schema for each process. One export gives the
        numbers of all schemas; where it can, it sends a single small field of each event.
        """
        counts: Counter[str] = Counter()
        async with aclosing(await self._begin(query, counting=True)) as parts:
            async for part in parts:
                counts[part.name] += part.num_rows
        await self._client.must_answer("")
        return dict(sorted(counts.items()))

    async def summarize(self, query: Query, summary: Summary, report: Report = ignore) -> Groups:
        """Let the node group what it can, and group all other events on this side."""
        groups, whole = Groups(summary, query.taxonomy), replace(query, limit=0)
        schemas = await self._schemas()
        for plan in plans(whole, schemas):
            asked = tuple(groups_of(plan, summary, schemas))
            if asked and not await self._client.knows_pipelines():
                asked = ()
            done = [each.layout.name for each in asked if await self._group(each, groups)]
            rest = without(plan.query, done)
            if not done or any(bind(rest, layout) is not None for layout in schemas):
                await group_export(self._events(rest), groups)
        return groups

    async def _group(self, asked: NodeGroups, groups: Groups) -> bool:
        """Add the groups that the node found; return False if its answer cannot be used."""
        partials: list[pa.Table] = []
        async with aclosing(self._client.export(asked.text, step=asked.step)) as parts:
            async for part in parts:
                partial = asked.read(part.to_pyarrow())
                if partial is None:
                    return False
                partials.append(partial)
        await self._client.must_answer("")
        if groups.grouping(asked.layout, asked.layout) is not None:
            for partial in partials:
                groups.add(asked.layout, partial)
        return True

    async def schemas(self, report: Report = ignore) -> dict[str, Schema]:
        """Return what the node holds: for each name the union over its layouts."""
        layouts = by_name(await self._schemas())
        return {name: union(layouts[name]) for name in sorted(layouts)}

    async def status(self, report: Report = ignore) -> dict[str, Any]:
        """Return what ``vast status --detailed`` says."""
        return await self._client.status("--detailed")

    async def explain(self, query: Query, report: Report = ignore) -> Explanation:
        """Say what the query means for each schema; the node does not tell what it would read."""
        schemas, status = await both(self._schemas(), self.status())
        held = status.get("catalog", {}).get("schemas", {})
        asked = plans(query, schemas)
        layouts = tuple(_explained(query, asked, layout, held) for layout in schemas)
        return Explanation(compiler.text(query.expression, schemas), layouts)

    async def ingest(self, sources: Any, **options: Any) -> IngestReport:
        """Add the events of files: they are read here, and sent to the node as Arrow."""
        return await upload.upload(sources, self._client.send, FittingBatches, **options)

    async def aclose(self) -> None:
        """End nothing: every process ends with the call that it was started for."""

    async def ping(self) -> str:
        """Return the node's version; `NodeConnectionError` if nothing answers."""
        return await self._client.ping()

    # --- the export -------------------------------------------------------------------------

    async def _events(self, query: Query) -> AsyncGenerator[TableSlice, None]:
        limit, attempts = Limit(query.limit), 0
        while True:
            found = 0
            async with aclosing(await self._begin(query)) as parts:
                async for part in parts:
                    found += part.num_rows
                    yield limit.cut(part)
                    if limit.is_reached:
                        return
            # The program of a node that was stopped ends as if the answer was complete.
            await self._client.must_answer("")
            if not query.is_live:
                return
            # A live export never ends by itself while its node lives, but for one that begins
            # with history where nothing stored is a candidate. It has returned nothing, so that
            # it can be asked again until there is: what arrived meanwhile is history then.
            if found or query.mode is ExportMode.CONTINUOUS:
                raise self._client.gone("")
            await asyncio.sleep(_RETRY_SECONDS[min(attempts, len(_RETRY_SECONDS) - 1)])
            attempts += 1

    async def _begin(self, query: Query, *, counting: bool = False) -> _Answers:
        """Ask as the schemas of last time suggest, and once more where that was wrong."""
        known, guess, answers = self._known, None, None
        if self._may_guess(query, counting):
            guess = plans(query, known or (), counting=counting)
            answers = _Answers(self._client, _questions(guess, counting))
        try:
            schemas = await self._schemas()
            if guess is not None and known == schemas:
                right = guess
            else:
                right = plans(query, schemas, counting=counting)
            if answers is not None and guess != right:
                await answers.aclose()
                answers = None
            if answers is None:
                answers = _Answers(self._client, _questions(right, counting))
        except NodeError as error:
            if answers is None:
                raise
            answers.failure = error  # what the export can tell, and has found, comes first
        except BaseException:
            if answers is not None:
                await answers.aclose()
            raise
        return answers

    def _may_guess(self, query: Query, counting: bool) -> bool:
        # What arrives while a continuous export is restarted would be lost.
        if query.mode is ExportMode.CONTINUOUS:
            return False
        # What does not depend on schemas can be asked before the schemas are known.
        return self._known is not None or not (
            counting or query.is_bounded or not is_certain(query.expression)
        )

    async def _schemas(self) -> tuple[Schema, ...]:
        self._known = await self._client.schemas()
        return self._known


def _explained(
    query: Query, asked: tuple[Plan, ...], layout: Schema, held: dict[str, Any]
) -> LayoutPlan:
    bound, entry = bind(query, layout), held.get(layout.name, {})
    files = entry.get("num-partitions", 0)
    read = 0 if bound is None else files
    texts = [text for plan in asked if (text := plan.asked(layout.name)) is not None]
    return LayoutPlan(
        schema=layout.name,
        bound=None if bound is None else str(bound),
        files=read,
        all_files=files,
        row_groups=read,
        all_row_groups=files,
        events=entry.get("num-events", 0),
        filtered=" || ".join(texts) if texts and bound is not None else None,
    )


@dataclass(frozen=True, slots=True)
class _Question:
    """One export: what the node is asked, and how its answer is filtered here."""

    text: str
    mode: ExportMode
    limit: int = 0
    step: str = ""
    chosen: Filter | None = None


def _questions(asked: Iterable[Plan], counting: bool) -> Iterator[_Question]:
    for plan in asked:
        mode = plan.query.mode
        if counting:  # as much of the events as is needed to count them
            if plan.exact is not None:
                step = f"select {', '.join(plan.counting)}" if plan.counting else ""
                yield _Question(str(plan.exact), mode, step=step)
            if plan.inexact is not None:
                yield _Question(str(plan.inexact), mode, chosen=Filter(plan))
        elif (text := plan.text) is not None:
            # A limit holds for what is left after the filter.
            limit = 0 if plan.filtered or plan.known else plan.query.limit
            yield _Question(text, mode, limit, chosen=Filter(plan))


class _Answers(AsyncIterator[TableSlice]):
    """The answers to some questions, one after the other; the first is asked at once."""

    def __init__(self, client: VastClient, questions: Iterable[_Question]) -> None:
        self.failure: NodeError | None = None
        """An error to raise when everything has been returned."""
        self._client = client
        self._questions = iter(questions)
        self._stream: AsyncGenerator[TableSlice, None] | None = None
        self._chosen: Filter | None = None
        self._first: asyncio.Future[TableSlice | None] | None = asyncio.ensure_future(self._next())

    async def __anext__(self) -> TableSlice:
        if self._first is None:
            part = await self._next()
        else:
            part = await self._first
            self._first = None
        if part is not None:
            return part
        if self.failure is not None:
            await self._client.must_answer("")
            raise self.failure
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """End the export at hand."""
        if self._first is not None and not self._first.done():
            self._first.cancel()
            await asyncio.wait([self._first])
        if self._first is not None and not self._first.cancelled():
            self._first.exception()  # it was reported, or is not needed any more
        if self._stream is not None:
            await self._stream.aclose()

    async def _next(self) -> TableSlice | None:
        """Return the next events that match; None at the end of the last answer."""
        while True:
            if self._stream is None:
                question = next(self._questions, None)
                if question is None:
                    return None
                self._stream = self._client.export(
                    question.text, question.mode, question.limit, question.step
                )
                self._chosen = question.chosen
            part = await anext(self._stream, None)
            if part is None:
                self._stream = None
            elif self._chosen is None:
                return part
            elif (kept := self._chosen.keep(part)) is not None:
                return kept

"""SQL over events: statements that only read, tables that are read as the engine asks for them.

A schema is a table of its name, as in ``zeek.conn``, or ``"zeek.conn"`` in quotes for any name. A
record is a struct column, so that ``id.orig_h`` is its field. Addresses are 16 bytes, which
`vastlab.compile.sql_functions` makes of text; networks and labels are text.
"""

from __future__ import annotations

import contextlib
import re
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import datafusion
import pyarrow as pa
import pyarrow.dataset
from datafusion import functions as f
from datafusion.catalog import Catalog
from datafusion.catalog import Schema as Namespace

from vastlab import _text
from vastlab.arrow import convert
from vastlab.arrow import schema as arrow_schema
from vastlab.arrow.plain import BYTES, fit_fields, plain_type
from vastlab.arrow.types import IP, list_parts, null_mask, record_batch
from vastlab.compile import sql_functions, sql_sums
from vastlab.errors import UsageError, VastlabError
from vastlab.expression.literals import (
    IP as Address,
)
from vastlab.expression.literals import (
    Bool,
    Double,
    Duration,
    Int64,
    Literal,
    Null,
    String,
    Subnet,
    Time,
    UInt64,
)
from vastlab.expression.parameters import to_literal
from vastlab.types import Field, Kind, Paths, Schema, Type, prune, unique

MAX_MEMORY = 512 << 20
"""The bytes that sorts, joins and groups may hold; beyond, they use files or fail."""
MAX_ANSWER = 512 << 20
"""The bytes of the rows that a statement may return."""

_Part = tuple[str, tuple[str, ...]]  # a table, and some of its columns

Scan = Callable[[str, Paths], Iterator[pa.RecordBatch]]
"""Reads the events of a schema, with the fields at these paths at least; from any thread."""

_SETTINGS = {
    # More of them would call our scans from threads of the engine at the same time.
    "datafusion.execution.target_partitions": "1",
    # Fields are named as they are: `AA` is not `aa`.
    "datafusion.sql_parser.enable_ident_normalization": "false",
    # The greatest of a column is not what is missing.
    "datafusion.sql_parser.default_null_ordering": "nulls_last",
}
_PACKED = pa.ipc.IpcWriteOptions(compression="lz4")
_NAMED = re.compile(r"\$([A-Za-z_]\w*)")
_UNKNOWN_TABLE = re.compile(r"table '([^']*)' not found")
_PREFIXES = re.compile(
    r"^(DataFusion error|Error during planning|Schema error|SQL error|Execution error|caused by"
    r"|Arrow error|External error|This feature is not implemented|type_coercion):?\s*"
)
_PARSER = re.compile(r'ParserError\("(.*)"\)', re.DOTALL)
_MEMBER = re.compile(r"\[([^\[\]]+)\]")
_NO_SIGNATURE = re.compile(r"Function '(\w+)' failed to match any signature.*? received (\w+)")
_NO_VALUE = re.compile(r"Placeholder '(\$\w+)' was not provided")
_WORDS = r'(?:"(?:[^"]|"")*"|\w+)'
_UNKNOWN_FIELD = re.compile(
    rf"No field named ({_WORDS}(?:\.{_WORDS})*)\.|Field (\S+) not found in struct"
)
_PLAIN = re.compile(r"[A-Za-z_]\w*")
_SUGGESTED = 3
_LONGEST_REASON = 400
_WRITES = re.compile(r"^(DDL|DML|Statement) not supported: (.*)$")


def parameters(text: str) -> list[str]:
    """Return the ``$names`` in a statement, and perhaps some that stand in its texts."""
    return list(dict.fromkeys(_NAMED.findall(text)))


class Statement:
    """One statement over the events of some schemas.

    Parameters
    ----------
    schemas
        What there is: for each name the union of its layouts.
    scan
        Reads the events of a schema.
    """

    def __init__(self, schemas: Mapping[str, Schema], scan: Scan) -> None:
        self._schemas = schemas
        self._stopped = False
        self._failure: Exception | None = None
        self._thread = threading.get_ident()
        self._missing: dict[_Part, _Table] = {}
        self._kept: dict[_Part, str] = {}
        config = datafusion.SessionConfig(_SETTINGS).with_information_schema(False)
        runtime = datafusion.RuntimeEnvBuilder().with_disk_manager_os()
        self._context = datafusion.SessionContext(config, runtime.with_fair_spill_pool(MAX_MEMORY))
        # The engine would apply filters with the rules of Arrow, to which null and NaN differ.
        self._context.remove_optimizer_rule("push_down_filter")
        sql_functions.register(self._context, self._fail)
        self._sums = sql_sums.Sums(self._context, self._fail)
        for name, schema in schemas.items():
            table = _Table(schema, scan, self)
            if not table.schema.names:
                continue  # the engine has no table without columns
            view = table.view(self._context.read_table(table))
            for catalog, namespace, short in _places(name):
                self._namespace(catalog, namespace).register_table(short, view)

    def run(self, text: str, params: Mapping[str, object] | None = None) -> pa.Table:
        """Return the rows, with addresses in their own type; blocks.

        Raises
        ------
        UsageError
            The statement is wrong, writes, or needs too much memory.
        """
        if not text.strip():
            raise UsageError("the statement is empty", hint="such as select * from zeek.conn")
        if "\0" in text:
            raise UsageError(
                "a statement cannot hold a null character", hint="fields show it as \\x00"
            )
        self._thread = threading.get_ident()
        with self._errors():
            options = (
                datafusion.SQLOptions()
                .with_allow_ddl(False)
                .with_allow_dml(False)
                .with_allow_statements(False)
            )
            values = _values(text, params or {})
            names = self._planned(text, options, values).schema().names
        with tempfile.TemporaryDirectory(prefix="vastlab-sql-") as folder:
            while True:
                large = len(self._sums.large)
                try:
                    frame = self._checked(text, options, values)
                    with self._errors():
                        return _answer(names, frame.schema(), self._rows(frame), self._schemas)
                except VastlabError:
                    if not self._missing and len(self._sums.large) == large:
                        raise
                self._failure = None
                self._keep(folder)

    def _planned(
        self, text: str, options: datafusion.SQLOptions, values: Mapping[str, pa.Scalar]
    ) -> datafusion.DataFrame:
        return self._context.sql_with_options(text, options, param_values=values)

    def _checked(
        self, text: str, options: datafusion.SQLOptions, values: Mapping[str, pa.Scalar]
    ) -> datafusion.DataFrame:
        """Plan a statement that can be planned as it was written, with its sums checked."""
        try:
            return self._planned(self._sums.written(text), options, values)
        except VastlabError:
            raise
        except Exception as error:  # noqa: BLE001 - the engine has no errors of its own
            if self._sums.large:
                raise sql_sums.too_large() from None
            raise UsageError(
                f"a sum of this statement cannot be checked: {_reason(str(error))}",
                hint="give it a name where it is used: sum(x) as total",
            ) from None

    def _rows(self, frame: datafusion.DataFrame) -> list[pa.RecordBatch]:
        batches, size = [], 0
        for batch in frame.execute_stream():
            self.check()
            rows = batch.to_pyarrow()
            size += rows.nbytes
            if size > MAX_ANSWER:
                raise UsageError(
                    f"the answer has more than {MAX_ANSWER >> 20:,} MiB",
                    hint="add a limit, or group the events",
                )
            batches.append(rows)
        return batches

    def kept(self, table: _Table, part: _Part) -> str | None:
        """Return the file with a part of a table, if it is read in a thread of the engine.

        The engine has a thread for each core, and reads tables side by side in them, such as those
        of a union. A database is read by the same engine: were all its threads to wait for
        events, none would be left to read them. So these tables are written to files first.
        """
        if threading.get_ident() == self._thread:
            return None
        if part not in self._kept:
            self._missing[part] = table
            raise _SideBySide
        return self._kept[part]

    def _keep(self, folder: str) -> None:
        """Write what the engine reads in its own threads to files."""
        while self._missing:
            # Another thread may ask for it once more until it is there.
            part, table = next(iter(self._missing.items()))
            path = f"{folder}/{len(self._kept)}.arrow"
            try:
                with pa.ipc.new_file(path, table.columns(part[1]), options=_PACKED) as file:
                    for batch in table.batches(part[1]):
                        file.write_batch(batch)
            except OSError as error:
                raise VastlabError(
                    f"a table cannot be written to {tempfile.gettempdir()}: {error.strerror}",
                    hint="set TMPDIR to a folder with more room, or narrow the expression",
                ) from None
            self._kept[part] = path
            del self._missing[part]

    def stop(self) -> None:
        """Let the statement end with an error at the next events that it asks for."""
        self._stopped = True

    def check(self) -> None:
        """Raise where the statement was stopped."""
        if self._stopped:
            raise VastlabError("the statement was stopped")

    def _fail(self, error: Exception) -> None:
        self._failure = self._failure or error

    def _unknown_field(self, written: str, reason: str) -> UsageError | None:
        """Say which fields may be meant, if some have the name or one like it."""
        *table, last = (word.strip('"').replace('""', '"') for word in re.findall(_WORDS, written))
        above = "".join(f"{_word(word)}." for word in table)
        above = above if f" {above}" in reason else ""  # else it is no table of the statement
        fields = {leaf.path: None for schema in self._schemas.values() for leaf in schema.leaves}
        ends = [path for path in fields if f".{'.'.join(path)}".endswith(f".{last}")]
        if not ends:
            close = _text.close_matches(last, {path[-1] for path in fields})
            ends = [path for path in fields if path[-1] in close]
        if not ends:
            return None
        hint = " or ".join(above + ".".join(map(_word, path)) for path in ends[:_SUGGESTED])
        is_quoted = "." in last and last in map(".".join, ends)
        hint = f"write {hint}, without quotes around it" if is_quoted else f"did you mean {hint}?"
        return UsageError(f"there is no field {_text.cut(last, 80)!r}", hint=hint)

    def _namespace(self, catalog: str, name: str) -> Any:
        if catalog not in self._context.catalog_names():
            self._context.register_catalog_provider(catalog, Catalog.memory_catalog())
        found = self._context.catalog(catalog)
        if name not in found.names():
            found.register_schema(name, Namespace.memory_schema())
        return found.schema(name)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Raise what our own code raised, and what the engine says as one line."""
        try:
            yield
        except VastlabError:
            raise
        except BaseException as error:
            if self._failure is not None:
                raise self._failure from None
            of_engine = type(error) in (Exception, ValueError)
            if not of_engine and type(error).__name__ != "PanicException":
                raise
            raise self._explained(str(error)) from None

    def _explained(self, text: str) -> UsageError:
        reason = _reason(text)
        if found := _WRITES.match(reason):
            return UsageError(
                f"a statement may only read, and this one is {_text.cut(found[2], 80)}",
                hint="select ... from ...",
            )
        if found := _UNKNOWN_TABLE.search(reason):
            name = found[1].removeprefix("datafusion.").removeprefix("public.")
            if name in self._schemas:
                return UsageError(f"the events of {name!r} have no fields, and a table needs one")
            hint = _text.did_you_mean(name, self._schemas, write=_table)
            return UsageError(f"there is no table {name!r}", hint=hint)
        if (found := _UNKNOWN_FIELD.search(reason)) and (
            error := self._unknown_field(found[1] or _quoted(found[2]), reason)
        ):
            return error
        if "FixedSizeBinary(16)" in reason:
            reason = reason.replace("FixedSizeBinary(16)", "address").replace("Utf8", "text")
            hint = "write addresses as ip('192.0.2.1'), and see in_subnet(a, '10.0.0.0/8')"
            return UsageError(reason, hint=hint)
        if found := _NO_SIGNATURE.search(reason):
            kind = found[2].lower()
            return UsageError(
                f"{found[1]}() takes no {kind}", hint="cast(x as double) makes a number"
            )
        if found := _NO_VALUE.search(reason):
            return UsageError(f"the parameter {found[1]} has no value")
        if "Resources exhausted" in reason:
            return UsageError(
                f"the statement needs more than {MAX_MEMORY >> 20:,} MiB of memory",
                hint="group by fewer fields, or narrow the expression",
            )
        return UsageError(reason)


class _SideBySide(Exception):
    """A table is read in a thread of the engine, and is not in a file yet."""


class _Table(pyarrow.dataset.Dataset):  # type: ignore[misc]  # pyarrow carries no type information
    """The leaves of a schema as columns, as the engine reads them: it takes any Arrow data set."""

    def __init__(self, schema: Schema, scan: Scan, statement: Statement) -> None:
        self._name = schema.name
        self._scan = scan
        self._statement = statement
        self.events = Schema(schema.name, tuple(_readable(schema.fields)))
        # By number: the engine takes a column and its alias of the same name for ambiguous.
        self._leaves = {f"#{number}": leaf for number, leaf in enumerate(self.events.leaves)}

    @property
    def schema(self) -> pa.Schema:
        """The columns."""
        return pa.schema([(n, plain_type(leaf.type, BYTES)) for n, leaf in self._leaves.items()])

    def get_fragments(self, filter: object = None) -> Iterator[_Table]:  # the engine's word
        """Return the parts that the engine may read side by side."""
        return iter([self])

    def scanner(self, *_: object, columns: list[str], filter: object = None, **__: object) -> _Scan:
        """Start to read some of the columns."""
        if filter is not None:
            raise AssertionError("the engine filters itself")
        return _Scan(self, columns)

    def view(self, frame: datafusion.DataFrame) -> datafusion.DataFrame:
        """Put the columns into their records; the engine reads only those that are used."""
        columns = iter(self._leaves)
        return frame.select(*(expr.alias(name) for name, expr in _nested(self.events, columns)))

    def columns(self, names: Iterable[str]) -> pa.Schema:
        """Return some of the columns."""
        return pa.schema([self.schema.field(name) for name in names])

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Read some of the columns."""
        leaves = [self._leaves[name] for name in columns]
        paths = frozenset(leaf.path for leaf in leaves)
        target = self.columns(columns)
        wanted = prune(self.events.fields, paths)
        try:
            file = self._statement.kept(self, (self._name, tuple(columns)))
            if file is not None:
                with pa.memory_map(file) as source, pa.ipc.open_file(source) as reader:
                    for number in range(reader.num_record_batches):
                        self._statement.check()
                        yield reader.get_batch(number)
                return
            for batch in self._scan(self._name, paths):
                self._statement.check()
                events = convert.normalise(batch)
                own = arrow_schema.from_arrow(events.schema).fields
                arrays = fit_fields(events.columns, own, wanted, events.num_rows, BYTES)
                flat = dict(_flat(arrays, wanted, ()))
                ordered = [flat[leaf.path] for leaf in leaves]
                yield record_batch(ordered, target, events.num_rows)
        except _SideBySide:
            raise
        except Exception as error:
            self._statement._fail(error)  # the engine would make a text of it
            raise


def _nested(record: Schema | Type, columns: Iterator[str]) -> Iterator[tuple[str, datafusion.Expr]]:
    for field in record.fields:
        if field.type.kind is Kind.RECORD:
            yield field.name, f.named_struct(list(_nested(field.type, columns)))
        else:
            yield field.name, datafusion.col(_quoted(next(columns)))


def _flat(
    arrays: Iterable[pa.Array], fields: Iterable[Field], above: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], pa.Array]]:
    for array, field in zip(arrays, fields, strict=True):
        path = (*above, field.name)
        if field.type.kind is Kind.RECORD:
            # flatten() applies the record's nulls to its members, field() does not.
            yield from _flat(array.flatten(), field.type.fields, path)
        else:
            yield path, array


class _Scan:
    """One pass over a table."""

    def __init__(self, table: _Table, columns: list[str]) -> None:
        self._table = table
        self._columns = columns

    @property
    def projected_schema(self) -> pa.Schema:
        """The columns that `to_batches` returns."""
        return self._table.columns(self._columns)

    def to_batches(self) -> Iterator[pa.RecordBatch]:
        """Read the events."""
        return self._table.batches(self._columns)


def _places(name: str) -> Iterator[tuple[str, str, str]]:
    """Yield under which catalogs, schemas and names of the engine a table is found."""
    yield "datafusion", "public", name
    match name.split("."):
        case [str(first), str(second)] if first and second:
            yield "datafusion", first, second
        case [str(first), str(second), str(third)] if first and second and third:
            yield first, second, third


def _table(name: str) -> str:
    """Write a table's name as a statement has to."""
    words = name.split(".")
    return name if len(words) <= 3 and name == ".".join(map(_word, words)) else _quoted(name)


def _word(name: str) -> str:
    return name if _PLAIN.fullmatch(name) else _quoted(name)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _readable(fields: Iterable[Field]) -> Iterator[Field]:
    """Yield the fields that the engine can read: records have a field, and each name is once."""
    seen: set[str] = set()
    for field in fields:
        type_ = _reduced(field.type)
        if type_ is not None and field.name not in seen:
            seen.add(field.name)
            yield Field(field.name, type_)


def _reduced(type_: Type) -> Type | None:
    match type_.kind:
        case Kind.RECORD:
            fields = tuple(_readable(type_.fields))
            return Type(Kind.RECORD, fields=fields) if fields else None
        case Kind.LIST | Kind.MAP:
            item = _reduced(type_.item or Type(Kind.NULL))
            return None if item is None else Type(type_.kind, item=item, key=type_.key)
        case _:
            return type_


def _values(text: str, params: Mapping[str, object]) -> dict[str, pa.Scalar]:
    """Return the values of the parameters that a statement names, as the engine takes them."""
    return {
        name: _scalar(name, to_literal(params[name])) for name in parameters(text) if name in params
    }


def _scalar(name: str, value: Literal) -> pa.Scalar:
    match value:
        case Null():
            return pa.scalar(None)
        case Bool(plain) | String(plain) | Double(plain):
            return pa.scalar(plain)
        case Int64(number):
            return pa.scalar(number, pa.int64())
        case UInt64(number):
            return pa.scalar(number, pa.uint64() if number >= 2**63 else pa.int64())
        case Time(nanoseconds):
            return pa.scalar(nanoseconds, pa.timestamp("ns", "UTC"))
        case Duration(nanoseconds):
            return pa.scalar(nanoseconds, pa.duration("ns"))
        case Address(packed):
            return pa.scalar(packed, BYTES)
        case Subnet():
            return pa.scalar(str(value))
        case _:
            raise UsageError(
                f"the parameter ${name} must be a single value",
                hint="SQL takes one value for a name",
            )


def _reason(text: str) -> str:
    """Return what the engine says as one line, without its own layers."""
    if found := _PARSER.search(text):
        text = found[1].replace('\\"', '"')
    line = " ".join(text.split())
    while (rest := _PREFIXES.sub("", line)) != line:
        line = rest
    return _text.cut(_text.plain(line), _LONGEST_REASON) or "the statement cannot be run"


def _answer(
    written_names: Sequence[str],
    schema: pa.Schema,
    batches: list[pa.RecordBatch],
    tables: Iterable[str],
) -> pa.Table:
    """Name the columns as the statement does, and give addresses their type."""
    written = {f"{name}." for table in tables for name in (table, _quoted(table))}
    qualifiers = sorted(written, key=len, reverse=True)
    taken: dict[str, int] = {}
    names = [unique(_named(name, qualifiers), taken) for name in written_names]
    # The plan has other decimals than the batches, which say of fewer columns that they have no
    # nulls.
    types = batches[0].schema.types if batches else schema.types
    columns = [
        _plain_numbers(
            pa.chunked_array([_typed(batch.column(i)) for batch in batches], _type(type_))
        )
        for i, type_ in enumerate(types)
    ]
    return pa.Table.from_arrays(columns, names)


def _plain_numbers(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return decimals, which the engine makes of signed and unsigned numbers, as such numbers."""
    if not pa.types.is_decimal(column.type):
        return column
    if column.type.scale:
        return column.cast(pa.float64())
    for type_ in (pa.int64(), pa.uint64()):
        with contextlib.suppress(pa.ArrowInvalid):
            return column.cast(type_)
    return column


def _named(name: str, qualifiers: Iterable[str]) -> str:
    for qualifier in qualifiers:
        name = name.replace(qualifier, "")
    return _MEMBER.sub(r".\1", name)


def _type(type_: pa.DataType) -> pa.DataType:
    if type_ == BYTES:
        return IP
    if pa.types.is_string_view(type_):
        return pa.string()
    if pa.types.is_list(type_):
        return pa.list_(_type(type_.value_type))
    if pa.types.is_struct(type_):
        return pa.struct([(field.name, _type(field.type)) for field in type_])
    return type_


def _typed(array: pa.Array) -> pa.Array:
    target = _type(array.type)
    if array.type == BYTES:
        return pa.ExtensionArray.from_storage(IP, array)
    if target == array.type:
        return array
    if pa.types.is_string_view(array.type):
        return array.cast(target)
    if pa.types.is_list(array.type):
        offsets, (values,) = list_parts(array)
        return pa.ListArray.from_arrays(offsets, _typed(values), type=target, mask=null_mask(array))
    members = [_typed(array.field(i)) for i in range(array.type.num_fields)]
    return pa.StructArray.from_arrays(members, fields=list(target), mask=null_mask(array))

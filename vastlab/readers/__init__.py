"""Readers of log formats, which return Arrow batches."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Protocol, TypedDict, Unpack

import pyarrow as pa

from vastlab._text import did_you_mean
from vastlab.errors import UsageError
from vastlab.readers import columnar, csv, json, zeek_tsv
from vastlab.readers import detect as detection
from vastlab.readers.batch_check import BatchChecker
from vastlab.readers.context import Context
from vastlab.readers.inference import Inference
from vastlab.readers.problems import Problem, Problems
from vastlab.readers.schemas import Schemas
from vastlab.readers.schemas import load_user_schemas as load_schemas
from vastlab.readers.source import Source, check_encoding, open_source

__all__ = [
    "FORMATS",
    "SCHEMAS",
    "Context",
    "Inference",
    "Problem",
    "Problems",
    "ReadOptions",
    "Schemas",
    "detect",
    "load_schemas",
    "read",
]

SCHEMAS = "schemas"  # the folder of the user's schemas, in a database and next to `vast.yaml`


class Reader(Protocol):
    """Reads one format."""

    def __call__(self, source: Source, context: Context, /) -> Iterator[pa.RecordBatch]:
        """Read the events of one source in nested form; one schema per batch.

        Raises
        ------
        FormatError
            The source as a whole does not match its format.
        """
        ...


class ReadOptions(TypedDict, total=False):
    """The user's options for reading files.

    Parameters
    ----------
    format
        A key of `FORMATS`; detected by default.
    schema
        The schema name of the events; by default taken from the content or the file name.
    infer
        Whether text without a declared type may become addresses, times and so on.
    encoding
        The encoding of text without a byte order mark; UTF-8 by default.
    schemas
        The declared schemas.
    """

    format: str | None
    schema: str | None
    infer: bool
    encoding: str | None
    schemas: Schemas


FORMATS: dict[str, Reader] = {
    "arrow": columnar.read_arrow,
    "csv": csv.read,
    "json": json.read_ndjson,
    "parquet": columnar.read_parquet,
    "suricata": json.read_eve,
    "zeek": zeek_tsv.read,
    "zeek-json": json.read_zeek_json,
}
_COLUMNAR = (columnar.read_arrow, columnar.read_parquet)


def detect(path: str | Path | BinaryIO, encoding: str | None = None) -> str:
    """Detect the format of a file by its content, also if it is compressed.

    Parameters
    ----------
    path
        A path or an open binary file.
    encoding
        The encoding of text without a byte order mark.

    Returns
    -------
    str
        A key of `FORMATS`.

    Raises
    ------
    FormatError
        The format is unknown.

    Examples
    --------
    >>> import io
    >>> detect(io.BytesIO(b'{"timestamp":"2024-01-01T00:00:00Z","event_type":"flow"}'))
    'suricata'
    """
    with open_source(path, encoding) as source:
        return detection.detect(source)


def read(
    path: str | Path | BinaryIO,
    *,
    problems: Problems | None = None,
    inference: Inference | None = None,
    **options: Unpack[ReadOptions],
) -> Iterator[pa.RecordBatch]:
    """Read the events of a file, batch by batch.

    Parameters
    ----------
    path
        A path, or an open binary file such as standard input.
    problems
        Collects the lines that cannot be read; without it, the first one raises.
    inference
        The types of undeclared fields in other files of the same import.
    options
        See `ReadOptions`.

    Yields
    ------
    pyarrow.RecordBatch
        At most 65,536 events of one schema, in nested form, with the name in the metadata.

    Raises
    ------
    FormatError
        The content as a whole does not match its format, or the compressed data is incomplete;
        the events before this place are yielded first.

    Examples
    --------
    >>> import io
    >>> [batch] = read(io.BytesIO(b'{"port": 80}'), schema="example")
    >>> batch.to_pylist()
    [{'port': 80}]
    """
    found = Problems(strict=True) if problems is None else problems
    context = Context(found, inference=inference or Inference(), **options)
    check_encoding(context.encoding)
    with open_source(path, context.encoding) as source:
        reader = _reader(source, context.format)
        # Events of columnar files may take much more space than the file.
        size = (lambda: source.stored) if reader in _COLUMNAR else None
        checker = BatchChecker(source.name, found, size)
        try:
            for batch in reader(source, context):
                yield from checker.convert(batch)
        finally:
            checker.report()


def _reader(source: Source, format_: str | None) -> Reader:
    if format_ is not None and format_ not in FORMATS:
        raise UsageError(f"unknown format {format_!r}", hint=did_you_mean(format_, FORMATS))
    if format_ == "zeek" and source.peek(1) == b"{":
        format_ = "zeek-json"
    return FORMATS[format_ or detection.detect(source)]

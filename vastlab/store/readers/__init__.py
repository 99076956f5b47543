"""Readers: files and streams of every format into batches of events.

>>> from vastlab.store import readers
>>> sorted(readers.FORMATS)
['arrow', 'csv', 'json', 'parquet', 'suricata', 'zeek', 'zeek-json']
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

import pyarrow as pa

from vastlab.errors import UsageError
from vastlab.store.readers import (
    _detect,
    arrow,
    csv,
    ndjson,
    parquet,
    suricata,
    zeek_json,
    zeek_tsv,
)
from vastlab.store.readers._problems import Problem, Problems
from vastlab.store.readers._source import Source, open_source

__all__ = ["FORMATS", "Problem", "Problems", "detect", "read"]

MOST_ROWS = 65_536


class Reader(Protocol):
    """Reads one format."""

    def __call__(
        self, source: Source, problems: Problems, schema: str | None = None, /
    ) -> Iterator[pa.RecordBatch]:
        """Read the events of one source.

        Parameters
        ----------
        source
            The file or stream, decompressed.
        problems
            Where lines are reported that cannot be read.
        schema
            The schema name; told by the content or the file's name otherwise.

        Yields
        ------
        pyarrow.RecordBatch
            In nested form; one schema per batch.

        Raises
        ------
        FormatError
            Where the source as a whole is not what its format says.
        """
        ...


FORMATS: dict[str, Reader] = {
    "arrow": arrow.read,
    "csv": csv.read,
    "json": ndjson.read,
    "parquet": parquet.read,
    "suricata": suricata.read,
    "zeek": zeek_tsv.read,
    "zeek-json": zeek_json.read,
}


def detect(path: str | Path | BinaryIO) -> str:
    """Tell the format of a file by its content, also inside gzip and Zstandard.

    Parameters
    ----------
    path
        A path, or an open binary file, which is read from.

    Returns
    -------
    str
        A key of `FORMATS`.

    Raises
    ------
    FormatError
        Where the content is no log that vastlab knows.

    Examples
    --------
    >>> import io
    >>> detect(io.BytesIO(b'{"timestamp":"2024-01-01T00:00:00Z","event_type":"flow"}'))
    'suricata'
    """
    with open_source(path) as source:
        return _detect.detect(source)


def read(
    path: str | Path | BinaryIO,
    *,
    format: str | None = None,
    schema: str | None = None,
    problems: Problems | None = None,
) -> Iterator[pa.RecordBatch]:
    """Read the events of a file, batch by batch.

    Parameters
    ----------
    path
        A path, or an open binary file such as standard input.
    format
        A key of `FORMATS`; told by the content where there is none.
    schema
        The schema name of the events; told by the content or the file's name otherwise.
    problems
        Where lines are reported that cannot be read; without it the first raises.

    Yields
    ------
    pyarrow.RecordBatch
        At most 65,536 events of one schema, in nested form, with the name in the metadata.

    Raises
    ------
    FormatError
        Where the content is not what its format says as a whole; after all events before the
        place, where compressed data ends early.

    Examples
    --------
    >>> import io
    >>> [batch] = read(io.BytesIO(b'{"port": 80}'), schema="example")
    >>> batch.to_pylist()
    [{'port': 80}]
    """
    found = Problems(strict=True) if problems is None else problems
    with open_source(path) as source:
        reader = _reader(source, format)
        for batch in reader(source, found, schema):
            for start in range(0, batch.num_rows, MOST_ROWS):
                yield batch.slice(start, MOST_ROWS)


def _reader(source: Source, format_: str | None) -> Reader:
    if format_ is not None and format_ not in FORMATS:
        known = ", ".join(sorted(FORMATS))
        raise UsageError(f"unknown format {format_!r}", hint=f"one of {known}")
    if format_ == "zeek" and source.peek(1) == b"{":
        format_ = "zeek-json"
    return FORMATS[format_ or _detect.detect(source)]

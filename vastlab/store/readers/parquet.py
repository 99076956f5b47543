"""Parquet files of any origin."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet

from vastlab.arrow import convert
from vastlab.arrow import schema as arrow_schema
from vastlab.arrow.check import check
from vastlab.errors import FormatError
from vastlab.store import _parquet
from vastlab.store.readers._problems import Problems
from vastlab.store.readers._source import Source

_ROWS = 65_536


def read(source: Source, problems: Problems, schema: str | None = None) -> Iterator[pa.RecordBatch]:
    """Read a Parquet file.

    Parameters
    ----------
    source
        The file.
    problems
        Not used: a damaged Parquet file cannot be read in part.
    schema
        The schema name; the file's metadata, or else its name, decides where there is none.

    Yields
    ------
    pyarrow.RecordBatch
        In vastlab's own form.

    Raises
    ------
    FormatError
        Where the file is damaged.
    """
    with source.seekable() as file:
        try:
            parquet = pyarrow.parquet.ParquetFile(file)
            name = schema or arrow_schema.name_of(parquet.schema_arrow) or source.stem
            for batch in _parquet.batches(parquet, _ROWS):
                yield convert.normalise(check(batch), name)
        except (OSError, pa.ArrowException) as error:
            reason = source.damage or str(error).split("\n", 1)[0]
            raise FormatError(f"damaged Parquet data: {reason}", path=source.name) from error

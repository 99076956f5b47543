"""The labels of enumerations in pandas."""

from __future__ import annotations

import pandas as pd
import pyarrow as pa


class LabelsDtype(pd.CategoricalDtype):
    """Converts an enumeration to a categorical; pyarrow itself would crash."""

    def __from_arrow__(self, array: pa.Array | pa.ChunkedArray) -> pd.Categorical:
        """Convert the storage of the labels."""
        chunks = array.chunks if isinstance(array, pa.ChunkedArray) else [array]
        storage = pa.chunked_array([part.storage for part in chunks], array.type.storage_type)
        labels: pd.Categorical = storage.to_pandas().array
        return labels

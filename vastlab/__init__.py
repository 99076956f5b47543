"""vastlab: explore security telemetry from Jupyter and pandas."""

from __future__ import annotations

from vastlab.arrow import types as _arrow_types

__version__ = "1.0.0"

_arrow_types.register()

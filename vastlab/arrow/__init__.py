"""VAST's types in Arrow: extension types, schemas, IPC streams and rendered values.

Importing the package registers the extension types with Arrow.
"""

from __future__ import annotations

from vastlab.arrow.types import register

register()

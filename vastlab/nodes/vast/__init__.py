"""A VAST node, up to version 3, through the program `vast`: `layouts` reads what it shows.

Counts are exact: an export makes them, not the node's counter. What its indexes cannot answer
(order on hash-indexed fields, ``x == null``, ``field in "text"``) is filtered here; `explain` names
these schemas, and what the node is asked instead. It cannot be asked for names in backticks. Ingest
sends NaN as null and reports how many values of which field.
"""

from __future__ import annotations

from vastlab.nodes.vast.node import VastNode

__all__ = ["VastNode"]

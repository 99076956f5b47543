"""A Tenzir node, from version 6 on, through the program `tenzir`.

`node` answers queries. `catalog` is what a node says that it holds, `conditions` and `unlisted`
ask for it in TQL, `client` runs the program, and what arrives gets its layouts back in `align`,
`probes` and `empty_lists`.
"""

from __future__ import annotations

from vastlab.nodes.tenzir.node import TenzirNode

__all__ = ["TenzirNode"]

"""A Tenzir node, from version 6 on, through the program `tenzir`.

The node keeps no aliases and no order of labels: ``:port`` and ``:timestamp`` find nothing there.
It adds what it is given, also a second time, where a database says that a file was added before.

`node` answers queries. `catalog` is what a node says that it holds, `conditions` and `unlisted`
ask for it in TQL, `client` runs the program, and what arrives gets its layouts back in `align`,
`probes` and `empty_lists`.
"""

from __future__ import annotations

from vastlab.nodes.tenzir.node import TenzirNode

__all__ = ["TenzirNode"]

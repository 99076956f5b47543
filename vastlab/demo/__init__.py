"""A reproducible generator of Zeek and Suricata events, with a small intrusion in them.

One office network, one week, two sensors: Zeek and Suricata see the same sessions, so that
uids, flow ids and community ids join up. The same arguments give the same events (as long as
numpy draws the same numbers). Everything outside the office lies in address and name spaces that
are reserved for documentation and tests.

The story to find, about 800 events whatever the size of the rest:

1. Wednesday 09:42: a workstation, 10.1.4.17, looks up ``invoice-portal.example``, a name that
   no other host looks up, and fetches a disk image from 203.0.113.66.
2. From 09:50 it connects to 203.0.113.99 over TLS, every ten minutes (± 30 seconds).
3. Thursday 02:10: the workstation connects to servers by SMB and RDP for the first time.
4. Friday 01:30: the file server, 10.1.0.5, sends five gigabytes to 203.0.113.99.

There are also edge cases: every kind of number at its limits, null columns, empty lists and lists
with nulls, and text that attacks the program that displays it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from vastlab.demo._assets import inventory
from vastlab.demo.events import render
from vastlab.demo.scenario import (
    DAYS,
    FLOW,
    START,
    World,
    background,
    ends,
    events_of,
    fixed_sessions,
    times,
)

__all__ = ["DAYS", "REVISION", "START", "batches"]

REVISION = 2  # changes when the same arguments give other events

_ASSETS = 40
_BLOCK = 32_768  # background events made at a time


def batches(events: int = 200_000, seed: int = 0) -> Iterator[pa.RecordBatch]:
    """Generate events of one week, a few thousand at a time.

    Parameters
    ----------
    events
        How many, over all schemas. Memory does not grow with it; the week stays the same.
        Below about 1,000 there is no room for the whole story.
    seed
        Another seed gives other background traffic around the same story.

    Yields
    ------
    pyarrow.RecordBatch
        Events of one schema in nested form, never empty; each schema is in order of time.

    Examples
    --------
    >>> sum(batch.num_rows for batch in batches(5_000))
    5000
    """
    world = World.build(seed)
    hosts = min(_ASSETS, events // 10)
    fixed = fixed_sessions(world)
    fixed = np.sort(fixed[np.cumsum(events_of(fixed)) <= events - hosts], order="ts")
    rest = events - hosts - int(events_of(fixed).sum())
    if hosts:
        yield inventory(hosts)
    blocks = -(-rest // _BLOCK) or 1
    late = fixed[:0]
    for block in range(blocks):
        share = rest * (block + 1) // blocks - rest * block // blocks
        rng = np.random.default_rng([seed, block])
        start, end = times(np.array([block, block + 1]) / blocks)
        made = background(world, rng, share, (block / blocks, (block + 1) / blocks))
        story = fixed[(fixed["ts"] >= start) & (fixed["ts"] < end)]
        sessions = np.sort(np.concatenate([made, story]), order="ts")
        until = end if block + 1 < blocks else np.iinfo(np.int64).max
        flows = np.concatenate([late, sessions[sessions["events"] & FLOW > 0]])
        late = flows[ends(flows) >= until]
        yield from render(world, sessions, flows[ends(flows) < until])

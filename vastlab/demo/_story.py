"""The sessions that are always there: the intrusion, and values that break programs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from vastlab.demo._sessions import ALERT, CONN, DNS, EVE_HTTP, FLOW, HTTP, SESSION, identify
from vastlab.demo._world import (
    CONTROL,
    DAY,
    FILE_SERVER,
    HOSTILE,
    HOUR,
    LURE,
    MINUTE,
    NOISE,
    RESOLVER,
    SECOND,
    SERVERS,
    START,
    VICTIM,
    Rows,
    World,
    packed,
)


def fixed_sessions(world: World) -> Rows:
    """Make the sessions that are there whatever the size, the most telling first."""
    lure = world.lure
    defaults: dict[str, Any] = {
        "orig_h": VICTIM, "resp_h": CONTROL, "orig_p": 50_000, "resp_p": 443, "proto": 6,
        "service": 2, "state": 0, "duration": 300_000_000, "orig_bytes": 600,
        "resp_bytes": 900, "status": 200, "domain": lure, "uri": -len(HOSTILE) - 1,
        "agent": -len(HOSTILE) - 1, "signature": -1, "events": CONN | FLOW,
    }  # fmt: skip
    told = [*_intrusion(lure), *_oddities(lure + 2), *_beacon(lure + 1)]
    rows = np.zeros(len(told), SESSION)
    for number, changes in enumerate(told):
        values = defaults | {"orig_p": 50_000 + number} | changes
        for name, value in values.items():
            address = name in ("orig_h", "resp_h")
            rows[name][number] = np.frombuffer(packed(value), np.uint8) if address else value
    for name, pool in (("uri", world.uris), ("agent", world.agents)):
        rows[name] = np.where(rows[name] < 0, rows[name] + len(pool), rows[name])
    identify(np.random.default_rng(1), rows)
    return rows


def at(day: int, hour: int, minute: int, second: float = 0.0) -> int:
    return START + day * DAY + hour * HOUR + minute * MINUTE + int(second * SECOND)


_LOOKUP: dict[str, Any] = {
    "resp_h": RESOLVER, "resp_p": 53, "proto": 17, "service": 0, "status": 0,
    "duration": 23_000_000, "orig_bytes": 48, "resp_bytes": 64, "events": CONN | DNS | FLOW,
}  # fmt: skip
_FETCH: dict[str, Any] = {
    "resp_h": LURE, "resp_p": 80, "service": 1, "events": CONN | HTTP | FLOW | EVE_HTTP,
}  # fmt: skip


def _intrusion(lure: int) -> Iterator[dict[str, Any]]:
    """Tell the story, but for the beacon."""
    yield _LOOKUP | {"ts": at(2, 9, 42, 13.0741)}
    yield _FETCH | {
        "ts": at(2, 9, 42, 13.1312), "resp_bytes": 1_474_560, "duration": 2_100_000_000,
        "signature": NOISE, "events": _FETCH["events"] | ALERT,
    }  # fmt: skip
    yield _LOOKUP | {"ts": at(2, 9, 49, 58), "domain": lure + 1}
    yield {
        "ts": at(2, 9, 50), "domain": lure + 1, "signature": NOISE + 1,
        "events": CONN | FLOW | ALERT,
    }  # fmt: skip
    for number, server in enumerate(SERVERS[1:]):
        for step, (port, service) in enumerate(((445, 3), (3389, 4))):
            yield {
                "ts": at(3, 2, 10 + 2 * number + step, 7.5), "resp_h": server, "resp_p": port,
                "service": service, "orig_bytes": 40_000 + number, "resp_bytes": 90_000,
                "duration": 45 * SECOND,
                **({"signature": NOISE + 2, "events": CONN | FLOW | ALERT} if not step else {}),
            }  # fmt: skip
    yield {
        "ts": at(4, 1, 30, 0.25), "orig_h": FILE_SERVER, "orig_bytes": 5_051_243_882,
        "resp_bytes": 812_004, "duration": 47 * MINUTE,
    }  # fmt: skip


def _beacon(control: int) -> Iterator[dict[str, Any]]:
    """Call home every ten minutes, until Friday evening, with half a minute of jitter."""
    jitter = np.random.default_rng(2).integers(-30 * SECOND, 30 * SECOND, 366)
    for number, shift in enumerate(jitter):
        start = at(2, 10, 0) + number * 10 * MINUTE + int(shift)
        yield {"ts": start, "domain": control, "orig_bytes": 590 + number % 7}


def _oddities(first: int) -> Iterator[dict[str, Any]]:
    """Make sessions with the values that break programs."""
    start = at(1, 15, 0, 0.000_000_001)
    for number in range(len(HOSTILE)):
        text = number - len(HOSTILE)
        host = {"ts": start + number * MINUTE, "orig_h": "10.1.4.23", "domain": first + number}
        yield _LOOKUP | host
        yield _FETCH | host | {"resp_h": f"198.51.100.{1 + number}", "uri": text, "agent": text}
    numbers = (0, 1, (1 << 53) + 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)
    durations = (-1_000, 1, 999, 0, 86_400 * SECOND * 3 + 7, 1_000)
    for number, (size, duration) in enumerate(zip(numbers, durations, strict=True)):
        yield {
            "ts": start + HOUR + number, "orig_h": "::1", "resp_h": "::1", "resp_p": number,
            "service": -1, "orig_bytes": size, "duration": duration,
        }  # fmt: skip

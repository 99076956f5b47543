"""Background traffic: who speaks with whom, when, for how long and how much."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vastlab.demo._world import (
    AGENTS,
    DAYS,
    HOSTILE,
    HOUR,
    NOISE,
    SECOND,
    SERVERS,
    START,
    Ints,
    Rows,
    World,
    packed,
)

# Which events a session gives.
CONN, DNS, HTTP, FLOW, EVE_HTTP, ALERT = (1 << bit for bit in range(6))
SESSION = np.dtype(
    [
        ("ts", "i8"), ("uid", "S18"), ("flow_id", "u8"), ("events", "u1"),
        ("orig_h", "u1", 16), ("resp_h", "u1", 16), ("orig_p", "u2"), ("resp_p", "u2"),
        ("proto", "u1"), ("service", "i1"), ("state", "u1"), ("duration", "i8"),
        ("orig_bytes", "u8"), ("resp_bytes", "u8"), ("status", "u2"),
        ("domain", "i4"), ("uri", "i4"), ("agent", "i4"), ("signature", "i2"),
    ]
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Traffic:
    """What one kind of session usually looks like."""

    share: float
    proto: int
    port: int
    service: int
    duration: int  # the median, in nanoseconds
    sent: int  # the medians, in bytes
    received: int
    inside: bool = False  # to a server of the office
    state: int = 0


_TRAFFIC = (
    _Traffic(0, 17, 53, 0, 12_000_000, 42, 130, inside=True),
    _Traffic(0, 6, 80, 1, 180_000_000, 420, 9_000),
    _Traffic(0.55, 6, 443, 2, 2_500_000_000, 2_400, 21_000),
    _Traffic(0.15, 17, 123, 6, 30_000_000, 48, 48),
    _Traffic(0.10, 6, 22, 5, 90 * SECOND, 9_000, 14_000, inside=True),
    _Traffic(0.08, 1, 0, -1, 400_000_000, 168, 168, inside=True),
    _Traffic(0.08, 6, 8080, -1, 0, 0, 0, inside=True, state=2),
    _Traffic(0.04, 6, 25, -1, 0, 0, 0, state=1),
)


def events_of(sessions: Rows) -> Ints:
    """Count the events that each session gives."""
    bits = np.unpackbits(sessions["events"][:, None], axis=1)
    return np.asarray(bits.sum(axis=1), np.int64)


def ends(sessions: Rows) -> Ints:
    return np.asarray(sessions["ts"] + np.maximum(sessions["duration"], 0), np.int64)


def times(quantiles: npt.NDArray[np.float64]) -> Ints:
    """Spread quantiles over the week: busy days, quiet nights, a quieter weekend."""
    day, hour = np.divmod(np.arange(24 * DAYS), 24)
    rush = np.exp(-(((hour - 13) / 4.0) ** 2)) * np.where(day < 5, 1.0, 0.2)
    cumulative = np.concatenate([[0.0], np.cumsum(0.1 + rush)])
    hours = np.interp(quantiles, cumulative / cumulative[-1], np.arange(24 * DAYS + 1))
    return START + (hours * HOUR).astype(np.int64)


def _zipf(rng: np.random.Generator, count: int, size: int) -> Ints:
    """Draw ranks of which the first few make up most."""
    cumulative = np.cumsum(1.0 / np.arange(1, count + 1))
    return np.searchsorted(cumulative / cumulative[-1], rng.random(size))


def background(
    world: World, rng: np.random.Generator, events: int, span: tuple[float, float]
) -> Rows:
    """Make the sessions of a stretch of the week that give exactly so many events."""
    counts = {bit: events * share // 1000 for bit, share in _SHARES.items()}
    rows = np.zeros(events - sum(counts.values()), SESSION)
    size = len(rows)
    dns, web = counts[DNS], counts[HTTP]
    kinds = np.full(size, 2)
    kinds[:dns], kinds[dns : dns + web] = 0, 1
    other = size - dns - web
    shares = np.array([traffic.share for traffic in _TRAFFIC])
    kinds[dns + web :] = np.searchsorted(np.cumsum(shares), rng.random(other) * shares.sum())
    rows["events"] = CONN
    rows["events"][:dns] |= DNS
    rows["events"][dns : dns + web] |= HTTP
    rows["events"][dns : dns + counts[EVE_HTTP]] |= EVE_HTTP
    rows["signature"] = -1
    for bit in (FLOW, ALERT):
        chosen = rng.choice(size, counts[bit], replace=False)
        rows["events"][chosen] |= bit
    rows["ts"] = times(rng.uniform(*span, size))
    _fill(world, rng, rows, kinds)
    noise = 1 + _zipf(rng, NOISE - 1, len(chosen))
    rows["signature"][chosen] = np.where(rows["state"][chosen] == 2, 0, noise)
    return rows


# Per mille of the events; connections are the rest.
_SHARES = {DNS: 190, HTTP: 100, FLOW: 220, EVE_HTTP: 60, ALERT: 6}


def _fill(world: World, rng: np.random.Generator, rows: Rows, kinds: Ints) -> None:
    """Draw who speaks with whom, for how long and how much."""
    size = len(rows)
    table = {
        name: np.array([getattr(traffic, name) for traffic in _TRAFFIC])[kinds]
        for name in ("proto", "port", "service", "duration", "sent", "received", "inside", "state")
    }
    clients = _zipf(rng, world.clients.shape[1], size)
    domains = _zipf(rng, world.lure, size)
    family = ((rng.random(size) < 0.1) & ~table["inside"]).astype(np.int64)
    servers = np.frombuffer(b"".join(map(packed, SERVERS)), np.uint8).reshape(-1, 16)
    server = np.where(table["service"] == 0, 0, rng.integers(0, len(servers), size))
    rows["orig_h"] = world.clients[family, clients]
    rows["resp_h"] = np.where(
        table["inside"][:, None], servers[server], world.domain_hosts[family, domains]
    )
    rows["domain"], rows["agent"] = domains, clients % len(AGENTS)
    rows["uri"] = _zipf(rng, len(world.uris) - 1 - len(HOSTILE), size)
    rows["orig_p"] = np.where(table["proto"] == 1, 8, rng.integers(32768, 61000, size))
    rows["resp_p"] = table["port"]
    for name in ("proto", "service", "state"):
        rows[name] = table[name]
    rows["state"] = np.where((rng.random(size) < 0.03) & (rows["proto"] == 6), 3, rows["state"])
    rows["duration"] = table["duration"] * rng.lognormal(0, 0.8, size)
    rows["orig_bytes"] = table["sent"] * rng.lognormal(0, 0.5, size)
    rows["resp_bytes"] = table["received"] * rng.lognormal(0, 1.1, size)
    answers = np.where(table["service"] == 0, [[0], [0], [3]], [[200], [304], [404]])
    pick = np.searchsorted([0.85, 0.93, 1.0], rng.random(size))
    rows["status"] = answers[pick, np.arange(size)]
    identify(rng, rows)


_BASE62 = np.frombuffer(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", np.uint8)


def identify(rng: np.random.Generator, rows: Rows) -> None:
    letters = _BASE62[rng.integers(0, 62, (len(rows), 18))]
    letters[:, 0] = ord("C")
    rows["uid"] = np.ascontiguousarray(letters).view("S18")[:, 0]
    rows["flow_id"] = rng.integers(1 << 48, 1 << 63, len(rows), np.uint64)

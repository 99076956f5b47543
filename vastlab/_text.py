"""Text for people: all escaping, and hints at close names.

Event data is written by attackers. Whatever text of theirs reaches a page, a terminal or a file
name passes through one of these functions.
"""

from __future__ import annotations

import difflib
import hashlib
import html as _html
import re
from collections.abc import Callable, Collection, Iterable

# C0 and C1 controls, and everything that reorders, hides or breaks text: bidi controls,
# zero-width characters, line and paragraph separators, tags, lone surrogates.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\U000e0000-\U000e007f\ud800-\udfff]"
)
_UNSAFE_NAME = re.compile(r"[^A-Za-z0-9._-]")
_RESERVED_NAME = re.compile(r"(?i)^(con|prn|aux|nul|com[0-9]|lpt[0-9])(\.|$)")
_LONGEST_NAME = 100


def plain(text: str) -> str:
    """Make text safe for a terminal: controls and bidi characters become visible escapes."""
    return _UNSAFE.sub(_visible, text)


def plain_lines(text: str) -> str:
    """Make text of several lines safe for a terminal."""
    return "\n".join(map(plain, text.split("\n")))


def first_line(error: Exception) -> str:
    """Return the first line of an error's message."""
    return str(error).split("\n", 1)[0]


def html(text: str) -> str:
    """Make text safe for HTML, in an element and in a quoted attribute."""
    return _html.escape(plain(text), quote=True)


def cut(text: str, width: int) -> str:
    """Shorten text to at most `width` characters; an ellipsis says that something is missing."""
    return text if len(text) <= width else text[: width - 1] + "…"


def short(text: str, width: int) -> str:
    """Make text safe for a terminal, and shorten it; a text may have any length."""
    return cut(plain(cut(text, width + 1)), width)


def file_name(text: str) -> str:
    """Turn a schema name into a file name that is safe on every system, and unique.

    A changed name carries a digest of the original, so that two names never become one.
    """
    safe = _UNSAFE_NAME.sub("-", text)[:_LONGEST_NAME].rstrip(". ")
    exact = safe == text and safe.lower() == safe and safe.strip(".")
    if exact and not _RESERVED_NAME.match(safe) and not safe.startswith((".", "-")):
        return safe
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{safe or 'name'}-{digest}"


def _visible(match: re.Match[str]) -> str:
    code = ord(match.group())
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def close_matches(name: str, known: Iterable[str], most: int = 1) -> list[str]:
    """Return the known names closest to a wrong one; upper and lower case are equal."""
    spelled = {word.lower(): word for word in known}
    if name.lower() in spelled:
        return [spelled[name.lower()]]
    return [spelled[word] for word in difflib.get_close_matches(name.lower(), spelled, n=most)]


def did_you_mean(
    name: str,
    known: Iterable[str],
    otherwise: str | None = None,
    *,
    most: int = 1,
    write: Callable[[str], str] = repr,
) -> str:
    """Return a hint: the known names close to a wrong one, else `otherwise`, else all of them."""
    names = list(known)
    if close := close_matches(name, names, most):
        return f"did you mean {' or '.join(map(write, close))}?"
    if otherwise is not None:
        return otherwise
    return f"there are {', '.join(sorted(names))}" if names else "there are none"


def listed(names: Collection[str]) -> str:
    """Write the first few names, and how many more there are."""
    some = ", ".join(list(names)[:5])
    return f"{some} and {len(names) - 5} more" if len(names) > 5 else some


def plural(count: int, noun: str) -> str:
    """Write a count with its noun: ``1 event``, ``1,200 events``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


_UNITS = (
    (86_400_000_000_000, "d"),
    (3_600_000_000_000, "h"),
    (60_000_000_000, "min"),
    (1_000_000_000, "s"),
    (1_000_000, "ms"),
)


def duration(nanoseconds: int) -> str:
    """Write a duration in the largest unit of which it is a multiple.

    >>> duration(5_400_000_000_000), duration(250_000_000), duration(1)
    ('90 min', '250 ms', '1 ns')
    """
    for unit, word in _UNITS:
        if nanoseconds >= unit and nanoseconds % unit == 0:
            return f"{nanoseconds // unit} {word}"
    return f"{nanoseconds:,} ns"


_LONG_UNITS = (
    (365 * 86_400_000_000_000, "years"),
    (86_400_000_000_000, "days"),
    (3_600_000_000_000, "hours"),
)


def about(nanoseconds: int) -> str:
    """Write a duration roughly, in the largest unit that it takes twice.

    >>> about(9 * 365 * 86_400_000_000_000), about(90_000_000_000)
    ('9 years', '90 s')
    """
    for unit, word in _LONG_UNITS:
        if nanoseconds >= 2 * unit:
            return f"{nanoseconds / unit:,.0f} {word}"
    return duration(nanoseconds)

"""What stands on the line of a magic: options first, then the expression, verbatim."""

from __future__ import annotations

import contextlib
import keyword
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vastlab import _text, errors
from vastlab.expression import parse_query

_OPTION = re.compile(r"\s*(?:--(?P<long>[A-Za-z][A-Za-z-]*)(?P<equals>=)?|-(?P<short>[A-Za-z]))")
MODES = ("historical", "continuous", "unified")
_MOST = 10**19
_END = re.compile(r"\s*--(?=\s|$)")
_VALUE = re.compile(r"""\s*(?:"(?P<double>[^"]*)"|'(?P<single>[^']*)'|(?P<bare>\S+))""")


@dataclass(frozen=True, slots=True)
class Options:
    """The options and the expression of one call.

    Parameters
    ----------
    limit, mode, since, until, newest, per_schema, timeout, endpoint, quiet
        As in `vastlab.Connection.query` and `vastlab.connect`; ``None`` if not given.
    out
        The variable to assign the result to.
    hidden
        Whether a trailing semicolon hides the result.
    files
        Names of parameters, each with the file of its indicators.
    """

    expression: str
    limit: int | None = None
    mode: str | None = None
    newest: bool = False
    per_schema: bool = False
    out: str | None = None
    endpoint: str | None = None
    profile: str | None = None
    live: bool = False
    explore: bool = False
    since: str | None = None
    until: str | None = None
    timeout: float | None = None
    quiet: bool = False
    help: bool = False
    hidden: bool = False
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Flag:
    """An option: its names, what it wants, and what it is for."""

    short: str
    name: str
    wants: str
    about: str
    read: Callable[[str], Any] = str


def _whole(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,19}", text):
        raise errors.UsageError(
            f"-n/--limit takes a whole number, not {_quoted(text)}",
            hint=f"write {digits}" if (digits := _digits(text)) else "0 for all events",
        )
    return int(text)


def _digits(text: str) -> str | None:
    """Write a number such as ``1e9`` or ``1_000`` out."""
    with contextlib.suppress(ValueError):
        number = float(text)
        if number.is_integer() and 0 <= number < _MOST:
            return str(int(number))
    return None


def _quoted(text: str) -> str:
    return repr(_text.cut(text, 40))


def _mode(text: str) -> str:
    if text.lower() in MODES:
        return text.lower()
    raise errors.UsageError(
        f"-m/--mode takes one of {', '.join(MODES)}, not {_quoted(text)}",
        hint=_text.did_you_mean(text.lower(), MODES, "", write=str),
    )


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise errors.UsageError(f"--timeout takes seconds, not {_quoted(text)}") from None


def _variable(text: str) -> str:
    if not text.isidentifier() or keyword.iskeyword(text):
        raise errors.UsageError(
            f"-o/--out takes the name of a variable, not {_quoted(text)}",
            hint="a word of Python" if keyword.iskeyword(text) else "such as hits",
        )
    return text


def _file(text: str) -> tuple[str, str]:
    name, equals, file = text.removeprefix("$").partition("=")
    if not equals or not name.isidentifier() or not file:
        raise errors.UsageError(
            f"--params-from takes NAME=FILE, not {_quoted(text)}", hint="such as hosts=iocs.txt"
        )
    return name, file


def _add(files: dict[str, str], name: str, file: str) -> None:
    if name in files:
        raise errors.UsageError(f"--params-from gives ${name} two values")
    files[name] = file


FLAGS = (
    Flag("n", "limit", "N", "at most N events (100; 0 for all)", _whole),
    Flag("r", "newest", "", "the newest events of each schema first"),
    Flag("", "per-schema", "", "at most N events of each schema"),
    Flag("m", "mode", "MODE", "historical, continuous or unified", _mode),
    Flag("o", "out", "NAME", "assign the result to a variable and show one line", _variable),
    Flag("e", "endpoint", "ENDPOINT", "demo:, a folder or host:port"),
    Flag("P", "profile", "NAME", "an endpoint under vastlab.profiles in vast.yaml"),
    Flag("", "since", "TIME", "event time from here on: 2009-11-18, or 2h for a span until now"),
    Flag("", "until", "TIME", "event time before this"),
    Flag("", "params-from", "NAME=FILE", "a list for $NAME: lines, or FILE.csv:COLUMN", _file),
    Flag("", "timeout", "S", "seconds that the query may take", _seconds),
    Flag("", "live", "", "watch events as they come (unified, no limit, unless -m and -n say)"),
    Flag("", "explore", "", "explore: a chart over time, tables that page, clicks that narrow"),
    Flag("q", "quiet", "", "show no progress"),
    Flag("h", "help", "", "show this help"),
)


def parse(line: str, cell: str | None = None) -> Options:
    """Read the options of a magic; the body of the cell belongs to the expression."""
    values: dict[str, Any] = {}
    files: dict[str, str] = {}
    position = 0
    while match := _OPTION.match(line, position):
        flag = _flag(match)
        position = match.end()
        if flag.wants:
            text, position = _value(line, position, flag)
            if flag.name == "params-from":
                _add(files, *flag.read(text))
            else:
                values[flag.name] = flag.read(text)
        else:
            position = _flag_end(line, position, match)
            values[flag.name.replace("-", "_")] = True
    if end := _END.match(line, position):
        position = end.end()
    if "endpoint" in values and "profile" in values:
        raise errors.UsageError("-e/--endpoint and -P/--profile exclude each other")
    rest = line[position:].strip()
    expression = rest if cell is None else f"{rest}\n{cell}".strip()
    hidden = expression.endswith(";")
    asked = expression.rstrip("; \n\t") if hidden else expression
    return Options(asked, hidden=hidden, files=files, **values)


def written(
    expression: str,
    *,
    endpoint: str = "",
    mode: str = "historical",
    limit: int = 100,
    since: str = "",
    until: str = "",
) -> str:
    """Write the line of ``%vast`` that asks this."""
    words = ["%vast"]
    words += ["-e", _word(endpoint)] if endpoint else []
    words += ["-m", mode] if mode != MODES[0] else []
    words += ["-n", str(limit)] if limit != 100 else []
    words += ["--since", _word(since.strip())] if since.strip() else []
    words += ["--until", _word(until.strip())] if until.strip() else []
    with contextlib.suppress(errors.VastlabError):  # it stays as it was written
        expression = str(parse_query(expression))
    if expression.startswith("-"):
        words.append("--")
    return " ".join([*words, expression]).strip()


def _word(text: str) -> str:
    """Quote the value of an option, if need be."""
    if text and not re.search(r"[\s\"']", text):
        return text
    return f"'{text}'" if '"' in text else f'"{text}"'


def is_option(text: str, position: int) -> bool:
    """Whether the text at a position, where options are not parsed, looks like one."""
    match = _OPTION.match(text, position)
    return match is not None and _known(match) is not None


def usage(
    call: str = "%vast [options] expression\n%%vast [options]\nexpression",
    without: Sequence[str] = (),
    limit: str = "",
) -> str:
    """Describe a magic and its options; `without` some, and with other words for the limit."""
    flags = [flag for flag in FLAGS if flag.name.replace("-", "_") not in without]
    rows = [(_spelled(f), limit if limit and f.name == "limit" else f.about) for f in flags]
    width = max(len(spelled) for spelled, _ in rows)
    lines = "\n".join(f"  {spelled.ljust(width)}  {about}" for spelled, about in rows)
    return f"{call}\n\n{lines}"


def _spelled(flag: Flag) -> str:
    names = f"-{flag.short}, --{flag.name}" if flag.short else f"    --{flag.name}"
    return f"{names} {flag.wants}".rstrip()


def _flag(match: re.Match[str]) -> Flag:
    if found := _known(match):
        return found
    long, short = match["long"], match["short"]
    asked = f"--{long}" if long else f"-{short}"
    known = [f"--{flag.name}" for flag in FLAGS]
    raise errors.UsageError(
        f"unknown option {_text.cut(asked, 40)}",
        hint=_text.did_you_mean(asked, known, "-h lists all", write=str),
    )


def _known(match: re.Match[str]) -> Flag | None:
    long, short = match["long"], match["short"]
    return next((f for f in FLAGS if long == f.name or (short and short == f.short)), None)


def _value(line: str, position: int, flag: Flag) -> tuple[str, int]:
    match = _VALUE.match(line, position)
    if match is None:
        raise errors.UsageError(f"--{flag.name} needs a value: {flag.wants}")
    return next(text for text in match.groups() if text is not None), match.end()


def _flag_end(line: str, position: int, match: re.Match[str]) -> int:
    if match["equals"] or (position < len(line) and not line[position].isspace()):
        raise errors.UsageError(f"{match.group().strip(' =')} takes no value", hint="-h lists all")
    return position

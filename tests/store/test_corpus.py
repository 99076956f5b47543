"""Every format in every odd form: what is in a log is found by a query, on import and in place."""

from __future__ import annotations

import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

import vastlab
from tests.store.corpus import Log, expression, logs
from vastlab.errors import VastlabWarning
from vastlab.store.ingest import IngestReport

LOGS = logs()
WAYS = ("database", "folder")


@dataclass(frozen=True)
class Served:
    """One way to ask for all logs: a connection, and the events that it gave, by marker."""

    connection: vastlab.Connection
    events: dict[str, list[dict[str, object]]]


@pytest.fixture(scope="module")
def served(tmp_path_factory) -> Iterator[dict[tuple[str, str | None], Served]]:
    """Serve all logs: of a database, and of a folder; those with an encoding apart."""
    root = tmp_path_factory.mktemp("corpus")
    groups = defaultdict(list)
    for log in LOGS:
        groups[log.encoding].append(log)
    with pytest.MonkeyPatch.context() as patch, ExitStack() as open_:
        patch.setenv("XDG_CACHE_HOME", str(root / "cache"))
        patch.setenv("XDG_CONFIG_HOME", str(root / "config"))
        found = {}
        for encoding, members in groups.items():
            folder, database = root / f"logs-{encoding}", f"{root}/{encoding}.db"
            folder.mkdir()
            for log in members:
                (folder / log.file).write_bytes(log.data)
            vast = open_.enter_context(vastlab.connect(database))
            _check(vast.ingest(str(folder), encoding=encoding), members)
            found["database", encoding] = Served(vast, _events(vast))
            vast = open_.enter_context(vastlab.connect(str(folder), encoding=encoding))
            found["folder", encoding] = Served(vast, _events(vast))
        yield found


def _check(report: IngestReport, members: list[Log]) -> None:
    assert report.failed == ()
    assert {Path(file).name for file in report.files} == {log.file for log in members}
    expected = {log.file: log.problems for log in members if log.problems}
    assert Counter(Path(problem.path).name for problem in report.problems) == expected


def _events(vast: vastlab.Connection) -> dict[str, list[dict[str, object]]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VastlabWarning)  # of the bad lines
        result = vast.query("", limit=0)
    found = defaultdict(list)
    for rows in result.to_dicts().values():
        for row in rows:
            flat = dict(_flat(row, ""))
            marker = str(flat.get("uid")).removeprefix("@").rpartition("-")[0]
            found[marker].append(flat)
    return found


def _flat(row: dict[str, object], prefix: str) -> Iterator[tuple[str, object]]:
    for name, value in row.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def test_the_corpus_is_large_and_its_markers_are_its_own():
    """At least 300 logs, and none whose events are taken for those of another."""
    assert len(LOGS) >= 300
    assert len({log.marker for log in LOGS}) == len({log.file for log in LOGS}) == len(LOGS)


@pytest.mark.filterwarnings("ignore::vastlab.errors.VastlabWarning")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("log", LOGS, ids=[log.marker for log in LOGS])
def test_what_a_log_holds_is_found(served, log: Log, way: str):
    """Every event is there, with every value."""
    rows = served[way, log.encoding].events[log.marker]
    found = [{name: row[name] for name in log.names} for row in rows]
    assert sorted(found, key=str) == sorted(log.events(), key=str)


@pytest.mark.filterwarnings("ignore::vastlab.errors.VastlabWarning")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("event", range(3))
@pytest.mark.parametrize("names", sorted({log.names for log in LOGS}))
def test_values_are_found_by_their_types(served, names: tuple[str, ...], event: int, way: str):
    """Times, addresses, numbers, durations and text are compared as such, in all logs at once."""
    logs_ = [log for log in LOGS if _ends_with(log.names, names) and log.encoding is None]
    expected = [log for log in logs_ if event not in log.lost and not (log.nulled and event == 2)]
    found = served[way, None].connection.count(expression(names, event))
    assert found == len(expected)


def _ends_with(names: tuple[str, ...], asked: tuple[str, ...]) -> bool:
    pairs = zip(names, asked, strict=True)
    return all(f".{name}".endswith(f".{suffix}") for name, suffix in pairs)

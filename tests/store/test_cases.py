"""Inputs that once failed, beside the project: each is read as it should be, in both ways."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import pytest

import vastlab
from vastlab.errors import VastlabWarning

# The case, how many events it has, expressions with their counts, and problems.
CASES: dict[str, tuple[int, dict[str, int], int]] = {
    "csv-comment-head": (2, {"dst_ip in 192.0.2.0/24": 2, "dst_port == 443": 2}, 0),
    "csv-latin1-head": (1, {"port == 80": 1}, 1),
    "tsv-dashed-names": (2, {"srcaddr == 192.0.2.11": 1, "dstport < 100": 1}, 0),
    "eve-tls-year-9999-dropped": (1, {"203.0.113.5": 1, "tls.notafter == null": 1}, 1),
    "json-ip-time-are-text": (
        1,
        {"192.0.2.10": 1, "src in 192.0.2.0/24": 1, "src == 192.0.2.10": 1},
        0,
    ),
    "jsonl-bad-utf8-poisons-database": (2, {'"a.example"': 1, '"c.example"': 1}, 1),
    "nested-id-among-flat": (2, {"192.0.2.10": 2}, 0),
    "nested-id-lost": (1, {"192.0.2.10": 1, "id.orig_h == 192.0.2.10": 1}, 0),
    "nested-id-unknown-log": (1, {"192.0.2.10": 1, '#type == "zeek.mylog"': 1}, 0),
    "type-widens-late": (300_001, {'n == "5"': 300_000, '"x7"': 1}, 0),
    "vast-export-json-duration": (2, {"duration == 163.82ms": 1, "duration > 1m": 1}, 0),
    "zeek-json-time-as-text-number": (2, {"ts > 2026-03-04": 2, "192.0.2.10": 2}, 0),
    "zeek-json-underscore": (1, {"192.0.2.10": 1, "id.orig_h == 192.0.2.10": 1}, 0),
    "zeek-json-year-9999-wrong": (1, {"certificate.not_valid_after == null": 1}, 1),
    "zeek-separator-two-bytes": (1, {'client == "putty||"': 1, '#type == "zeek.ssh"': 1}, 0),
    "zeek-tsv-year-9999-dropped": (1, {'"CN=a.example"': 1}, 1),
    "zeek-unset-is-empty": (2, {"service == null": 1, "orig_bytes == 5": 1}, 0),
    "parquet-far-time": (2, {}, 1),
}
# What other tests hold to.
ELSEWHERE = {"field-name-with-at"}


def test_every_case_is_known(shared: Path):
    """No input beside the project is left out."""
    assert {path.name for path in (shared / "cases").iterdir()} == CASES.keys() | ELSEWHERE


@pytest.mark.parametrize("way", ["database", "folder"])
@pytest.mark.parametrize("case", CASES)
def test_a_case_is_read(case: str, way: str, shared: Path, tmp_path: Path, monkeypatch):
    """The events, what is found among them, and how much could not be read."""
    if not (shared / "cases" / case).is_dir():
        pytest.skip("the case is not beside the project")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    ignored = shutil.ignore_patterns("expected.txt")
    shutil.copytree(shared / "cases" / case, tmp_path / "logs", ignore=ignored)
    count, expressions, problems = CASES[case]
    endpoint = str(tmp_path / ("logs" if way == "folder" else "x.db"))
    with warnings.catch_warnings(record=True) as caught, vastlab.connect(endpoint) as vast:
        warnings.simplefilter("always", VastlabWarning)
        if way == "database":
            assert vast.ingest(str(tmp_path / "logs")).problem_count == problems
        assert vast.count() == count
        assert {text: vast.count(text) for text in expressions} == expressions
    if way == "folder":
        messages = [str(line.message) for line in caught if "problem" in str(line.message)]
        assert len(messages) == bool(problems)

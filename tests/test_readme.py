"""The README: its shell sessions print what it says (its Python sessions are doctests)."""

from __future__ import annotations

import doctest
import re
import shlex
from pathlib import Path

import pytest

from vastlab import cli
from vastlab.expression import parse

_README = Path(__file__).resolve().parent.parent / "README.md"
_TEXT = _README.read_text(encoding="utf-8")
_PICTURES = _README.parent / "notebooks" / "pictures"
_LINK = re.compile(r"\]\((?!https?:)([^)#]+)\)")
_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(r"^\$ vastlab (.*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)
_SESSIONS = [
    match.groups() for block in _BLOCK.findall(_TEXT) for match in _COMMAND.finditer(block)
]


@pytest.mark.parametrize("command, printed", _SESSIONS, ids=[command for command, _ in _SESSIONS])
def test_shell_session_is_true(capsys, monkeypatch, command, printed):
    """A command in the README prints what stands below it."""
    monkeypatch.delenv("VAST_ENDPOINT", raising=False)
    assert cli.run(shlex.split(command)) == 0
    found = capsys.readouterr().out
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    assert doctest.OutputChecker().check_output(printed, found, options), found


def test_there_are_sessions():
    """The README shows the shell at work."""
    assert len(_SESSIONS) >= 3


def test_it_is_short():
    """The README can be read in one go."""
    assert len(_TEXT.splitlines()) <= 250


def test_pictures_are_few_and_small():
    """There are at most four pictures of at most 150 kB, and the README shows each."""
    pictures = sorted(_PICTURES.iterdir())
    assert 1 <= len(pictures) <= 4
    for picture in pictures:
        assert picture.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
        assert picture.stat().st_size <= 150_000
        assert f"(notebooks/pictures/{picture.name})" in _TEXT


def _section(heading: str) -> str:
    return _TEXT.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def _expressions() -> list[str]:
    rows = [row for row in _section("Expressions").splitlines() if row.startswith("| `")]
    first = [row.replace(r"\|", "\0").split("|")[1] for row in rows]
    return [text.replace("\0", "|") for cell in first for text in re.findall(r"`([^`]+)`", cell)]


@pytest.mark.parametrize("text", _expressions())
def test_expressions_are_of_the_language(text):
    """What the table of expressions shows can be asked."""
    parse(text)


def test_what_contributors_are_sent_to_is_there():
    """Every module that the section names exists."""
    named = set(re.findall(r"`((?:\w+/)*\w+\.py)`", _section("Contributing")))
    modules = [path.as_posix() for path in (_README.parent / "vastlab").rglob("*.py")]
    assert len(named) > 10
    assert [name for name in named if not any(m.endswith(f"/{name}") for m in modules)] == []


def test_links_lead_somewhere():
    """Every file that the README links to is there, and every notebook is named."""
    linked = set(_LINK.findall(_TEXT))
    assert linked
    assert [path for path in linked if not (_README.parent / path).exists()] == []
    notebooks = {path.name for path in (_README.parent / "notebooks").glob("*.ipynb")}
    assert notebooks == {name for name in notebooks if f"notebooks/{name}" in _TEXT}

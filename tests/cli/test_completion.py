"""Completion: the words that bash, zsh and fish offer, asked in the way the shells do it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pexpect
import pytest

from tests.conftest import ROOT
from vastlab.cli import options
from vastlab.cli.app import app
from vastlab.nodes.base import ExportMode
from vastlab.readers import FORMATS

_ASKED = [
    ("vastlab que", "query"),
    ("vastlab query --sin", "--since"),
    ("vastlab lab --endp", "--endpoint"),
    ("vastlab query -m h", "historical"),
    ("vastlab count -f c", "csv"),
    ("vastlab query -e de", "demo:"),
    ("vastlab query -e lo", "logs/"),
    ("vastlab import -e x a", "a.log"),
    ("vastlab node start x st", ""),
    ("vastlab node sto", "stop"),
]


@pytest.fixture
def environment(tmp_path, monkeypatch) -> dict[str, str]:
    """Make a folder with logs, and a home in which the program and its completion are installed."""
    program = tmp_path / "bin" / "vastlab"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m vastlab "$@"\n')
    program.chmod(0o755)
    (tmp_path / "work" / "logs" / "2026").mkdir(parents=True)
    (tmp_path / "work" / "a.log").touch()
    monkeypatch.chdir(tmp_path / "work")
    return os.environ | {
        "HOME": str(tmp_path),
        "XDG_CONFIG_HOME": str(tmp_path / ".config"),
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "TERM": "dumb",
    }


def _install(shell: str, environment: dict[str, str]) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    _run(["vastlab", "--install-completion", "--shell", shell], environment)


def _run(command: list[str], environment: dict[str, str], text: str = "") -> str:
    done = subprocess.run(
        command, input=text, env=environment, text=True, check=True, stdout=subprocess.PIPE
    )
    return done.stdout


def test_bash_completes(environment):
    """The function that bash calls offers what fits, also in a folder below."""
    _install("bash", environment)
    script = """
source ~/.bashrc
while read -r -a COMP_WORDS; do
    COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 )) COMPREPLY=()
    _vastlab
    echo "${COMPREPLY[*]}"
done
"""
    asked = "".join(f"{line}\n" for line, _ in _ASKED)
    done = _run(["bash", "-c", script], environment, asked)
    expected = [word for _, word in _ASKED]
    expected[6] += " logs/2026/"
    assert done.splitlines() == expected


def test_fish_completes(environment):
    """What fish lists for a line has the word first, and then its description."""
    _install("fish", environment)
    for line, word in _ASKED:
        found = _run(["fish", "-c", f"complete -C '{line}'"], environment)
        words = [record.partition("\t")[0] for record in found.splitlines()]
        assert words[:1] == [word] if word else True, (line, words)


def test_zsh_completes(environment, tmp_path):
    """A tab key at the end of a line puts the word there."""
    _install("zsh", environment)
    with (tmp_path / ".zshrc").open("a") as startup:
        startup.write(
            "autoload -Uz compinit && compinit -u -D; PS1='ready> '\n"
            "show() { print -r -- \"<<$BUFFER>>\"; BUFFER=''; zle reset-prompt }\n"
            "zle -N show; bindkey '^X' show\n"
        )
    shell = pexpect.spawn("zsh", ["-i"], env=environment, encoding="utf-8", dimensions=(50, 160))
    shell.expect("ready> ")
    for line, word in _ASKED:
        shell.send(f"{line}\t\x18")
        shell.expect("<<(.*?)>>")
        assert shell.match[1].rstrip() == f"{line.rpartition(' ')[0]} {word or line.split()[-1]}"
    shell.close(force=True)


def test_choices_are_those_of_the_library():
    """Modes and formats are written down once more for the shell, and agree."""
    mode, _ = get_args(options.Mode)
    assert get_args(mode) == tuple(mode.value for mode in ExportMode)
    formats, _ = get_args(get_args(options.LogFormat)[0])
    assert get_args(formats) == tuple(FORMATS)


def test_every_command_has_help_with_examples(shell, capfd, monkeypatch):
    """Help fits 80 columns, is plain, and shows how a command is called."""
    monkeypatch.setenv("COLUMNS", "80")
    commands = [name for name in app if not name.startswith("-")]
    assert len(commands) >= 9
    for arguments in ([], *([name] for name in commands)):
        assert shell(*arguments, "--help") == 0
        text = capfd.readouterr().out
        assert text.startswith("Usage: vastlab")
        assert "\nExamples:\n  vastlab " in text
        assert "ENDPOINT" in text or arguments == ["node"]
        assert all(len(line) <= 80 for line in text.splitlines())
        assert text.isascii()


@pytest.mark.parametrize(
    "arguments",
    ["--help", "query --help", "--version", "quer", "query -n x", "__complete count -e d"],
)
def test_large_modules_wait_for_a_command(arguments):
    """Help, completion and usage errors import neither pandas nor the query engine."""
    code = (
        "import sys; from vastlab import cli; cli.run(sys.argv[1:]);"
        "assert not {'pandas', 'pyarrow', 'datafusion', 'numpy'} & sys.modules.keys()"
    )
    command = [sys.executable, "-c", code, *arguments.split()]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=Path(ROOT))

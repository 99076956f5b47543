"""The shell as a program of its own, and what it says."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

LINE = (
    '{"timestamp":"2026-03-04T09:42:13.000001+0000","event_type":"alert","flow_id":1,'
    '"src_ip":"10.1.4.17","src_port":1,"dest_ip":"203.0.113.66","dest_port":80,"proto":"TCP",'
    '"alert":{"action":"allowed","signature":"one","severity":1}}\n'
)


def _environment(cache: Path) -> dict[str, str]:
    """Return what a program of its own runs in."""
    root = str(Path(__file__).resolve().parents[2])
    kept = {name: value for name, value in os.environ.items() if name != "VAST_ENDPOINT"}
    return kept | {"PYTHONPATH": root, "XDG_CACHE_HOME": str(cache), "COLUMNS": "120"}


def start(cache: Path, folder: Path, *args: str, **options) -> subprocess.Popen:
    """Start the program in a folder."""
    return subprocess.Popen(
        [sys.executable, "-m", "vastlab", *args],
        cwd=folder,
        env=_environment(cache),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        **{"stdout": subprocess.PIPE} | options,
    )


def one_line(text: str) -> str:
    """Return the only line of stderr."""
    assert "Traceback" not in text
    lines = text.rstrip("\n").split("\n")
    assert len(lines) == 1, text
    return lines[0]


def on_a_terminal(cache: Path, folder: Path, *args: str) -> str:
    """Run the program with its output on a terminal, and return what arrives there."""
    leader, follower = pty.openpty()
    process = start(cache, folder, *args, stdout=follower)
    os.close(follower)
    parts = []
    while True:
        try:
            part = os.read(leader, 65536)
        except OSError:  # how Linux says that the other side is closed
            break
        if not part:
            break
        parts.append(part)
    os.close(leader)
    process.communicate()
    assert process.returncode == 0
    return b"".join(parts).decode()

"""Whatever a writer does to its logs, in whatever order: each event once, or a warning."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import tempfile
from collections import Counter
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from tests.store.following import FORMATS, Follower, append


def parse(name, data):
    """Read what a file holds, with nothing of vastlab: whole lines, then what follows them."""
    text = data.decode()
    if ".csv" in name:
        return _parse_csv(text)
    end = text.rfind("\n") + 1
    read = _parse_json if ".json" in name else _parse_zeek
    return read(text[:end]), read(text[end:])


def _parse_json(text):
    found = []
    for line in text.splitlines():
        try:
            found.append(json.loads(line)["n"])
        except (ValueError, TypeError):
            continue
    return found


def _parse_zeek(text):
    rows = [line.split("\t") for line in text.splitlines() if not line.startswith("#")]
    return [int(row[1]) for row in rows if len(row) == 2 and row[1]]


def _parse_csv(text):
    end = len(text)
    while end and (text[end - 1] != "\n" or text.count('"', 0, end) % 2):
        end -= 1
    tail = text[end:]
    whole, rest = text[:end].partition("\n")[2] if end else "", tail if end else ""
    if rest.count('"') % 2:
        rest = ""
    return _parse_rows(whole), _parse_rows(rest)


def _parse_rows(text):
    rows = csv.reader(io.StringIO(text, newline=""))
    return [int(row[1]) for row in rows if len(row) == 2 and row[1]]


class Following(RuleBasedStateMachine):
    """Whatever a writer does between looks, each event is given once, or a warning names it."""

    def __init__(self):
        super().__init__()
        self.temporary = tempfile.TemporaryDirectory()
        self.logs = Path(self.temporary.name, "logs")
        self.logs.mkdir()
        Path(self.logs, "zz.json").write_text('{"other": 1}\n')
        self.follower = Follower(self.logs, Path(self.temporary.name, "cache"))
        self.follower.begin()
        self.number = 100_000
        self.counter = 0
        self.unwritten = dict.fromkeys(FORMATS, "")
        self.open = {}  # where a writer writes that did not notice the rotation
        self.known = set()
        for name in FORMATS:
            self._anew(name)

    def _anew(self, name):
        (self.logs / name).write_text(FORMATS[name][0])
        self.open[name] = self.logs / name

    def _lines(self, name, count):
        self.number += count
        numbers = range(self.number - count, self.number)
        return "".join(map(FORMATS[name][1], numbers))

    def _finish(self, name):
        append(self.open[name], self.unwritten[name])
        self.unwritten[name] = ""

    def _old_names(self):
        return sorted(path for path in self.logs.iterdir() if path.name.split(".")[-1].isdigit())

    names = st.sampled_from(sorted(FORMATS))

    @rule(name=names, count=st.integers(1, 3))
    def append_lines(self, name, count):
        self._finish(name)
        append(self.open[name], self._lines(name, count))

    @rule(name=names, cut=st.integers(1, 20))
    def append_half_a_line(self, name, cut):
        self._finish(name)
        line = self._lines(name, 1)
        cut = min(cut, len(line) - 1)
        append(self.open[name], line[:-cut])
        self.unwritten[name] = line[-cut:]

    @rule(name=names, size=st.integers(1, 5))
    def flush_some_bytes(self, name, size):
        text = self.unwritten[name]
        append(self.open[name], text[:size])
        self.unwritten[name] = text[size:]

    @rule(name=names, kept=st.integers(0, 3), cut=st.integers(0, 2))
    def rewrite_in_place(self, name, kept, cut):
        """Keep some of the events, and perhaps the times."""
        path = self.open[name]
        found = path.stat()
        whole, _ = parse(name, path.read_bytes())
        header, line = FORMATS[name]
        text = header + "".join(map(line, whole[-kept:] if kept else [])) + self._lines(name, 1)
        path.write_text(text[: len(text) - cut])
        self.unwritten[name] = text[len(text) - cut :]
        if cut == 2:
            os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))

    @rule(name=names)
    def replace_by_a_file_of_the_same_size(self, name):
        path = self.open[name]
        found = path.stat()
        whole, _ = parse(name, path.read_bytes())
        text = FORMATS[name][0] + "".join(self._lines(name, 1) for _ in whole)
        hidden = path.with_name(".hidden")
        hidden.write_text(text)
        os.utime(hidden, ns=(found.st_atime_ns, found.st_mtime_ns))
        hidden.replace(path)
        self.unwritten[name] = ""

    @rule(name=names, steps=st.lists(st.integers(0, 100), max_size=2))
    def copy_and_truncate(self, name, steps):
        """Look at the copy while it is made, too."""
        path = self.logs / name
        if self.open[name] != path:
            return
        if name != "a.json":
            self._finish(name)
        data = path.read_bytes()
        self.counter += 1
        copy = path.with_name(f"{name}.{self.counter}")
        for step in sorted(steps):
            copy.write_bytes(data[: len(data) * step // 100])
            self._poll()
        copy.write_bytes(data)
        path.write_text(FORMATS[name][0])

    @rule(name=names)
    def rename(self, name):
        """Move a log away while its writer still has it open."""
        if self.open[name] == self.logs / name:
            self.counter += 1
            self.open[name] = self.open[name].rename(self.logs / f"{name}.{self.counter}")

    @rule(name=names, finish=st.booleans())
    def reopen(self, name, finish):
        """Begin a new file; the last line of the old one may stay half a line."""
        if self.open[name] != self.logs / name:
            if finish:
                self._finish(name)
            self.unwritten[name] = ""
            self._anew(name)

    @rule(data=st.data(), step=st.integers(0, 100))
    def compress(self, data, step):
        """Look while the compressed file is incomplete, too."""
        old = [path for path in self._old_names() if path not in self.open.values()]
        if old:
            path = data.draw(st.sampled_from(old))
            packed = gzip.compress(path.read_bytes())
            target = path.with_name(path.name + ".gz")
            target.write_bytes(packed[: len(packed) * step // 100])
            self._poll()
            target.write_bytes(packed)
            if step % 2:
                self._poll()
            path.unlink()

    @rule(data=st.data())
    def delete_and_put_back(self, data):
        """Bring a log back under another name after a poll without it."""
        old = [path for path in self._old_names() if path not in self.open.values()]
        if old:
            path = data.draw(st.sampled_from(old))
            away = path.rename(Path(self.temporary.name, "away"))
            self._poll()
            self.counter += 1
            away.rename(path.with_name(path.name.rpartition(".")[0] + f".{self.counter}"))

    @rule(name=names, second=st.integers(0, 3_000_000_000))
    def touch(self, name, second):
        os.utime(self.open[name], (second, second))

    @rule()
    def poll(self):
        self._poll()

    def _poll(self):
        contents, whole = {}, set()
        for path in self.logs.iterdir():
            data = path.read_bytes()
            if path.suffix == ".gz":
                try:
                    data = gzip.decompress(data)
                except (EOFError, OSError):
                    continue
            if path.name != "zz.json":
                contents.setdefault((path.name.split(".")[1], data), path.name)
        expected = Counter()
        for (_, data), name in contents.items():
            lines, tail = parse(name, data)
            expected.update(lines + tail)
            whole.update(lines)
        self.follower.poll()
        held = Counter(self.follower.historical())
        # A file and a copy of it that has parted from it may count once.
        assert held.keys() == expected.keys()
        assert held <= expected
        self.known |= expected.keys()
        seen = Counter(self.follower.seen)
        assert whole <= seen.keys() <= self.known
        if any(count > 1 for count in seen.values()):
            assert self.follower.warnings

    def teardown(self):
        with self.temporary:
            self._poll()
            first = Follower(self.logs, Path(self.temporary.name, "other_cache"))
            assert set(first.historical()) == set(self.follower.historical())


TestFollowing = Following.TestCase
TestFollowing.settings = hypothesis.settings(max_examples=15, stateful_step_count=20, deadline=None)


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_no_order_of_changes_loses_or_repeats_an_event():
    """The same for many more examples; FOLLOW_EXAMPLES says how many."""
    number = int(os.environ.get("FOLLOW_EXAMPLES", "60"))
    settings = hypothesis.settings(max_examples=number, stateful_step_count=25, deadline=None)
    run_state_machine_as_test(Following, settings=settings)

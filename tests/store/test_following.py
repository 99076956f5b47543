"""A folder of logs that is followed gives each event once, whatever is done to its files."""

from __future__ import annotations

import gzip
import os

import pytest

from tests.store.following import (
    ZEEK_HEADER,
    append,
    each_format,
    json_line,
    start,
    values,
    zeek_line,
)
from vastlab.readers import csv_records
from vastlab.store import follow
from vastlab.store.log_folder import LogFolder

# --- a last line without an end ---------------------------------------------------------------


@each_format
def test_an_incomplete_line_is_returned_when_its_newline_is_written(follower, name, header, line):
    """However the bytes of a line arrive, and however old the file looks, it is given once."""
    path = start(follower, name, header, line, 101)
    for byte in line(102):
        assert follower.poll() == []
        append(path, byte)
        os.utime(path, (0, 0))
    assert follower.poll() == [102]
    append(path, line(103))
    assert follower.poll() == [103]
    assert not follower.warnings


@each_format
def test_a_query_gives_a_last_line_without_a_newline(follower, name, header, line):
    """A file without a final newline is complete for a query, and its end is read again later."""
    path = start(follower, name, header, line, 101, 102)
    append(path, line(103)[:-1])
    assert follower.historical() == [101, 102, 103]
    assert follower.poll() == []
    append(path, "\n" + line(104))
    assert follower.historical() == [101, 102, 103, 104]
    assert follower.poll() == [103, 104]
    assert not follower.warnings


@each_format
def test_a_query_before_the_line_is_whole_changes_nothing(follower, name, header, line, tmp_path):
    """If another process reads the incomplete line, a running export loses and repeats nothing."""
    path = start(follower, name, header, line, 101)
    append(path, line(1029)[:-2])
    other = LogFolder(follower.logs, tmp_path / "cache")
    other.refresh()
    append(path, line(1029)[-2:] + line(103))
    assert sorted(values(other.refresh().snapshot().files)) == [101, 103, 1029]
    assert follower.poll() == [103, 1029]
    assert follower.historical() == [101, 103, 1029]
    assert not follower.warnings


def test_an_incomplete_line_does_not_change_a_type(follower):
    """What half a value looks like says nothing about the type of its column."""
    path = start(follower, "a.csv", "", str, "ip,n\n10.0.0.1,101\n10.0.0.2,102\n")
    before = follower.folder.refresh().snapshot().schemas()
    append(path, "10.0.0.3,1.")
    follower.poll()
    append(path, "5\n")
    assert follower.poll() == [1]
    before, after = before["a"], follower.folder.refresh().snapshot().schemas()["a"]
    assert before.fields[0] == after.fields[0]


@each_format
def test_a_rotated_log_gives_its_last_line(follower, name, header, line):
    """A line that never got its newline is given once the log continues in another file."""
    path = start(follower, name, header, line, 101)
    append(path, line(102)[:-1])
    assert follower.poll() == []
    path.rename(path.with_name(path.name + ".1"))
    assert follower.poll() == []
    path.write_text("")
    assert follower.poll() == []
    append(path, header + line(103))
    assert follower.poll() == [102, 103]
    assert follower.historical() == [101, 102, 103]
    assert follower.poll() == []
    assert not follower.warnings


@each_format
def test_a_log_with_only_an_incomplete_line_may_be_rotated(follower, name, header, line):
    """A log that never had a whole line is recognised by its inode."""
    path = start(follower, name, "", line)
    append(path, header + line(102)[:-1])
    assert follower.poll() == []
    path.rename(path.with_name(path.name + ".1"))
    path.write_text(header + line(103))
    assert follower.poll() == [102, 103]
    assert not follower.warnings


@each_format
def test_a_renamed_log_may_still_be_written(follower, name, header, line):
    """A writer that keeps the old file open finishes its line there."""
    path = start(follower, name, header, line, 101)
    append(path, line(102)[:-4])
    follower.poll()
    old = path.rename(path.with_name(path.name + ".1"))
    assert follower.poll() == []
    append(old, line(102)[-4:] + line(103))
    path.write_text(header + line(104))
    assert follower.poll() == [102, 103, 104]
    assert not follower.warnings


def test_an_incomplete_line_is_a_problem_only_if_it_is_old(follower):
    """The last line of a log that was cut off is reported when the log is no longer written to."""
    path = start(follower, "a.json", "", json_line, 101)
    append(path, '{"n": ')
    follower.poll()
    assert follower.folder.problems == ()
    assert follower.folder.problem_count == 0
    os.utime(path, (0, 0))
    follower.poll()
    (problem,) = follower.folder.problems
    assert (problem.line, follower.folder.problem_count) == (2, 1)
    append(path, "102}\n")
    assert follower.poll() == [102]
    assert follower.folder.problems == ()


def test_a_file_with_an_incomplete_header_is_not_a_problem(follower):
    """A log of which only the first bytes are there is not taken for something else."""
    path = start(follower, "conn.log", "", str, "#sepa")
    follower.poll()
    assert follower.folder.problems == ()
    path.write_text(ZEEK_HEADER + zeek_line(101))
    assert follower.poll() == [101]
    assert not follower.warnings


# --- rotation -----------------------------------------------------------------------------------


@each_format
@pytest.mark.parametrize("with_newline", [True, False])
def test_compression_of_a_rotated_log_repeats_nothing(follower, name, header, line, with_newline):
    """While the compressed file is written, when both are there, and when the log is gone."""
    path = start(follower, name, header, line, 101)
    append(path, line(102) if with_newline else line(102)[:-1])
    follower.poll()
    old = path.rename(path.with_name(path.name + ".1"))
    path.write_text(header + line(103))
    follower.poll()
    packed = gzip.compress(old.read_bytes())
    target = old.with_name(old.name + ".gz")
    for size in (5, len(packed) - 9, len(packed)):
        target.write_bytes(packed[:size])
        assert follower.poll() == []
    old.unlink()
    assert follower.poll() == []
    assert sorted(follower.seen) == follower.historical()[1:] == [102, 103]
    assert not follower.warnings


@each_format
def test_a_compressed_copy_next_to_a_log_does_not_repeat_an_incomplete_line(
    follower, name, header, line
):
    """A query counts the last line once, before the log continues and after it was rotated."""
    path = start(follower, name, header, line, 101)
    append(path, line(102)[:-1])
    copy = path.with_name(f"{name}.1.gz")
    copy.write_bytes(gzip.compress(path.read_bytes()))
    assert follower.historical() == [101, 102]
    assert follower.poll() == []
    path.unlink()
    assert follower.historical() == [101, 102]
    assert follower.poll() == [102]
    assert not follower.warnings


def test_a_log_that_is_rotated_before_its_first_event(follower):
    """Its half line belongs to the path where the log began, and is final now."""
    name, header = "c.log", ZEEK_HEADER
    path = start(follower, name, header, zeek_line)
    old = path.rename(path.with_name(f"{name}.1"))
    append(old, zeek_line(101)[:-1])
    path.write_text(header + zeek_line(102))
    assert follower.poll() == [101, 102]
    old.with_name(f"{old.name}.gz").write_bytes(gzip.compress(old.read_bytes()))
    assert follower.historical() == [101, 102]
    assert follower.poll() == []


def test_zeek_closes_a_log_and_begins_another(follower):
    """The last lines of a closed log and the first ones of the next are given once."""
    path = start(follower, "conn.log", ZEEK_HEADER, zeek_line, 101)
    append(path, zeek_line(102) + "#close\t2024-01-01-00-00-00\n")
    path.rename(follower.logs / "conn.00-01.log")
    path.write_text(ZEEK_HEADER + zeek_line(103))
    assert follower.poll() == [102, 103]
    with gzip.open(follower.logs / "conn.00-01.log.gz", "wb") as stream:
        stream.write((follower.logs / "conn.00-01.log").read_bytes())
    (follower.logs / "conn.00-01.log").unlink()
    append(path, zeek_line(104))
    assert follower.poll() == [104]
    assert follower.historical() == [101, 102, 103, 104]
    assert not follower.warnings


@each_format
def test_a_copy_in_progress_gives_nothing(follower, name, header, line):
    """Before copytruncate empties a log its copy grows beside it, and repeats no event."""
    path = start(follower, name, header, line, 101)
    append(path, line(102) + line(103))
    assert follower.poll() == [102, 103]
    whole = path.read_bytes()
    copy = path.with_name(path.name + ".1")
    for size in range(len(header) + 1, len(whole) + 1):
        copy.write_bytes(whole[:size])
        assert follower.poll() == []
    path.write_text("")
    assert follower.poll() == []
    append(path, header + line(104))
    assert follower.poll() == [104]
    assert follower.historical() == [101, 102, 103, 104]
    assert not follower.warnings


@each_format
def test_a_copy_in_progress_of_a_log_that_grows_gives_nothing(follower, name, header, line):
    """The copy goes on after what was known of the log, and so does the log."""
    path = start(follower, name, header, line, 101)
    append(path, line(102))
    assert follower.poll() == [102]
    for number in (103, 105):
        append(path, line(number) + line(number + 1)[:-1])
        whole = path.read_bytes()
        for cut in (1, len(line(number + 1)) - 1, len(line(number + 1)) + 1):
            path.with_name(name + ".1").write_bytes(whole[:-cut])
            follower.poll()
        append(path, "\n")
    path.with_name(name + ".1").write_bytes(path.read_bytes())
    path.write_text("")
    follower.poll()
    assert follower.seen == [102, 103, 104, 105, 106]
    assert follower.historical() == [101, 102, 103, 104, 105, 106]
    assert not follower.warnings


@each_format
def test_a_copy_of_a_half_line_hides_no_event(follower, name, header, line):
    """Of two files with the same complete lines, only the shorter one is a copy."""
    path = start(follower, name, header, line)
    append(path, line(101) + line(102) + line(103)[:-1])
    path.with_name(f"{name}.1").write_bytes(path.read_bytes()[:-2])
    assert follower.poll() == [101, 102]
    assert not follower.warnings


@each_format
def test_a_copy_may_get_the_inode_of_a_deleted_log(follower, name, header, line):
    """A header in common and an inode do not make a copy the log that was there."""
    path = start(follower, name, header, line)
    outside = path.rename(follower.logs.parent / "outside")
    path.write_text(header + line(101) + line(102))
    outside.write_text(header + line(101)[:-1])
    copy = outside.rename(path.with_name(f"{name}.1"))
    assert follower.poll() == [101, 102]
    copy.write_text(header + line(101) + line(102)[:-1])
    assert follower.poll() == []
    assert not follower.warnings


@each_format
def test_a_log_may_be_the_only_one_and_empty_for_a_moment(follower, name, header, line):
    """An export keeps running while its folder is empty."""
    (follower.logs / "other.json").unlink()
    path = start(follower, name, header, line, 101)
    path.write_text("")
    assert follower.poll() == []
    path.unlink()
    assert follower.poll() == []
    path.write_text(header + line(102))
    assert follower.poll() == [102]
    assert not follower.warnings


@pytest.mark.parametrize("before", ["", json_line(102)])
def test_a_log_that_is_truncated_within_a_line_is_still_followed(follower, before):
    """After copytruncate a writer ends the line that it began; the lines after it are given."""
    path = start(follower, "a.json", "", str)
    append(path, before + '{"n": 1')
    follower.poll()
    path.with_name("a.json.1").write_bytes(path.read_bytes())
    path.write_text("")
    append(path, "03}\n" + json_line(104))
    assert follower.poll() == [104]
    append(path, json_line(105))
    assert follower.poll() == [105]
    assert not follower.warnings


@pytest.mark.parametrize("pack, suffix", [(bytes, ".1"), (gzip.compress, ".1.gz")])
def test_a_rotated_log_that_begins_within_a_line_is_read_at_once(follower, pack, suffix):
    """What was written between two truncations is given the first time that its file is seen."""
    path = start(follower, "a.json", "", str)
    append(path, json_line(102) + '{"n": 1')
    assert follower.poll() == [102]
    path.with_name(path.name + suffix).write_bytes(pack(f"03}}\n{json_line(104)}".encode()))
    path.write_text(json_line(105))
    assert follower.poll() == [104, 105]
    assert not follower.warnings


@pytest.mark.parametrize("known", ["", json_line(101)])
def test_a_log_that_is_truncated_before_it_is_read_leaves_its_copy(follower, monkeypatch, known):
    """What a copy holds is given although its log went on after it, and is gone now."""
    path = start(follower, "a.json", "", str, known)
    append(path, json_line(102))
    path.with_name("a.1.json").write_bytes(path.read_bytes())
    append(path, json_line(103))
    plan = follow.plan

    def truncate_and_plan(state, *args):
        if state.path == str(path):
            path.write_text("")
        return plan(state, *args)

    monkeypatch.setattr(follow, "plan", truncate_and_plan)
    assert follower.poll() == [102]
    assert not follower.warnings


def test_a_rename_while_a_file_is_read_loses_nothing(follower, monkeypatch):
    """A log that is rotated between finding and reading it keeps its events and its place."""
    path = start(follower, "a.json", "", json_line, 101)
    append(path, json_line(102))
    plan, renamed = follow.plan, []

    def rename_and_plan(state, *args):
        if not renamed:
            renamed.append(path.rename(path.with_name("a.json.1")))
            path.write_text(json_line(103))
        return plan(state, *args)

    monkeypatch.setattr(follow, "plan", rename_and_plan)
    assert follower.poll() == [102, 103]
    assert follower.historical() == [101, 102, 103]
    assert not follower.warnings


# --- rewriting ----------------------------------------------------------------------------------


@each_format
def test_a_log_that_is_rewritten_is_warned_about(follower, name, header, line):
    """Events that stay in a rewritten log may be repeated; one warning names it."""
    path = start(follower, name, header, line, 101, 102)
    path.write_text(header + line(102) + line(103))
    assert follower.historical() == [102, 103]
    follower.poll()
    assert len(follower.warnings) == 1
    assert name in follower.warnings[0]
    append(path, line(104))
    assert follower.poll() == [104]
    assert len(follower.warnings) == 1


@each_format
def test_a_log_that_starts_again_with_other_events_needs_no_warning(follower, name, header, line):
    """A log that was moved out of the folder and one of later events repeat nothing."""
    path = start(follower, name, header, line, 101, 102)
    path.write_text(header + line(103))
    assert follower.poll() == [103]
    assert follower.historical() == [103]
    assert not follower.warnings


@each_format
def test_a_file_of_the_same_size_and_time_is_another(follower, name, header, line):
    """A file that replaces one of its size and modification time is noticed."""
    path = start(follower, name, header, line, 101, 102)
    found = path.stat()
    for numbers in ((103, 104), (105, 106)):
        other = path.with_name(".other")
        other.write_text(header + "".join(map(line, numbers)))
        os.utime(other, ns=(found.st_atime_ns, found.st_mtime_ns))
        other.replace(path)
        assert follower.poll() == list(numbers)
    path.write_text(header + line(107) + line(108))
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert follower.poll() == [107, 108]
    assert not follower.warnings


@each_format
def test_a_clock_that_goes_back_repeats_nothing(follower, name, header, line):
    """Times of modification decide nothing."""
    path = start(follower, name, header, line, 101)
    for second, number in ((2_000_000_000, 102), (1_000, 103), (4_000_000_000, 104)):
        append(path, line(number))
        os.utime(path, (second, second))
        assert follower.poll() == [number]
        os.utime(path, (second - 500, second - 500))
        assert follower.poll() == []
    assert not follower.warnings


def test_a_large_file_that_changed_at_its_beginning_is_noticed(follower):
    """Of a file that did not grow, all is compared, not only its end."""
    filler = '{"text": "' + "x" * 1000 + '"}\n'
    path = start(follower, "a.json", "", str, json_line(101) + filler * 4000)
    found = path.stat()
    with path.open("r+") as stream:
        stream.write(json_line(102))
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns + 1))
    assert follower.historical() == [102]


def test_a_json_array_is_read_as_a_whole(follower):
    """Objects over several lines are never cut in the middle."""
    path = start(follower, "a.json", "", str, '{\n  "n": 101\n}\n')
    path.write_text('{\n  "n": 101\n}\n{\n  "n": ')
    follower.poll()
    path.write_text('{\n  "n": 101\n}\n{\n  "n": 102\n}\n')
    follower.poll()
    assert follower.historical() == [101, 102]
    assert set(follower.seen) == {101, 102}
    assert any("a.json" in warning for warning in follower.warnings)


# --- quotes in tables ---------------------------------------------------------------------------


def test_a_quote_within_a_value_holds_nothing_back(follower):
    """A quote that does not stand at the beginning of a field opens none."""
    path = start(follower, "a.csv", "text,n\n", "x,{}\n".format, 101)
    append(path, '5" pipe,102\n')
    assert follower.poll() == [102]
    append(path, "x,103\n")
    assert follower.poll() == [103]
    assert not follower.warnings


def test_a_quote_that_is_not_closed_holds_its_line_back(follower):
    """The last line may go on after its newline, and costs no line before it and none after it."""
    path = start(follower, "a.csv", "text,n\n", "x,{}\n".format, 101)
    append(path, 'y,102\n"open,103\n')
    assert follower.poll() == [102]
    append(path, 'closed",104\nx,105\n')
    assert follower.poll() == [104, 105]
    assert follower.historical() == [101, 102, 104, 105]
    assert not follower.warnings


@pytest.mark.parametrize("size", [1, 40])
def test_a_quote_that_is_never_closed_costs_its_line(follower, monkeypatch, size):
    """After more text than a record can have, the lines that follow are given."""
    monkeypatch.setattr(follow, "MAX_RECORD_SIZE", size)
    monkeypatch.setattr(csv_records, "MAX_RECORD_SIZE", size)
    path = start(follower, "a.csv", "text,n\n", "x,{}\n".format, 101)
    append(path, '"open,102\n')
    follower.poll()
    append(path, "".join(f"x,{n}\n" for n in range(103, 120)))
    follower.poll()
    assert follower.seen == list(range(103, 120))
    assert follower.historical() == [101, *range(103, 120)]
    assert not follower.warnings

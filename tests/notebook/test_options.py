"""The line of a magic."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from vastlab import errors
from vastlab.notebook.options import FLAGS, Options, is_option, parse, usage


def test_all_options():
    """Every option is read, in its short and its long form."""
    read = parse(
        '-n 5 --mode unified -o hits -e demo: --since "2009-11-18 08:00" --until=1d '
        "--timeout 2.5 -q resp_p == 80"
    )
    assert read == Options(
        "resp_p == 80",
        limit=5,
        mode="unified",
        out="hits",
        endpoint="demo:",
        since="2009-11-18 08:00",
        until="1d",
        timeout=2.5,
        quiet=True,
    )
    assert parse("--limit 5 x") == parse("-n5 x") == parse("--limit=5 x") == Options("x", limit=5)


def test_lists_from_files():
    """Each list names its parameter and its file, and several are taken together."""
    read = parse("--params-from a=x.txt --params-from '$b=my file.csv:ioc' :ip in $a || $b")
    assert read.files == {"a": "x.txt", "b": "my file.csv:ioc"}
    assert read.expression == ":ip in $a || $b"
    for wrong in ("a", "=x", "a=", "1=x"):
        with pytest.raises(errors.UsageError, match="NAME=FILE"):
            parse(f"--params-from {wrong} x")
    with pytest.raises(errors.UsageError, match=r"\$a two values"):
        parse("--params-from a=x --params-from a=y z")


@given(st.text())
def test_an_expression_stays_as_it_is(text):
    """What is not an option is the expression, whatever quotes and backslashes it has."""
    expression = text.strip()
    assume(not expression.startswith("-"))
    assume(not expression.endswith(";"))
    assert parse(f"-n 3 {text}").expression == expression


@pytest.mark.parametrize("expression", ["-5s < duration", "-1 == x", "'a b'  == \"c\\\\d\"", "--1"])
def test_numbers_are_no_options(expression):
    """A minus before a digit belongs to the expression."""
    assert parse(expression).expression == expression


def test_a_double_dash_ends_the_options():
    """After ``--`` everything is expression."""
    assert parse("-n 1 -- -x == 5") == Options("-x == 5", limit=1)


def test_the_cell_continues_the_line():
    """Line and body together are the expression."""
    assert parse("-n 1 a == 1", "&& b == 2\n").expression == "a == 1\n&& b == 2"
    assert parse("-n 1", "\n").expression == ""


def test_a_semicolon_hides():
    """A trailing semicolon is not part of the expression."""
    assert parse("a == 1 ; ") == Options("a == 1", hidden=True)
    assert parse("", "a == 1;\n") == Options("a == 1", hidden=True)


@pytest.mark.parametrize(
    "line, message",
    [
        ("--limt 3 x", "unknown option --limt .*did you mean --limit"),
        ("-z x", "unknown option -z"),
        ("-n abc x", "whole number, not 'abc'"),
        ("-n 1e9 x", r"whole number, not '1e9' \(write 1000000000\)"),
        ("-n 1_000 x", r"whole number, not '1_000' \(write 1000\)"),
        ("-n 1.5 x", r"whole number, not '1.5' \(0 for all"),
        ("-n -1 x", r"whole number, not '-1' \(0 for all"),
        ("-n inf x", "whole number, not 'inf'"),
        ("-n", "--limit needs a value"),
        ("--timeout soon x", "seconds, not 'soon'"),
        ("-o class x", r"variable, not 'class' \(a word of Python"),
        ("-o 1x x", r"variable, not '1x' \(such as hits"),
        ("-o a-b x", "variable, not 'a-b'"),
        ("--quiet=yes x", "--quiet takes no value"),
    ],
)
def test_bad_options_are_named(line, message):
    """A wrong option is an error that names it."""
    with pytest.raises(errors.UsageError, match=message):
        parse(line)


@pytest.mark.parametrize("option", ["-n ", "-m ", "-o ", "--timeout ", "--"])
def test_errors_stay_short(option):
    """However long a wrong value is, its error is one short line."""
    with pytest.raises(errors.UsageError) as caught:
        parse(option + "x-" * 500_000)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    "text, position, found",
    [
        ("a == 1 -n 5", 7, True),
        ("a == 1 --limit=5", 7, True),
        ("a == 1 --limits 5", 7, False),
        ("a == 1 -z", 7, False),
        ("a == 1", 6, False),
    ],
)
def test_options_in_the_wrong_place_are_known(text, position, found):
    """What looks like an option is one where there is such an option."""
    assert is_option(text, position) is found


def test_help_describes_every_option():
    """The help has a line for each option."""
    assert all(f"--{flag.name}" in usage() for flag in FLAGS)

from __future__ import annotations

import pytest

from vastlab.errors import FormatError
from vastlab.readers.problems import BECAME_NULL, Problems


def test_everything_is_counted_and_the_first_are_kept():
    """A hostile file cannot fill the memory with its problems, yet all are counted."""
    problems = Problems(keep=2)
    for line in range(5):
        problems.add("x.log", line, "bad")
    assert problems.count == 5
    assert [problem.line for problem in problems] == [0, 1]


def test_strict_problems_raise_with_their_place():
    """Strict means that the first problem is an error that names file, line and reason."""
    with pytest.raises(FormatError, match=r"^x\.log:7: bad$") as caught:
        Problems(strict=True).add("x.log", 7, "bad")
    assert (caught.value.path, caught.value.line) == ("x.log", 7)


def test_a_problem_without_a_line_names_the_file():
    """Formats without lines leave the number out."""
    problems = Problems()
    problems.add("x.parquet", None, "bad")
    assert [str(problem) for problem in problems] == ["x.parquet: bad"]


def test_a_strict_error_does_not_say_that_a_value_was_changed():
    """Where the first problem is an error, no value becomes null."""
    with pytest.raises(FormatError, match=r"^x\.log:7: a: 'x' is not an int64$"):
        Problems(strict=True).add("x.log", 7, f"a: 'x' is not an int64{BECAME_NULL}")


def test_problems_of_a_file_come_in_the_order_of_its_lines():
    """Whatever a reader looks at first; files stay in their order."""
    problems = Problems()
    for path, line in [("b", 9), ("b", None), ("b", 2), ("a", 5), ("a", 4)]:
        problems.add(path, line, "bad")
    found = [(problem.path, problem.line) for problem in problems]
    assert found == [("b", 2), ("b", 9), ("b", None), ("a", 4), ("a", 5)]

"""Waiting: the line of a call, and its interrupt."""

from __future__ import annotations

import contextlib
import threading
from typing import Any

import pytest

from vastlab import _call
from vastlab._call import Watch, interruptible
from vastlab.errors import QueryInterrupted
from vastlab.nodes.base import Step


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(_call, "time", clock)
    return clock


def test_the_work_of_the_caller_does_not_count_as_waiting(clock):
    """Only the time counts that was spent waiting."""
    shown: list[float] = []
    display = contextlib.nullcontext(lambda step, elapsed: shown.append(elapsed))
    with Watch(lambda: display, Step) as watch:
        clock.now += 2
        watch.tick()
        with watch.paused():
            clock.now += 60
        clock.now += 1
        watch.tick()
    assert shown == [2, 3, 3]


def test_without_a_display_nothing_ticks():
    """Without a display there are no calls."""
    with Watch(None, lambda: pytest.fail("looked")) as watch:
        assert watch.tick is None


def test_other_threads_show_nothing():
    """What a thread in the background waits for is not shown in the user's cell."""
    ticks: list[Any] = []

    def wait() -> None:
        with Watch(lambda: pytest.fail("a display was made"), Step) as watch:
            ticks.append(watch.tick)

    thread = threading.Thread(target=wait)
    thread.start()
    thread.join()
    assert ticks == [None]


def test_a_failure_leaves_the_last_line(clock):
    """A call that fails is not shown once more, as if it had come to its end."""
    shown: list[Step] = []
    display = contextlib.nullcontext(lambda step, elapsed: shown.append(step))
    with pytest.raises(ValueError, match="no"), Watch(lambda: display, Step):
        raise ValueError("no")
    assert shown == []


def test_a_first_interrupt_is_an_error_a_second_one_goes_through():
    """The first Ctrl-C becomes vastlab's error, and one that comes before that is made does not."""
    with pytest.raises(QueryInterrupted, match="stopped"), interruptible(_stopped):
        raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt), interruptible(_stopped):
        try:
            raise KeyboardInterrupt
        finally:
            raise KeyboardInterrupt


def _stopped() -> QueryInterrupted:
    return QueryInterrupted("stopped")

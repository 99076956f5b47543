from __future__ import annotations

from vastlab.nodes import base


def test_memory_is_measured_under_the_keys_of_vast():
    """All three numbers are there; the peak is not below the present."""
    usage = base.memory()
    assert set(usage) == {"current-memory-usage", "peak-memory-usage", "swap-space-usage"}
    assert 0 < usage["current-memory-usage"] <= usage["peak-memory-usage"]


def test_systems_that_tell_nothing_give_zeros(monkeypatch):
    """Without a proc file system there are numbers all the same."""

    def missing(*args, **kwargs):
        raise OSError

    monkeypatch.setattr(base.Path, "read_text", missing)
    assert set(base.memory().values()) == {0}

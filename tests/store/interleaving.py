"""Threads that simulate processes: their system calls run one at a time, in any order.

Each actor is a thread that runs real code of the store. It stops before each system call until
the test continues it. A killed actor does nothing more, not even in its `finally` blocks, and its
open files are closed, as the system does for a process.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import itertools
import os
import threading
import uuid

CALLS = {
    os: (
        *("open", "write", "read", "link", "unlink", "replace", "rename", "mkdir"),
        *("rmdir", "utime", "stat", "lstat", "fstat", "listdir", "scandir"),
    ),
    io: ("open",),
    fcntl: ("flock",),
}
STEP_TIMEOUT = 60  # seconds; a step takes microseconds


class KilledError(BaseException):
    """Ends a writer at once."""


class Actor(threading.Thread):
    """Runs a function one system call at a time; one `on_other_machine` sees no locks of others."""

    def __init__(self, work, *, on_other_machine=False):
        super().__init__(daemon=True)
        self.on_other_machine = on_other_machine
        self.result = self.error = None
        self.is_killed = False
        self.next_call = ""
        self.open_files = set()
        self._work = work
        self._go, self._stopped = threading.Semaphore(0), threading.Semaphore(0)
        self.start()
        self._wait()

    def run(self):
        """Run the function, and keep its result or error."""
        try:
            self.before_call("")
            self.result = self._work()
        except BaseException as error:  # noqa: BLE001 - also KilledError
            self.error = error
        finally:
            self.is_done = True
            self._stopped.release()

    is_done = False

    def before_call(self, name):
        """Wait for the permission to make one system call."""
        self.next_call = name
        if not self.is_killed:
            self._stopped.release()
            self._go.acquire()
        if self.is_killed:
            raise KilledError

    def step(self, count=1):
        """Make the next system calls."""
        for _ in range(count):
            if self.is_done:
                return
            self._go.release()
            self._wait()

    def go_to(self, name):
        """Go on to the next call of a name, and stop before it."""
        self.step()
        while not self.is_done and self.next_call != name:
            self.step()

    def finish(self):
        """Run to the end."""
        while not self.is_done:
            self.step()

    def kill(self):
        """Let it make no further call."""
        self.is_killed = True
        self._go.release()
        self.join(STEP_TIMEOUT)
        for descriptor in self.open_files:
            with contextlib.suppress(OSError):
                os.close(descriptor)
        self.open_files.clear()

    def _wait(self):
        assert self._stopped.acquire(timeout=STEP_TIMEOUT), "an actor does not come to a call"


@contextlib.contextmanager
def controlled(monkeypatch):
    """Let actors stop before their system calls; other threads do not notice.

    Nothing waits for the disk meanwhile, and names are the same in each run.
    """
    with monkeypatch.context() as patch:
        for module, names in CALLS.items():
            for name in names:
                patch.setattr(module, name, _stopping(getattr(module, name), (module, name)))
        patch.setattr(os, "close", _closing(os.close))
        patch.setattr(os, "fsync", _stopping(lambda descriptor: None, (os, "fsync")))
        numbers = itertools.count(1)
        patch.setattr(uuid, "uuid4", lambda: uuid.UUID(int=next(numbers)))
        yield patch


def _stopping(function, key):
    def call(*args, **kwargs):
        actor = threading.current_thread()
        if not isinstance(actor, Actor):
            return function(*args, **kwargs)
        actor.before_call(key[1])
        result = function(*args, **kwargs)
        if key == (os, "open"):
            actor.open_files.add(result)
        return result

    return call


def _closing(function):
    def close(descriptor):
        actor = threading.current_thread()
        if isinstance(actor, Actor):
            actor.open_files.discard(descriptor)
        return function(descriptor)

    return close

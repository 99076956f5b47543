"""The entry point of ``vastlab`` and ``python -m vastlab``."""

from __future__ import annotations

import gc
import os
import signal
from typing import NoReturn

_INTERRUPTED = 130
_COLLECTED = 200_000  # objects, more than imports make: what they make stays


def main() -> NoReturn:
    """Import the command line, which takes a moment, and run it.

    An interrupt during the import ends the process with one line, as it does later.
    """
    usual = signal.getsignal(signal.SIGINT)
    if usual is not signal.SIG_IGN:  # as for a job in the background of a shell
        signal.signal(signal.SIGINT, _end)
    gc.set_threshold(_COLLECTED)
    # Not at the top: the handler has to be in place before anything large is imported.
    from vastlab import cli

    signal.signal(signal.SIGINT, usual)
    cli.main()


def _end(*_: object) -> NoReturn:
    os.write(2, b"vastlab: interrupted\n")
    os._exit(_INTERRUPTED)


if __name__ == "__main__":
    main()

"""``python -m vastlab`` is ``vastlab``."""

from __future__ import annotations

from vastlab.cli import main

if __name__ == "__main__":
    main()

"""The YAML files in vastlab's data as JSON, which is what vastlab reads.

``python -m tests.shipped`` writes them again after one has changed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

DATA = Path(__file__).parents[1] / "vastlab" / "data"
TARGET = DATA / "shipped.json"


def content() -> dict[str, dict[str, Any]]:
    """Return the content of the files, by folder and name."""
    folders: dict[str, dict[str, Any]] = {}
    for path in sorted(DATA.glob("*/*.yaml")):
        folders.setdefault(path.parent.name, {})[path.name] = yaml.safe_load(path.read_text())
    return folders


if __name__ == "__main__":
    TARGET.write_text(json.dumps(content(), separators=(",", ":")) + "\n")

"""A VAST node, up to version 3, through the program `vast`: `layouts` reads what it shows."""

from __future__ import annotations

from vastlab.nodes.vast.node import VastNode

__all__ = ["VastNode"]

"""The explorer: events over time, a table that pages, and clicks that narrow the question."""

from __future__ import annotations

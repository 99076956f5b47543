"""Widgets, one in each file, from ipywidgets alone."""

from __future__ import annotations

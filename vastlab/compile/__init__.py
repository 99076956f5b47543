"""Compilers: bound expressions into what an engine runs."""

"""The report of a run, which is printed and saved at its end."""

from __future__ import annotations

import pytest

from tests.benchmarks.measure import Report, save


@pytest.fixture(scope="session")
def report():
    report = Report()
    yield report
    if report.tables:
        print(report.text())
        save(report.content())


@pytest.fixture
def compare(benchmark, report):
    """Compare the answers and the times of several programs; see `measure`."""

    def compare(table, question, asks, **options):
        row = report.add(table, question, asks, **options)
        shown = {name: f"{r:.2f}" if isinstance(r, float) else r for name, r in row.ratios.items()}
        print(f"\n{question}: {row.answer}, {1000 * row.seconds:.1f} ms CPU; others: {shown}")
        # The plugin wants a measurement of its own; ours is in turn with the others.
        benchmark.pedantic(next(iter(asks.values())), rounds=1)
        return row

    return compare

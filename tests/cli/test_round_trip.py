"""The shell reads what the shell wrote."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest


@pytest.mark.parametrize("format_", ["arrow", "json", "csv"])
def test_an_answer_can_be_imported(shell, capfdbinary, database, tmp_path, format_):
    """`query -n 0 > FILE` and `import FILE` give a database with the same answers."""
    assert shell("query", "-e", database, "-n", "0", "-f", format_) == 0
    (tmp_path / "answer").write_bytes(capfdbinary.readouterr().out)
    assert shell("import", "-e", "copy.db", "answer") == 0
    capfdbinary.readouterr()
    for expression in (
        "",
        "10.1.4.17",
        "duration > 1s",
        ":subnet != null",
        "resp_p == 443 && ts > 2026-03-04",
        "203.0.113.66",
    ):
        counts = []
        for endpoint in (database, "copy.db"):
            assert shell("count", "-e", endpoint, "--schemas", "-f", "json", expression) == 0
            counts.append(json.loads(capfdbinary.readouterr().out))
        assert counts[0] == counts[1]
        assert sum(counts[0].values()) > 0


def test_parquet_can_be_imported(shell, capfdbinary, database, tmp_path):
    """Events of one schema come back from Parquet under their name, nested as they were."""
    asked = '#type == "zeek.conn" && id.orig_h in 10.1.4.0/24'
    assert shell("query", "-e", database, "-n", "0", "-f", "parquet", asked) == 0
    (tmp_path / "answer.parquet").write_bytes(capfdbinary.readouterr().out)
    assert shell("import", "-e", "copy.db", "answer.parquet") == 0
    capfdbinary.readouterr()
    answers = []
    for endpoint in (database, "copy.db"):
        assert shell("query", "-e", endpoint, "-n", "0", "-f", "arrow", asked) == 0
        with pa.ipc.open_stream(capfdbinary.readouterr().out) as stream:
            answers.append(stream.read_all())
    assert answers[0].schema.equals(answers[1].schema, check_metadata=True)
    assert answers[0].equals(answers[1])
    assert answers[0].num_rows > 100

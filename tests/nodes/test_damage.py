"""No damage of a database is answered as if it were data."""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
from contextlib import aclosing
from uuid import uuid4

import pytest

from vastlab.client import VAST
from vastlab.errors import VastlabError
from vastlab.store import writer
from vastlab.store.database import Database

NEEDLE = "id.orig_h == 10.0.0.77"
EXPRESSIONS = ("", NEEDLE, "resp_p > 390", 'query == "q7"', "10.0.0.250 || n == 5")


@pytest.fixture(scope="module")
def sound(tmp_path_factory, makers):
    """Make a database with several files, row groups, layouts and generations."""
    make_conn, make_dns = makers
    path = tmp_path_factory.mktemp("damage") / "test.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, "ROW_GROUP_ROWS", 64)
        database = Database.create(path)
        database.add([make_conn(range(200)), make_dns([f"q{i}" for i in range(150)])])
        for start in range(200, 440, 8):
            database.add([make_conn(range(start, start + 8))])
        database.add([make_conn(range(440, 500))])
    return path


async def answers(path):
    """Ask in every way there is."""
    found = []
    async with VAST(path) as vast:
        for expression in EXPRESSIONS:
            async with aclosing(vast.export(expression)) as parts:
                rows = [row async for part in parts for row in part.to_pyarrow().to_pylist()]
            found += [sorted(map(str, rows)), await vast.counts(expression)]
        async with aclosing(vast.export(NEEDLE, limit=1)) as parts:
            found.append([part.to_pyarrow().to_pylist() async for part in parts])
        async with aclosing(vast.export("resp_p > 90", limit=70, order="newest")) as parts:
            found.append([part.to_pyarrow().to_pylist() async for part in parts])
        status = (await vast.status())["catalog"]
        plan = str(await vast.explain(NEEDLE))
        groups = await vast.summarize(by="#type", every="1d")
        found += [await vast.counts(""), str(await vast.schemas()), status, plan, groups.to_csv()]
    return found


def flip(path, bit):
    with path.open("r+b") as file:
        file.seek(bit // 8)
        (byte,) = file.read(1)
        file.seek(bit // 8)
        file.write(bytes([byte ^ 1 << bit % 8]))


async def try_flips(sound, folder, number, seed):
    """Flip one bit after the other, each in a sound copy; return what was wrong."""
    path = folder / "test.db"
    shutil.copytree(sound, path)
    truth = await answers(path)
    files = sorted(each for each in path.rglob("*") if each.is_file())
    content = {file: file.read_bytes() for file in files}
    draw = random.Random(seed)  # noqa: S311 - it chooses tests
    wrong, errors = [], 0
    for _ in range(number):
        # Each kind of file, however large the others are.
        file = draw.choice(draw.choice([[f for f in files if f.suffix == s] for s in SUFFIXES]))
        bit = draw.randrange(8 * len(content[file]))
        flip(file, bit)
        try:
            if await answers(path) != truth:
                wrong.append((file.name, bit))
        except VastlabError as error:
            errors += 1
            if file.name not in str(error):
                wrong.append((file.name, bit, str(error)))
        file.write_bytes(content[file])
    assert await answers(path) == truth
    return wrong, errors


SUFFIXES = (".parquet", ".json")


async def test_no_flipped_bit_gives_a_wrong_answer(sound, tmp_path):
    """Every answer is right, or an error that names the file."""
    seed = uuid4().int
    wrong, errors = await try_flips(sound, tmp_path, 40, seed)
    assert not wrong, f"with seed {seed}"
    assert errors > 0


@pytest.mark.full
@pytest.mark.timeout(1800)
async def test_no_flipped_bit_of_many_gives_a_wrong_answer(sound, tmp_path):
    """The same for more bits; FLIPS is their number."""
    seed, number = uuid4().int, int(os.environ.get("FLIPS", "300"))
    wrong, errors = await try_flips(sound, tmp_path, number, seed)
    numbers = {"seed": seed, "flips": number, "errors": errors, "wrong": len(wrong)}
    sys.stdout.write(f"\n{json.dumps(numbers)}\n")
    assert not wrong, f"with seed {seed}"
    assert errors > number / 10  # the others are in places that no answer depends on

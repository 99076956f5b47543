"""Folders of links: they are kept for the next question, bounded, and never empty unnoticed."""

from __future__ import annotations

import gc
import os
import shutil
from pathlib import Path

import pytest

from vastlab.nodes import links as links_module
from vastlab.nodes.links import Links


@pytest.fixture
def paths(tmp_path):
    found = [str(tmp_path / f"{number}.parquet") for number in range(4)]
    for path in found:
        Path(path).write_text(path)
    return found


def test_the_same_files_have_the_same_folder(paths):
    """The engine remembers what it has read of a path."""
    links = Links()
    with links.path_of(paths) as first:
        assert sorted(path.read_text() for path in Path(first).iterdir()) == paths
    with links.path_of(paths) as again, links.path_of(paths[:2]) as other:
        assert first == again != other
    with links.path_of(paths[:1]) as alone:
        assert alone == paths[0]


def test_nothing_is_left_behind(paths):
    """Neither folders beyond the bound, nor any once the engine is gone."""
    links = Links()
    with links.path_of(paths) as path:
        root = Path(path).parent
    del links
    gc.collect()
    assert not root.exists()


def test_few_folders_are_kept(paths, monkeypatch):
    """The oldest one goes, but none that is in use."""
    monkeypatch.setattr(links_module, "_MOST", 1)
    links = Links()
    with links.path_of(paths) as first:
        with links.path_of(paths[:2]) as second:
            assert os.path.isdir(first)
        with links.path_of(paths[:3]):
            assert os.path.isdir(first)
            assert not os.path.isdir(second)


def test_a_folder_that_was_cleaned_up_is_made_again(paths):
    """And where that happens while it is read, what was read does not count."""
    links = Links()
    with links.path_of(paths) as path:
        pass
    shutil.rmtree(Path(path).parent)
    with links.path_of(paths) as path:
        assert len(os.listdir(path)) == len(paths)
    with pytest.raises(OSError, match="links are missing"), links.path_of(paths) as path:
        os.unlink(Path(path) / "0.parquet")

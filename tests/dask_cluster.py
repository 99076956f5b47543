"""A Dask cluster of two processes, which is started when a test first needs it."""

from __future__ import annotations

import asyncio
import functools
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dask

import vastlab
from vastlab import demo
from vastlab.client import VAST
from vastlab.store.database import Database

PATIENT = {"distributed.deploy.lost-worker-timeout": "10 minutes"}
"""Dask starts a worker that died again, unless a busy machine takes longer for it than this."""


@functools.cache
def client() -> Any:
    """Return a client of the cluster of this process."""
    dask.config.set(PATIENT)
    return vastlab.local_cluster(2)


def endpoint(place: Path | str) -> str:
    """Return the endpoint of a database that the cluster reads."""
    return f"dask://{client().scheduler.address.partition('://')[2]}/{place}"


def demo_database(folder: Path, events: int) -> Path:
    """Make a database with every schema of the demo, in two files for most of them."""
    database = Database.create(folder / "events.db")
    for seed in (1, 2):
        database.add(demo.batches(events, seed=seed))
    return database.path


def lead_to(environment: Mapping[str, str]) -> None:
    """Give the workers what they need to reach an object store, as a deployment would."""
    client().run(lambda: os.environ.update(environment))


def close(vast: VAST) -> None:
    """Close a client, also where a loop is running."""
    closing = threading.Thread(target=lambda: asyncio.run(vast.aclose()))
    closing.start()
    closing.join()


def stop() -> None:
    """Stop the cluster."""
    if client.cache_info().currsize:
        client().close()
        client.cache_clear()

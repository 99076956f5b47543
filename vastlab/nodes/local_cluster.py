"""A Dask cluster on this machine."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

from vastlab._optional import import_optional
from vastlab._text import plain
from vastlab.errors import NodeError, UsageError

if TYPE_CHECKING:
    import distributed

__all__ = ["local_cluster"]


def local_cluster(workers: int = 2, **options: Any) -> distributed.Client:
    """Start a Dask cluster on this machine.

    Whoever reaches its port, which is open on this machine only, can run code as you; on a machine
    that you share, pass ``security=True``, which needs the package cryptography. A script that
    calls this needs the guard ``if __name__ == "__main__":``, since the workers import it.

    Parameters
    ----------
    workers
        How many processes, of one thread each.
    options
        More arguments for `distributed.Client`, such as ``memory_limit="4GiB"``.

    Returns
    -------
    distributed.Client
        A context manager that ends the cluster; `connect` takes it as ``cluster``.

    Raises
    ------
    UsageError
        Dask is not installed, or there would be no worker.
    NodeError
        The cluster did not start, as where its port is in use.

    Examples
    --------
    >>> import vastlab
    >>> def main():
    ...     with vastlab.local_cluster(2) as cluster:
    ...         with vastlab.connect("demo:", cluster=cluster) as vast:
    ...             return vast.count("resp_p == 443")
    >>> main()  # doctest: +SKIP
    15069
    """
    if not isinstance(workers, int) or workers < 1:
        raise UsageError(f"a cluster needs a worker, got workers={workers!r}")
    settings: dict[str, Any] = {
        "n_workers": workers,
        "threads_per_worker": 1,
        "host": "127.0.0.1",
        "dashboard_address": "127.0.0.1:0",
        # The first module, since the first question would wait for its imports.
        "preload": ["vastlab.nodes.cluster.scanner", __name__],
        "set_as_default": False,
    }
    distributed = import_optional("distributed", extra="cluster")
    try:
        return distributed.Client(**(settings | options))
    except (RuntimeError, OSError) as error:
        cause = error.__cause__ or error
        raise NodeError(
            f"the cluster did not start: {plain(' '.join(str(cause).split())[:300])}",
            hint='a script needs the guard `if __name__ == "__main__":`; a port must be free',
        ) from error


def dask_setup(worker: object) -> None:
    """Let a worker go on at an interrupt, which a terminal sends to all processes; Dask calls it.

    The cluster ends its workers.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)

"""The vastlab database: time-sorted Parquet files under numbered manifest generations.

::

    manifest.json                                    the format's version
    generations/000000042.json                       what changed; see `vastlab.store.manifest`
    data/zeek.conn/<fingerprint>/<time>-<id>.parquet one column per leaf, and `#import_time`
    staging/<id>/                                    files of an import in progress

Readers do not lock. If two writers try to create the same generation, one of them tries again.
"""

from __future__ import annotations

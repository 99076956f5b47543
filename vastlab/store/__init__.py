"""The vastlab database: time-sorted Parquet files under numbered manifest generations.

An import is there whole or not at all. What a query reads is compared with checksums, unless
``connect(..., verify=False)`` or ``vastlab.verify`` in the user's ``vast.yaml`` says otherwise.
``vastlab check`` reads every byte; with ``--repair`` it keeps what is whole, moves the rest to a
folder inside the database, and says what was lost. Small files are merged after imports, or all at
once by ``vastlab compact``. Databases of vastlab 1.0 are read, and get checksums with the next
write.

::

    manifest.json                                    the format's version
    generations/000000042.json                       what changed; see `vastlab.store.manifest`
    generations/000000042.zip                        all files as of then, as Parquet tables; only
                                                     of many files; see `vastlab.store.checkpoint`
    data/zeek.conn/<fingerprint>/<time>-<id>.parquet one column per leaf, and `#import_time`
    staging/<id>/                                    files of an import in progress

In an object store the keys are the same, without ``staging``, but with ``dropped``; see
`vastlab.store.bucket`.

Readers do not lock. If two writers try to create the same generation, one of them tries again.
"""

from __future__ import annotations

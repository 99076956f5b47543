"""A database in an object store, through obstore.

The protocol of `vastlab.store.manifest` holds: a generation is put with the condition that its name
is free. Data files are put before, under names that nothing else has. Before a commit drops files,
``dropped/<id>.json`` is put, which names them: no commit can name them again, so they are deleted
after the grace period of readers. Nothing else is deleted while a writer may still commit it, and
no clock says when that ends: what a failed import left stays until the owner of the bucket deletes
it. `check` names it.

``s3://`` is tested with moto's server, ``gs://`` and ``az://`` with small servers that speak as
those of Google and Microsoft do (`tests.fake_stores`). Not tested are the clouds themselves, and
credentials other than keys in the environment, such as those that a machine in a cloud gets.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import re
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from uuid import uuid4

import msgspec
import obstore
from obstore import exceptions
from obstore.store import AzureStore, GCSStore, S3Store

from vastlab.endpoints import ObjectStoreEndpoint
from vastlab.errors import ConfigError, LockedError, NodeError
from vastlab.store.place import Entry, Place, Staged

if TYPE_CHECKING:
    from obstore.store import ClientConfig, ObjectStore, RetryConfig

AT_ONCE = 8
"""How many requests pay off at the same time."""
_RETRIES: RetryConfig = {
    "max_retries": 6,
    "backoff": {
        "init_backoff": timedelta(milliseconds=100),
        "max_backoff": timedelta(seconds=2),
        "base": 2,
    },
    "retry_timeout": timedelta(seconds=60),
}
_IMPATIENT: RetryConfig = {"max_retries": 0, "retry_timeout": timedelta(seconds=3)}
_HURRY: ClientConfig = {"connect_timeout": "2s", "timeout": "3s"}
_ATTEMPTS = 3  # of requests whose answer broke off, which the store's client does not repeat
_DROPPED = "dropped"  # the folder of the lists of what commits have dropped
_COALESCED = 1 << 16  # bytes between two ranges that one request rather reads than a second is made

_T = TypeVar("_T")


class Bucket(Place):
    """What is below a prefix of a bucket; credentials come from the environment."""

    is_local = False

    def __init__(self, endpoint: ObjectStoreEndpoint) -> None:
        self._endpoint = endpoint
        self._store = _open(endpoint, _RETRIES)
        start = _VARIABLES[endpoint.scheme]
        self._has_credentials = any(
            name.startswith(start) and _CREDENTIALS.search(name) for name in os.environ
        )

    def __str__(self) -> str:
        return str(self._endpoint)

    def __repr__(self) -> str:
        return f"Bucket({str(self)!r})"

    def exists(self) -> bool:
        """Return True: a prefix exists as soon as something is below it."""
        return True

    def read(self, key: str) -> bytes:
        """Return the content of an object."""
        return self._ask(key, lambda path: obstore.get(self._store, path).bytes().to_bytes())

    def ranges(self, key: str, spans: Sequence[tuple[int, int]]) -> list[memoryview]:
        """Return parts of an object, each given by its position and its length."""
        if not spans:
            return []
        starts, lengths = zip(*spans, strict=True)

        def get(path: str) -> list[memoryview]:
            parts = obstore.get_ranges(
                self._store, path, starts=starts, lengths=lengths, coalesce=_COALESCED
            )
            return [memoryview(part) for part in parts]

        return self._ask(key, get)

    def stat(self, key: str) -> Entry:
        """Describe an object."""
        return self._entry(self._ask(key, lambda path: obstore.head(self._store, path)))

    def names(self, folder: str) -> list[str]:
        """Return the names of the objects and folders in a folder."""
        found = self._ask(folder, lambda path: obstore.list_with_delimiter(self._store, path))
        paths = [*found["common_prefixes"], *(each["path"] for each in found["objects"])]
        return [path.rstrip("/").rpartition("/")[2] for path in paths]

    def entries(self, folder: str) -> Iterator[Entry]:
        """Return the objects in a folder and in those below it, sorted."""

        def listed(path: str) -> list[Entry]:
            pages = obstore.list(self._store, path)
            return [self._entry(each) for page in pages for each in page]

        yield from sorted(self._ask(folder, listed), key=lambda entry: entry.key)

    def create(self, key: str, data: bytes, staging: Path) -> bool:
        """Put an object if its name is free."""
        try:
            self._ask(key, lambda path: obstore.put(self._store, path, data, mode="create"))
        except FileExistsError:
            # A request that was repeated finds what it has put the first time.
            return self.read(key) == data
        except NodeError as error:
            error.hint = "see with count whether the events were added before you try again"
            raise
        return True

    def replace(self, key: str, data: bytes, staging: Path) -> None:
        """Put an object."""
        self._ask(key, lambda path: obstore.put(self._store, path, data))

    def delete(self, key: str) -> None:
        """Delete an object, if it exists."""
        with contextlib.suppress(FileNotFoundError):
            self._ask(key, lambda path: obstore.delete(self._store, path))

    @contextlib.contextmanager
    def staging(self) -> Iterator[Path]:
        """Create a temporary folder on this machine."""
        with tempfile.TemporaryDirectory(prefix="vastlab-") as folder:
            yield Path(folder)

    def add(self, files: Collection[Staged]) -> None:
        """Put files under their names, which nothing else has."""

        def put(item: Staged) -> None:
            self._ask(item.key, lambda path: obstore.put(self._store, path, item.file))
            size = item.file.stat().st_size
            if self.stat(item.key).size != size:
                raise NodeError(f"{self.url(item.key)} has another size than what was written")

        try:
            with ThreadPoolExecutor(AT_ONCE) as pool:
                for _ in pool.map(put, files):
                    pass
        except NodeError as error:
            error.message += "; nothing was added"
            raise

    @contextlib.contextmanager
    def at_hand(self, key: str) -> Iterator[Path]:
        """Fetch an object."""
        with self.staging() as folder:
            path = folder / key.rpartition("/")[2]

            def fetch(name: str) -> None:
                with path.open("wb") as file:
                    for part in obstore.get(self._store, name).stream():
                        file.write(part)

            self._ask(key, fetch)
            yield path

    def move(self, key: str, new: str) -> None:
        """Copy an object, and delete it."""
        target = self._path_of(new)
        self._ask(key, lambda path: obstore.copy(self._store, path, target))
        self.delete(key)

    def touch(self, keys: Iterable[str]) -> None:
        """Put the list of what is dropped."""
        if listed := sorted(keys):
            data = json.dumps(listed).encode()
            name = f"{_DROPPED}/{uuid4().hex}.json"
            self._ask(name, lambda path: obstore.put(self._store, path, data))

    def loose(self, folder: str) -> Iterator[Entry]:
        """Return all objects: nothing shows which of them a writer has just put."""
        return self.entries(folder)

    def dropped(self, folder: str, before: float = math.inf) -> list[tuple[str, float]]:
        """Return what the lists name, and after it each list itself."""
        found: list[tuple[str, float]] = []
        for entry in self.entries(_DROPPED):
            if entry.modified >= before:
                continue
            with contextlib.suppress(FileNotFoundError, ValueError):  # another process deleted it
                keys = msgspec.json.decode(self.read(entry.key), type=list[str])
                held = [key for key in keys if key.startswith(f"{folder}/")]
                found += ((key, entry.modified) for key in (*held, entry.key))
        return found

    def withdraw(self, files: Collection[Staged], staging: Path, error: BaseException) -> None:
        """Delete what was put, if the commit was refused; else its generation may be there."""
        if isinstance(error, LockedError):
            with contextlib.suppress(OSError, NodeError):
                for item in files:
                    self.delete(item.key)

    def _ask(self, key: str, request: Callable[[str], _T]) -> _T:
        """Make a request.

        What is missing or exists already is an error as of files; other failures of the store are
        a `NodeError`, which shows no secrets.
        """
        if not self._has_credentials:
            self._require_credentials()
        path = self._path_of(key)
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return request(path)
            except (exceptions.BaseError, OSError) as error:
                if attempt == _ATTEMPTS or not _is_broken_off(error):
                    raise _error(error, self.url(key)) from None
                time.sleep(0.1 * attempt)
        raise AssertionError

    def _require_credentials(self) -> None:
        """Raise ConfigError if the machine gives none either, without trying for a minute."""
        try:
            obstore.head(_open(self._endpoint, _IMPATIENT, _HURRY), self._path_of("manifest.json"))
        except (exceptions.BaseError, OSError) as error:
            if _TOKEN_REQUEST.search(str(error)):
                scheme = self._endpoint.scheme
                raise ConfigError(
                    f"there are no credentials for {self}, neither in the environment nor from the "
                    "metadata service of a cloud",
                    hint=f"set {_EXAMPLES[scheme]}, or {_ANONYMOUS[scheme]} for a public bucket",
                ) from None
        self._has_credentials = True  # other errors are those of the request that follows

    def _path_of(self, key: str) -> str:
        prefix = self._endpoint.prefix
        return f"{prefix}/{key}" if prefix and key else prefix or key

    def _entry(self, found: obstore.ObjectMeta) -> Entry:
        start = len(self._endpoint.prefix) + 1 if self._endpoint.prefix else 0
        modified = found["last_modified"].timestamp()
        identity = f"{found['e_tag']}:{found['version']}:{modified}"
        return Entry(found["path"][start:], found["size"], modified, identity)


def _open(
    endpoint: ObjectStoreEndpoint, retries: RetryConfig, options: ClientConfig | None = None
) -> ObjectStore:
    kinds: dict[str, Callable[..., ObjectStore]] = {"s3": S3Store, "gs": GCSStore, "az": AzureStore}
    try:
        return kinds[endpoint.scheme](endpoint.bucket, retry_config=retries, client_options=options)
    except exceptions.BaseError as error:
        reason = _NOISE.sub("", str(error)).partition("error: ")[2]
        raise ConfigError(
            f"the environment does not say how to reach {endpoint}: {reason}",
            hint=f"its variables begin with {_VARIABLES[endpoint.scheme]}",
        ) from None


_VARIABLES = {"s3": "AWS_", "gs": "GOOGLE_", "az": "AZURE_"}
_EXAMPLES = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_KEY",
}
_ANONYMOUS = {scheme: f"{start}SKIP_SIGNATURE=true" for scheme, start in _VARIABLES.items()}
_CREDENTIALS = re.compile("KEY|TOKEN|SECRET|CREDENTIAL|SERVICE_ACCOUNT|SIGNATURE|SAS|EMULATOR")
_TOKEN_REQUEST = re.compile(r"token request|/latest/(api/token|meta-data)")


def _is_broken_off(error: Exception) -> bool:
    return type(error) is exceptions.GenericError and not _RETRIED.search(str(error))


_RETRIED = re.compile(r"after \d+ retries|status code: 4")
_DENIED = (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError, PermissionError)
_NO_BUCKET = ("NoSuchBucket", "ContainerNotFound", "The specified bucket does not exist")
_QUERY = re.compile(r"\?[^\s\")]*")  # of a URL; it may hold a token
_NOISE = re.compile(r"\s*Debug source:.*", re.DOTALL)
_TAG = re.compile(r"<[^>]*>")
_LONGEST = 200


def _error(error: Exception, url: str) -> OSError | NodeError:
    """Return the error to raise instead of one of obstore."""
    has_bucket = not any(text in str(error) for text in _NO_BUCKET)
    if isinstance(error, exceptions.NotFoundError | FileNotFoundError) and has_bucket:
        return FileNotFoundError(errno.ENOENT, "there is no such object", url)
    if isinstance(error, exceptions.AlreadyExistsError | FileExistsError):
        return FileExistsError(errno.EEXIST, "it exists already", url)
    if isinstance(error, _DENIED):
        return NodeError(
            f"the object store denies the access to {url}",
            hint="credentials come from the environment, such as AWS_ACCESS_KEY_ID, or from the "
            "configuration of the machine",
        )
    first, _, last = _NOISE.sub("", str(error)).partition(" - ")
    text = _TAG.sub(" ", _QUERY.sub("", last or first))
    reason = " ".join(text.split())[:_LONGEST]
    return NodeError(
        f"the object store failed at {url}: {reason}",
        hint="check the name of the bucket, the network and the variables of the environment, "
        "such as AWS_ENDPOINT_URL and AWS_REGION",
    )

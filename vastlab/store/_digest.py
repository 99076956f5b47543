"""A digest that can go on: logs grow, and reading gigabytes again for a new line is no answer."""

from __future__ import annotations

import hashlib

BLOCK = 1 << 20
_HEX = 64


class Digest:
    """A digest over bytes, by which content is recognised.

    It is a chain of SHA-256 over whole blocks, but for the last one or two blocks, which have
    a SHA-256 of their own. Whoever has the digest and these last bytes can go on from there,
    and comparing these bytes tells a file that grew from one that was replaced.

    Examples
    --------
    >>> whole, first = Digest(), Digest()
    >>> whole.update(b"ab")
    >>> first.update(b"a")
    >>> more = Digest.resume(first.value(), b"a")
    >>> more.update(b"b")
    >>> more.value() == whole.value()
    True
    """

    def __init__(self) -> None:
        self._chain = bytes(32)
        self._rest = bytearray()

    @classmethod
    def resume(cls, value: str, rest: bytes) -> Digest | None:
        """Go on after `value`, given what `rest_start` asks for; None if it is not the same."""
        digest = cls()
        digest._chain = bytes.fromhex(value[:_HEX])
        digest._rest += rest
        return digest if digest.value() == value else None

    def update(self, data: bytes) -> None:
        """Take more bytes."""
        self._rest += data
        while len(self._rest) >= 2 * BLOCK:
            chain = hashlib.sha256(self._chain)
            with memoryview(self._rest)[:BLOCK] as block:
                chain.update(block)
            self._chain = chain.digest()
            del self._rest[:BLOCK]

    def value(self) -> str:
        """Return the digest of what came so far, in hexadecimal."""
        return self._chain.hex() + hashlib.sha256(self._rest).hexdigest()


def rest_start(size: int) -> int:
    """Return where the bytes begin that `Digest.resume` needs, for a digest over `size` bytes."""
    return max(0, size // BLOCK - 1) * BLOCK

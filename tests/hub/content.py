"""What a file of the hub consists of: bytes, a file on disk, or bytes that are computed on demand.

Every kind of content knows its size, gives any range of itself without holding the rest in
memory, and computes the two names that the hub gives to blobs once:

- the git blob id, sha1 of ``"blob <size>\\0" + data`` (regular files), and
- the sha256 (files kept in LFS), as in ``X-Linked-ETag`` (huggingface_hub
  ``file_download.py``, ``get_hf_file_metadata``).

Objects are immutable and may be shared by threads and repositories.
"""

from __future__ import annotations

import hashlib
import os
import random
import threading
from array import array
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

Buffer = bytes | bytearray | memoryview

BLOCK = 1 << 20  # bytes produced at a time
PAGE = 4096  # Synthetic stamps every page with its number
MASK64 = (1 << 64) - 1


class Content:
    """A sequence of `size` bytes that can be read by range."""

    size: int

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sha256: str | None = None
        self._git_oid: str | None = None

    def blocks(self, start: int, end: int) -> Iterator[Buffer]:
        """Yield bytes [start, end) in pieces of at most BLOCK bytes; each is valid until the next."""
        raise NotImplementedError

    def open_file(self) -> int | None:
        """Return a new descriptor of a file that holds exactly this content (for sendfile), or None."""
        return None

    def read(self, start: int = 0, end: int | None = None) -> bytes:
        return b"".join(bytes(b) for b in self.blocks(start, self.size if end is None else end))

    def _digest(self, hasher: hashlib._Hash) -> str:
        for block in self.blocks(0, self.size):
            hasher.update(block)
        return hasher.hexdigest()

    @property
    def sha256(self) -> str:
        with self._lock:
            if self._sha256 is None:
                self._sha256 = self._digest(hashlib.sha256())
            return self._sha256

    @property
    def git_oid(self) -> str:
        with self._lock:
            if self._git_oid is None:
                self._git_oid = self._digest(hashlib.sha1(b"blob %d\0" % self.size))
            return self._git_oid


class Data(Content):
    """Bytes held in memory."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.data = bytes(data)
        self.size = len(self.data)

    def blocks(self, start: int, end: int) -> Iterator[Buffer]:
        view = memoryview(self.data)
        for at in range(start, end, BLOCK):
            yield view[at : min(at + BLOCK, end)]


class File(Content):
    """A file on disk; it must not change while it is served."""

    def __init__(self, path: Path | str, sha256: str | None = None) -> None:
        super().__init__()
        self.path = Path(path)
        self.size = self.path.stat().st_size
        self._sha256 = sha256

    def blocks(self, start: int, end: int) -> Iterator[Buffer]:
        with open(self.path, "rb", buffering=0) as handle:
            handle.seek(start)
            while start < end:
                block = handle.read(min(BLOCK, end - start))
                if not block:
                    raise OSError(f"{self.path} is shorter than it was")
                start += len(block)
                yield block

    def open_file(self) -> int | None:
        return os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)


@lru_cache(maxsize=16)
def _random_block(seed: int) -> bytes:
    return random.Random(seed).randbytes(BLOCK)


class Synthetic(Content):
    """`size` pseudo random bytes, the same ones for the same `seed`, stored nowhere.

    One random block repeats, but each 4 KiB page begins with its own number (mixed with the
    seed), so that no page of any two places or seeds is alike: bytes put at a wrong offset show.
    """

    def __init__(self, size: int, seed: int = 0, sha256: str | None = None) -> None:
        super().__init__()
        self.size = size
        self.seed = seed
        self._sha256 = sha256
        self._mix = (seed * 0x9E3779B97F4A7C15 + 0xD1B54A32D192ED03) & MASK64

    def blocks(self, start: int, end: int) -> Iterator[Buffer]:
        block = bytearray(_random_block(self.seed))
        view = memoryview(block)
        words = view.cast("Q")
        per_block = BLOCK // PAGE
        at = start
        while at < end:
            base = at - at % BLOCK
            first = base // PAGE
            mix = self._mix
            words[:: PAGE // 8] = memoryview(array("Q", [mix ^ p for p in range(first, first + per_block)]))
            stop = min(base + BLOCK, end)
            yield view[at - base : stop - base]
            at = stop


class Joined(Content):
    """Several contents one after the other (a safetensors header and its tensors)."""

    def __init__(self, parts: Sequence[Content]) -> None:
        super().__init__()
        self.parts = tuple(parts)
        self.size = sum(p.size for p in self.parts)

    def blocks(self, start: int, end: int) -> Iterator[Buffer]:
        base = 0
        for part in self.parts:
            low, high = max(start, base), min(end, base + part.size)
            if low < high:
                yield from part.blocks(low - base, high - base)
            base += part.size


def as_content(value: Content | bytes | str | Path) -> Content:
    """Bytes and str become Data (utf-8), a Path becomes File."""
    if isinstance(value, Content):
        return value
    if isinstance(value, Path):
        return File(value)
    if isinstance(value, str):
        return Data(value.encode())
    return Data(value)

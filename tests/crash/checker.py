"""What must hold of STORE and STATE once nobody uses them: the invariants K1 to K4 of index/README.md.

As a program: python3 tests/crash/checker.py STORE [STATE] prints what is wrong, one line each.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sqlite3
import struct
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

ETAG = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
COMMIT = re.compile(r"[0-9a-f]{40}")
REPO = re.compile(r"(models|datasets|spaces)--")
TEMPORARY = re.compile(r"\.weightfs-[0-9a-f]+-[0-9a-f]{16}\.tmp")
MASK = (1 << 64) - 1
ADOPTED = 1  # blob_state of index/catalog.h
WHOLE = (ADOPTED, 2)

# The bytes [start, end) of the blob with this etag, as the hub has them; None where it is not known.
Oracle = Callable[[str, int, int], bytes | None]


@dataclass
class Held:
    """A partial file: what its map says is held."""

    size: int
    boot: str
    synced: list[tuple[int, int]] = field(default_factory=list)
    unsynced: list[tuple[int, int]] = field(default_factory=list)

    def bytes(self, durable: bool = False) -> int:
        total = end = 0
        for start, stop in sorted(self.synced if durable else self.synced + self.unsynced):
            total += max(0, stop - max(start, end))
            end = max(end, stop)
        return total


@dataclass
class Found:
    """What there is, and what is wrong with it."""

    wrong: list[str] = field(default_factory=list)
    blobs: dict[tuple[str, str], int] = field(default_factory=dict)  # (repo folder, etag): size
    links: set[tuple[str, str]] = field(default_factory=set)  # (repo folder, path below snapshots)
    refs: dict[tuple[str, str], str] = field(default_factory=dict)  # (repo folder, name): commit
    trees: set[tuple[str, str]] = field(default_factory=set)  # (repo folder, commit)
    partial: dict[tuple[str, str], Held] = field(default_factory=dict)  # (instance, etag)
    adopted: set[str] = field(default_factory=set)  # etags that a catalogue calls whole, but not hashed yet


def hash_of(path: Path, etag: str) -> str:
    with path.open("rb") as f:
        if len(etag) == 64:
            return hashlib.file_digest(f, "sha256").hexdigest()
        digest = hashlib.sha1(b"blob %d\0" % os.fstat(f.fileno()).st_size)
        while part := f.read(1 << 20):
            digest.update(part)
        return digest.hexdigest()


class Checker:
    """Hashes each file once, as long as it does not change."""

    def __init__(self, store: Path, oracle: Oracle | None = None, rebooted: bool = False) -> None:
        """@rebooted: after a power loss, when only what was synced counts, and a map may be torn."""
        self.store, self.oracle, self.rebooted = store, oracle, rebooted
        self._hashed: dict[tuple[int, int, int], str] = {}

    def check(self, *states: Path) -> Found:
        found = Found()
        hub = self.store / "hub"
        for repo in sorted(hub.iterdir()) if hub.exists() else []:
            if repo.is_dir() and not repo.is_symlink() and REPO.match(repo.name):
                self._blobs(repo, found)
                self._links(repo, found)
                self._refs(repo, found)
                self._trees(repo, found)
        for map_ in sorted(self.store.glob("partial/*/*.map")):
            self._partial(map_, found)
        for state in states:
            self._catalogue(state, found)
        return found

    def _hash(self, path: Path, etag: str) -> str:
        st = path.stat()
        key = (st.st_ino, st.st_mtime_ns, st.st_size)
        if key not in self._hashed:
            self._hashed[key] = hash_of(path, etag)
        return self._hashed[key]

    def _blobs(self, repo: Path, found: Found) -> None:
        """K1"""
        for path in _children(repo / "blobs"):
            if TEMPORARY.fullmatch(path.name):
                continue
            if not ETAG.fullmatch(path.name) or not path.is_file():
                found.wrong.append(f"{path}: no name of a blob")
            elif self._hash(path, path.name) != path.name:
                found.wrong.append(f"{path}: {path.stat().st_size} bytes that do not have this hash")
            else:
                found.blobs[repo.name, path.name] = path.stat().st_size

    def _links(self, repo: Path, found: Found) -> None:
        """K4"""
        for folder, _, names in os.walk(repo / "snapshots"):
            for path in (Path(folder) / n for n in names):
                if TEMPORARY.fullmatch(path.name):
                    continue
                if not path.is_symlink():
                    found.wrong.append(f"{path}: no link")
                elif not path.exists():
                    found.wrong.append(f"{path}: the link leads nowhere")
                elif path.resolve().parent != (repo / "blobs").resolve():
                    found.wrong.append(f"{path}: the link leads elsewhere")
                else:
                    found.links.add((repo.name, path.relative_to(repo / "snapshots").as_posix()))

    def _refs(self, repo: Path, found: Found) -> None:
        """K4"""
        for folder, _, names in os.walk(repo / "refs"):
            for path in (Path(folder) / n for n in names):
                if TEMPORARY.fullmatch(path.name):
                    continue
                sha = path.read_bytes().decode(errors="replace")
                if not COMMIT.fullmatch(sha):
                    found.wrong.append(f"{path}: {sha[:60]!r} is no commit")
                elif not (repo / "snapshots" / sha).is_dir():
                    found.wrong.append(f"{path}: its snapshot is not there")
                else:
                    found.refs[repo.name, path.relative_to(repo / "refs").as_posix()] = sha

    def _trees(self, repo: Path, found: Found) -> None:
        """K4"""
        for path in _children(repo / "trees"):
            if TEMPORARY.fullmatch(path.name):
                continue
            try:
                tree = json.loads(path.read_bytes())
                whole = tree["format_version"] == 1 and all(f["size"] >= 0 for f in tree["files"].values())
            except (ValueError, KeyError, TypeError) as error:
                whole, tree = False, error
            if not whole or not COMMIT.fullmatch(path.stem):
                found.wrong.append(f"{path}: no whole listing: {str(tree)[:80]}")
            else:
                found.trees.add((repo.name, path.stem))

    def _partial(self, map_: Path, found: Found) -> None:
        """K3"""
        held = read_map(map_)
        if held is None:
            if not self.rebooted:
                found.wrong.append(f"{map_}: its header is not valid")
            return
        if self.rebooted:
            held.unsynced.clear()
        found.partial[map_.parent.name, map_.stem] = held
        data = map_.with_suffix("")
        if not data.exists():
            return  # a map without data holds nothing
        if data.stat().st_size != held.size and self.rebooted:
            return  # as good as no data
        if data.stat().st_size != held.size:
            found.wrong.append(f"{data}: {data.stat().st_size} bytes, of {held.size} that its map says")
            return
        with data.open("rb") as f:
            for start, end in held.synced + held.unsynced:
                if end > held.size:
                    found.wrong.append(f"{map_}: [{start}, {end}) lies beyond {held.size}")
                elif self.oracle and (right := self.oracle(map_.stem, start, end)) is not None:
                    f.seek(start)
                    if f.read(end - start) != right:
                        found.wrong.append(f"{data}: [{start}, {end}) is held and not what the hub has")

    def _catalogue(self, state: Path, found: Found) -> None:
        """K2, as far as the catalogue says what is complete; on a copy: looking must change nothing."""
        source = state / "catalogue.sqlite"
        if not source.exists():
            return
        with tempfile.TemporaryDirectory(prefix="weightfs-check-") as folder:
            for suffix in ("", "-wal"):
                if Path(f"{source}{suffix}").exists():
                    shutil.copy(f"{source}{suffix}", f"{folder}/c{suffix}")
            db = sqlite3.connect(f"{folder}/c")
            try:
                for (line,) in db.execute("PRAGMA integrity_check(3)"):
                    if line != "ok":
                        found.wrong.append(f"{source}: {line}")
                present = {(etag, size) for (_, etag), size in found.blobs.items()}
                if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'blob'").fetchone():
                    return
                for etag, size, blob_state, incarnation in db.execute("SELECT etag, size, state, incarnation FROM blob"):
                    if blob_state in WHOLE and (etag, size) not in present:
                        found.wrong.append(f"{source}: {etag} of {size} bytes is complete, and is not in the store")
                    if blob_state == ADOPTED:
                        found.adopted.add(etag)
                    if incarnation % 2 != (blob_state in WHOLE):
                        found.wrong.append(f"{source}: {etag}: incarnation {incarnation} in state {blob_state}")
            except sqlite3.DatabaseError as error:
                found.wrong.append(f"{source}: {error}")
            finally:
                db.close()


def _children(folder: Path) -> Iterator[Path]:
    yield from sorted(folder.iterdir()) if folder.is_dir() else ()


def _sum(data: bytes, seed: int = 0) -> int:
    value = seed ^ 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & MASK
    return value


def read_map(path: Path) -> Held | None:
    """The format of index/extent.c, read independently of it. None: not valid."""
    data = path.read_bytes()
    if len(data) < 512 or data[:8] != b"WFSEXTS\n":
        return None
    seed = struct.unpack_from("<Q", data, 504)[0]
    if _sum(data[:504]) != seed or data[24:96].rstrip(b"\0").decode() != path.stem:
        return None
    held = Held(struct.unpack_from("<Q", data, 16)[0], data[320:360].rstrip(b"\0").decode())
    for at in range(512, len(data) - 31, 32):
        start, end, flags, check = struct.unpack_from("<QQQQ", data, at)
        if _sum(data[at : at + 24], seed) != check:
            break
        (held.synced if flags & 1 else held.unsynced).append((start, end))
    return held


def main() -> int:
    found = Checker(Path(sys.argv[1])).check(*map(Path, sys.argv[2:]))
    for line in found.wrong:
        print(line)
    print(f"{len(found.blobs)} blobs, {len(found.links)} links, {len(found.refs)} refs, {len(found.trees)} trees, "
          f"{len(found.partial)} maps: {len(found.wrong)} wrong", file=sys.stderr)
    return 1 if found.wrong else 0


if __name__ == "__main__":
    sys.exit(main())

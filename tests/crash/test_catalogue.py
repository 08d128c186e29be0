"""A catalogue that is lost, cut, written over or another's, at the start and while the mount lives: K5, K6."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import Weightfs, edit_catalogue
from hub.content import Synthetic, as_content
from hub.hub import Hub
from test_lazy import wait_for

KIB = 1 << 10
pytestmark = pytest.mark.limit(300)


def flip(path: Path, rng: random.Random) -> None:
    data = bytearray(path.read_bytes())
    for _ in range(30):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def swap(path: Path, rng: random.Random) -> None:
    """Two files of one size change places: what no parser of SQLite can see, only a checksum."""
    a, b = (as_content(text).git_oid.encode() for text in ("a b", "c d"))
    path.write_bytes(path.read_bytes().replace(a, b"?" * 40).replace(b, a).replace(b"?" * 40, b))


DAMAGES: dict[str, Callable[[Path, random.Random], object]] = {
    "deleted": lambda path, rng: path.unlink(),
    "empty": lambda path, rng: os.truncate(path, 0),
    "cut": lambda path, rng: os.truncate(path, rng.randrange(1, path.stat().st_size)),
    "no database": lambda path, rng: path.write_bytes(b"precious\n" * 5000),
    "noise": lambda path, rng: path.write_bytes(rng.randbytes(100_000)),
    "flipped": flip,
    "two etags swapped": swap,
    "noise in the log": lambda path, rng: Path(f"{path}-wal").write_bytes(rng.randbytes(50_000)),
    "a log of nothing": lambda path, rng: (path.unlink(), Path(f"{path}-wal").write_bytes(rng.randbytes(5000))),
}


def fill(wfs: Weightfs, hub: Hub) -> dict[str, bytes]:
    model = Synthetic(700 * KIB, 3)
    hub.add_repo("model", "org/a").commit({"config.json": "{}", "sub/vocab.txt": "a b", "sub/merges.txt": "c d",
                                           "model.safetensors": model})
    files = {"config.json": b"{}", "sub/vocab.txt": b"a b", "sub/merges.txt": b"c d", "model.safetensors": model.read()}
    read_all(wfs, files)
    wait_for(lambda: len(list(wfs.stored("org/a").glob("blobs/[0-9a-f]*"))) == len(files))
    return files


def read_all(wfs: Weightfs, files: dict[str, bytes]) -> None:
    snapshot = wfs.snapshot("org/a")
    for path, right in files.items():
        assert (snapshot / path).read_bytes() == right, path


def start_and_read(wfs: Weightfs, start: Callable[[], object], files: dict[str, bytes]) -> None:
    """What is met only now, perhaps by a write, is said, and mended by the next start; a wrong byte is none of it."""
    before = len(wfs.log.read_text())
    start()
    try:
        read_all(wfs, files)
    except OSError:
        assert "some of it cannot be read" in wfs.log.read_text()[before:]
        wfs.stop()
        start()
        read_all(wfs, files)


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_between_two_runs(wfs: Weightfs, hub: Hub, rng: random.Random, damage: str) -> None:
    wfs.start()
    files = fill(wfs, hub)
    wfs.stop()
    for _ in range(3):
        DAMAGES[damage](wfs.state / "catalogue.sqlite", rng)
        start_and_read(wfs, wfs.offline, files)
        wfs.stop()
    start_and_read(wfs, wfs.start, files)
    assert hub.log.content_bytes(path="model.safetensors") == len(files["model.safetensors"]), "nothing was fetched again"


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_while_it_is_mounted(wfs: Weightfs, hub: Hub, rng: random.Random, damage: str) -> None:
    wfs.start()
    files = fill(wfs, hub)
    DAMAGES[damage](wfs.state / "catalogue.sqlite", rng)
    for _ in range(3):
        try:
            read_all(wfs, files)
        except OSError:
            pass  # what needs the lost rows is an error, never another file
    os.path.exists(wfs.mnt / "models/org/other")  # something new, which would be recorded
    wfs.status()
    wfs.kill()
    for _ in range(2):
        wfs.offline()
        try:
            read_all(wfs, files)
        except OSError:
            pass
        wfs.stop()
    start_and_read(wfs, wfs.start, files)


def test_of_a_newer_version(wfs: Weightfs, hub: Hub) -> None:
    wfs.start()
    fill(wfs, hub)
    wfs.stop()
    edit_catalogue(wfs.state / "catalogue.sqlite", "PRAGMA user_version = 99")
    before = (wfs.state / "catalogue.sqlite").read_bytes()
    with pytest.raises(AssertionError, match="has version 99 and this weightfs knows up to"):
        wfs.start()
    assert (wfs.state / "catalogue.sqlite").read_bytes() == before, "it is left alone"

"""Bytes come when they are read, and no others; a whole read ends in a verified blob."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from harness import Weightfs
from hub.content import Synthetic
from hub.hub import Hub

MIB = 1 << 20
BIG = 64 * MIB


@pytest.fixture
def big(hub: Hub) -> Synthetic:
    """A repository with a big file and a few small ones."""
    content = Synthetic(BIG, 7)
    hub.add_repo("model", "org/big").commit(
        {"config.json": "{}", "nested/tokenizer.json": '{"a": 1}', "model.safetensors": content}
    )
    return content


def sha256(path: Path) -> str:
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def big_bytes(hub: Hub) -> int:
    hub.log.settle()  # who has read the last byte is an instant before its count
    return hub.log.content_bytes(path="model.safetensors")


def wait_for(condition, seconds: float = 20) -> None:
    limit = time.monotonic() + seconds
    while True:
        is_over = time.monotonic() >= limit  # before the last look: this process may have stood still after it
        if condition():
            return
        assert not is_over, "it did not come to be"
        time.sleep(0.05)


def test_looking_fetches_nothing_of_a_big_file(wfs: Weightfs, hub: Hub, big: Synthetic) -> None:
    wfs.start()
    snapshot = wfs.snapshot("org/big")
    st = (snapshot / "model.safetensors").stat()
    assert st.st_size == BIG
    assert st.st_blocks == BIG // 512  # tar -S archives zeros where blocks are missing
    assert sorted(os.listdir(snapshot)) == ["config.json", "model.safetensors", "nested"]
    assert (snapshot / "config.json").read_text() == "{}"
    assert big_bytes(hub) == 0


def test_a_part_costs_about_that_part(wfs: Weightfs, hub: Hub, big: Synthetic) -> None:
    wfs.start()
    path = wfs.snapshot("org/big") / "model.safetensors"
    with path.open("rb", buffering=0) as f:
        assert f.read(4096) == big.read(0, 4096)
        os.lseek(f.fileno(), 40 * MIB, os.SEEK_SET)
        assert f.read(4096) == big.read(40 * MIB, 40 * MIB + 4096)
    time.sleep(1)  # what would come in the background
    assert big_bytes(hub) <= 3 * MIB


def test_a_whole_read_is_exact_and_ends_in_a_verified_blob(wfs: Weightfs, hub: Hub, big: Synthetic) -> None:
    wfs.start()
    path = wfs.snapshot("org/big") / "model.safetensors"
    assert sha256(path) == big.sha256
    blob = wfs.stored("org/big") / "blobs" / big.sha256
    wait_for(blob.exists)
    assert sha256(blob) == big.sha256
    assert (wfs.stored("org/big") / "snapshots").exists()
    link = next((wfs.stored("org/big") / "snapshots").iterdir()) / "model.safetensors"
    wait_for(link.is_symlink)
    assert os.readlink(link) == f"../../blobs/{big.sha256}"


def test_no_byte_is_asked_for_twice(wfs: Weightfs, hub: Hub) -> None:
    """But where a transfer seems slow, it is cut short for who waits for a byte far ahead in it, and what was on its
    way is lost; a machine that stood still for a moment is enough for that. Not three times in a row."""
    wfs.start()
    came: list[int] = []
    while BIG not in came:
        content = Synthetic(BIG, 100 + len(came))
        id_ = f"org/once{len(came)}"
        hub.add_repo("model", id_).commit({"model.safetensors": content})
        hub.log.reset()
        assert sha256(wfs.snapshot(id_) / "model.safetensors") == content.sha256
        wait_for((wfs.stored(id_) / "blobs" / content.sha256).exists)
        came.append(big_bytes(hub))
        assert BIG in came or len(came) < 3, came


def test_a_restart_continues_what_was_begun(wfs: Weightfs, hub: Hub, big: Synthetic) -> None:
    wfs.start("--complete", "never")
    with (wfs.snapshot("org/big") / "model.safetensors").open("rb") as f:
        f.seek(8 * MIB)
        first = f.read(16 * MIB)
    assert first == big.read(8 * MIB, 24 * MIB)
    wfs.stop()
    hub.log.settle()
    hub.log.reset()
    wfs.start()
    assert sha256(wfs.snapshot("org/big") / "model.safetensors") == big.sha256
    assert big_bytes(hub) <= BIG - 12 * MIB, "of 16 MiB that a reader had got nothing was fetched again"


def test_a_killed_daemon_keeps_what_had_arrived(wfs: Weightfs, hub: Hub, big: Synthetic) -> None:
    wfs.start("--complete", "never")
    with (wfs.snapshot("org/big") / "model.safetensors").open("rb") as f:
        f.read(24 * MIB)
    wfs.kill()
    hub.log.settle()
    hub.log.reset()
    wfs.start()
    assert sha256(wfs.snapshot("org/big") / "model.safetensors") == big.sha256
    assert big_bytes(hub) <= BIG - 20 * MIB, "of 24 MiB that a reader had got nothing was fetched again"


def test_small_files_come_along(wfs: Weightfs, hub: Hub, big: Synthetic) -> None:
    wfs.start()
    assert (wfs.snapshot("org/big") / "config.json").read_text() == "{}"
    tokenizer = next((wfs.stored("org/big") / "snapshots").iterdir()) / "nested" / "tokenizer.json"
    wait_for(tokenizer.exists)
    assert tokenizer.read_text() == '{"a": 1}'


def test_many_readers_of_one_file_share_its_transfers(wfs: Weightfs, hub: Hub, big: Synthetic) -> None:
    import concurrent.futures

    wfs.start()
    path = wfs.snapshot("org/big") / "model.safetensors"
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        sums = set(pool.map(sha256, [path] * 6))
    assert sums == {big.sha256}
    assert big_bytes(hub) <= BIG + BIG // 8, "it came once, but for what is lost where a slow transfer is cut short"


# In a process of its own: a page fault holds this interpreter, in which the hub would have to answer.
MMAP = """
import hashlib, mmap, sys
with open(sys.argv[1], "rb") as f, mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ) as m:
    for at in map(int, sys.argv[2:]):
        print(hashlib.sha256(m[at:at + 5000]).hexdigest())
"""


def test_mmap_gives_the_same_bytes(wfs: Weightfs, hub: Hub, big: Synthetic) -> None:
    wfs.start()
    places = (0, 50 * MIB + 123, 3 * MIB, BIG - 5000, 20 * MIB)
    done = subprocess.run([sys.executable, "-c", MMAP, str(wfs.snapshot("org/big") / "model.safetensors"),
                           *map(str, places)], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == [hashlib.sha256(big.read(at, at + 5000)).hexdigest() for at in places]


def test_the_plain_view_has_regular_files(wfs: Weightfs, hub: Hub, big: Synthetic) -> None:
    wfs.start()
    plain = wfs.mnt / "models/org/big"
    assert sorted(os.listdir(plain)) == ["config.json", "model.safetensors", "nested"]
    assert not (plain / "model.safetensors").is_symlink()
    inside_hub = wfs.snapshot("org/big") / "model.safetensors"
    assert (plain / "model.safetensors").stat().st_ino == inside_hub.stat().st_ino
    assert (plain / "nested/tokenizer.json").read_text() == '{"a": 1}'
    assert sha256(plain / "model.safetensors") == big.sha256


SHARDS = [f"model-{i:05}-of-00003.safetensors" for i in (1, 2, 3)]
SHARD = 24 * MIB


@pytest.fixture
def shards(hub: Hub) -> list[Synthetic]:
    """A model in three files, and one that only looks like a part of it."""
    contents = [Synthetic(SHARD, 20 + i) for i in range(3)]
    hub.add_repo("model", "org/shards").commit({**dict(zip(SHARDS, contents)), "model-00002-of-00002.bin": Synthetic(SHARD, 30)})
    return contents


def shard_bytes(hub: Hub) -> list[int]:
    hub.log.settle()
    return [hub.log.content_bytes(path=name) for name in SHARDS]


def test_who_reads_a_part_to_its_end_finds_the_next_one_there(wfs: Weightfs, hub: Hub, shards: list[Synthetic]) -> None:
    wfs.start()
    snapshot = wfs.snapshot("org/shards")
    # Who reads what is whole already brings nothing: so its end comes a little later than its reader gets there.
    hub.fault("latency", "content", path=SHARDS[0], range_from=SHARD - 4 * MIB, seconds=2)
    assert sha256(snapshot / SHARDS[0]) == shards[0].sha256
    wait_for((wfs.stored("org/shards") / "blobs" / shards[1].sha256).exists)
    assert shard_bytes(hub)[2] == 0, "the part behind the next one waits until that one is read"
    hub.log.reset()
    assert sha256(snapshot / SHARDS[1]) == shards[1].sha256
    assert shard_bytes(hub)[1] == 0
    assert hub.log.content_bytes(path="model-00002-of-00002.bin") == 0


@pytest.mark.parametrize(("complete", "length"), [("read", 100_000), ("touched", SHARD // 4), ("never", SHARD)])
def test_no_next_part_for_who_does_not_read_on(wfs: Weightfs, hub: Hub, shards: list[Synthetic], complete: str, length: int) -> None:
    wfs.start("--complete", complete)
    with (wfs.snapshot("org/shards") / SHARDS[0]).open("rb") as f:
        assert f.read(length) == shards[0].read(0, length)
    time.sleep(1)  # what would come in the background
    assert shard_bytes(hub)[1:] == [0, 0]

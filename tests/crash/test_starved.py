"""A daemon that is read while its calls fail: memory (starve.c), files and descriptors (record.c).

Whatever fails, a read ends in the right bytes or in an errno that says so, never "no such file"; the daemon lives,
others go on, and all heals once nothing fails any more. What each call below us can do has been swept in
tests/faults; here all parts run together, with libfuse and libcurl. STARVE_RUNS says how often memory fails (100;
"all": at each allocation of a reading and of a start once).
"""

from __future__ import annotations

import errno
import mmap
import os
import random
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from checker import Checker
from harness import Weightfs, clean_env
from hub.hub import Hub
from test_disk import KIB, MIB, TOOLS, add, wait_until_read

RUNS = os.environ.get("STARVE_RUNS", "100")
DEADLINES = ("--lookup-deadline", "5", "--read-deadline", "8")
OBJECTS = "weightfs,libsqlite3,libcurl,libfuse3"


class Control:
    """starve.c's struct control."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_bytes(bytes(32))
        with path.open("r+b") as f:
            self.map = mmap.mmap(f.fileno(), 32)

    def fail(self, first: int, every: int = 0) -> None:
        """The @first allocation from now on, and each so manieth after it."""
        struct.pack_into("<QQ", self.map, 0, 0, 0)
        struct.pack_into("<QQ", self.map, 16, 0, 0)
        struct.pack_into("<QQ", self.map, 0, first, every)

    @property
    def passes(self) -> int:
        return struct.unpack_from("<Q", self.map, 16)[0]

    @property
    def fired(self) -> int:
        return struct.unpack_from("<Q", self.map, 24)[0]

    def env(self) -> dict[str, str]:
        return clean_env(LD_PRELOAD=TOOLS / "crash-starve.so", STARVE_CONTROL=self.path, STARVE_OBJECTS=OBJECTS)


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Control]:
    if not (TOOLS / "crash-starve.so").exists():
        pytest.fail(f"{TOOLS}/crash-starve.so is not built")
    yield Control(tmp_path / "control")


def read_parts(wfs: Weightfs, id_: str, files: dict[str, bytes], told: set[int]) -> None:
    """By the names that clients use: a ref, a folder, a part of each file, all of it. Errors are told."""

    def may_fail(action: Callable[[], None]) -> None:
        try:
            action()
        except OSError as e:
            told.add(e.errno or 0)

    def look() -> None:
        assert set(os.listdir(wfs.snapshot(id_))) == {path.split("/")[0] for path in files}

    def read(path: str, right: bytes) -> None:
        with (wfs.mnt / "models" / id_ / path).open("rb", buffering=0) as f:
            middle = len(right) // 2
            part = os.pread(f.fileno(), 4096, middle)  # one that the kernel cuts where the second of two pages failed
            assert part and part == right[middle:middle + len(part)], path
            at = 0
            while part := os.pread(f.fileno(), MIB, at):
                assert part == right[at:at + len(part)], path
                at += len(part)
            assert at == len(right), path

    may_fail(look)
    for path, right in files.items():
        may_fail(lambda path=path, right=right: read(path, right))


def names(codes: set[int]) -> list[str]:
    return [errno.errorcode[c] for c in sorted(codes)]


class Sweep:
    """One daemon, and a repo for each run, so that it must be looked up and fetched."""

    def __init__(self, wfs: Weightfs, hub: Hub, rng: random.Random) -> None:
        self.wfs, self.hub, self.rng = wfs, hub, rng
        self.count = 0
        self.held = add(hub, "org/held", 1, 300 * KIB)
        hub.limits = dict.fromkeys(hub.limits, (1_000_000, 1_000_000))

    def run(self, begin: Callable[[], None], end: Callable[[], None], documented: set[int], what: str) -> None:
        self.count += 1
        id_ = f"org/new{self.count}"
        files = add(self.hub, id_, 10 + self.count, self.rng.randrange(1, MIB))
        told: set[int] = set()
        begin()
        read_parts(self.wfs, id_, files, told)
        end()
        assert told <= documented, f"{what}: {names(told)}\n{self.wfs.log.read_text()[-3000:]}"
        self.alive(what)
        wait_until_read(self.wfs, id_, files)
        wait_until_read(self.wfs, "org/held", self.held)
        print(f"{what}: {names(told)}")

    def alive(self, what: str) -> None:
        assert self.wfs.process is not None
        code = self.wfs.process.poll()
        assert code is None, f"{what}: it ended with {code}\n{self.wfs.log.read_text()[-3000:]}"

    def end(self) -> None:
        """All can be made whole in the end, and nothing is wrong with what is stored."""
        some = self.rng.sample(range(1, self.count + 1), min(self.count, 20))
        for i in some:
            self.wfs.command("pull", "--state", self.wfs.state, f"org/new{i}")
        self.wfs.stop()
        found = Checker(self.wfs.store).check(self.wfs.state)
        assert not found.wrong, "\n".join(found.wrong)
        for i in some:
            assert len([link for repo, link in found.links if repo == f"models--org--new{i}"]) == 3


@pytest.mark.limit(120 + (3600 if RUNS == "all" else int(RUNS) * 10))
def test_without_memory(wfs: Weightfs, hub: Hub, control: Control, rng: random.Random) -> None:
    sweep = Sweep(wfs, hub, rng)
    wfs.start(*DEADLINES, env=control.env())
    wait_until_read(wfs, "org/held", sweep.held)
    sweep.run(lambda: control.fail(0), lambda: None, set(), "nothing fails")
    total = control.passes
    runs = total if RUNS == "all" else int(RUNS)
    fired = 0
    for i in range(runs):
        # one alone, or from there on each so manieth: down to half of them
        first = 1 + i if RUNS == "all" else 1 + int((i + rng.random()) * total / runs)
        every = rng.choice((0, 0, 2, 3, 10, 50))
        sweep.run(lambda f=first, e=every: control.fail(f, e), lambda: control.fail(0), {errno.EIO, errno.ENOMEM},
                  f"allocation {first}, then each {every}th" if every else f"allocation {first}")
        fired += control.fired
    sweep.end()


@pytest.mark.limit(120 + (3600 if RUNS == "all" else int(RUNS) * 10))
def test_started_without_memory(wfs: Weightfs, hub: Hub, control: Control, rng: random.Random) -> None:
    """It starts all the same, or says why not; the next start finds nothing amiss."""
    files = add(hub, "org/new", 1, 300 * KIB)
    control.fail(0)
    wfs.start(env=control.env())
    total = control.passes
    wait_until_read(wfs, "org/new", files)
    wfs.stop()
    runs = total if RUNS == "all" else int(RUNS) // 2
    for i in range(runs):
        first = 1 + i if RUNS == "all" else 1 + int((i + rng.random()) * total / runs)
        control.fail(first, rng.choice((0, 0, 1, 7)))
        before = len(wfs.log.read_bytes()) if wfs.log.exists() else 0
        try:
            wfs.start(env=control.env())
            control.fail(0)
            wait_until_read(wfs, "org/new", files)
            wfs.stop()
        except AssertionError as e:
            assert "weightfs mount ended with 1:" in str(e), e
            said = wfs.log.read_bytes()[before:].decode()
            assert "weightfs: " in said, f"allocation {first}: it does not say why it did not start: {said}"
    control.fail(0)
    wfs.offline()
    wait_until_read(wfs, "org/new", files)
    wfs.stop()


# Calls that fail, each Nth; of these the daemon hears at any place.
RULES = ("open 24 /", "open 5 /", "read 5 /partial/", "write 28 /partial/", "write 5 /partial/", "write 5 /catalogue",
         "fsync 5 /catalogue", "read 5 /catalogue", "rename 5 /", "link 5 /", "mkdir 28 /", "symlink 28 /",
         "truncate 5 /")


@pytest.mark.limit(120 + len(RULES) * 40)
def test_without_files(wfs: Weightfs, hub: Hub, tmp_path: Path, rng: random.Random) -> None:
    rules = tmp_path / "rules"
    sweep = Sweep(wfs, hub, rng)
    wfs.start(*DEADLINES, env=clean_env(LD_PRELOAD=TOOLS / "crash-record.so", CRASH_FAIL=rules))
    wait_until_read(wfs, "org/held", sweep.held)

    def begin(rule: str) -> None:
        rules.with_suffix(".new").write_text(rule + "\n")
        rules.with_suffix(".new").rename(rules)

    for rule in RULES:
        for every in (1, 2, 3, 7, 20) if RUNS == "all" else rng.sample((2, 3, 7, 20), 2):
            sweep.run(lambda r=rule, n=every: begin(f"{r} {n}"), rules.unlink, {errno.EIO, errno.ENOSPC},
                      f"each {every}th {rule}")
    sweep.end()

"""The machinery of the fault matrix: cells, each a fault at a place, that run side by side on one mount.

A cell has a repository of its own, which its fault is limited to. What the cell waits for is taken down (a
Result); the tests look at it afterwards, so that a row per cell costs no time of its own.
"""

from __future__ import annotations

import concurrent.futures
import errno
import hashlib
import json
import os
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness import Weightfs
from hub.content import Synthetic
from hub.faults import Fault
from hub.hub import Hub
from hub.repos import Repo

ALL = os.environ.get("WEIGHTFS_TEST_FAULTS") == "all"
KIB, MIB = 1 << 10, 1 << 20
LOOKUP_DEADLINE = 10  # the default: for lookups and opens
READ_DEADLINE = 18  # instead of 15 minutes; longer than the 15 s after which a silent transfer is dropped
TOKEN = "hf_matrix"
AT_ONCE = 52  # cells on one mount: of unknown repos 60 may be looked up, then 5 a second

MODEL_SIZE = 20 * MIB  # longer than a range that is asked for where ranges go wrong
MIDDLE = 9 * MIB
PART = 4 * KIB
CONFIG = json.dumps({"hidden_size": list(range(400))})
NAMES = ["config.json", "model.safetensors", "vocab.txt"]


@dataclass(frozen=True)
class Place:
    """Where a fault strikes: the requests, and what a reader does that needs them."""

    what: str
    scope: dict[str, Any]
    knows: str  # what is known before: "nothing", "repo", "listing", "head" (the file's first bytes are held)
    act: str
    reads: bool = False  # it ends by the deadline of reads, not of lookups


PLACES = {
    "info": Place("the question whether the repo is there", {"on": "info"}, "nothing", "stat"),
    "page": Place("the listing's first page", {"on": "tree", "target": "*recursive=true"}, "repo", "list"),
    "page2": Place("the listing's second page", {"on": "tree", "target": "*cursor=*"}, "repo", "list"),
    "small": Place("where a small file is", {"on": "resolve", "path": "config.json"}, "listing", "small"),
    "body": Place("the bytes of a small file", {"on": "resolve-cache", "path": "config.json"}, "listing", "small"),
    "open": Place("where a big file is", {"on": "resolve", "path": "model.safetensors"}, "listing", "first"),
    "first": Place("the first range of a big file, of the CDN", {"on": "cdn"}, "listing", "first", True),
    "middle": Place("a range in its middle, of the CDN", {"on": "cdn", "range_from": MIDDLE - MIB}, "head", "middle",
                    True),
    "own": Place("a range of a file of the hub's own", {"on": "resolve-cache", "path": "vocab.txt"}, "listing", "own",
                 True),
}


@dataclass(frozen=True)
class Cell:
    place: str
    fault: str
    times: int | None  # None: always, until it is taken away
    ends: int  # 0: in the right bytes; else the errno

    def __str__(self) -> str:
        return f"{self.place}-{self.fault}-{'always' if self.times is None else 'once'}"


@dataclass
class Result:
    """What became of a cell."""

    code: int = 0  # errno of what the reader did; -1: wrong bytes
    seconds: float = 0.0
    hits: int = 0  # of the fault
    requests: int = 0  # for the cell's repository, while the fault was there
    beside: float = 0.0  # seconds of a read beside it that needs no network
    healed: int = 0  # errno of the first try after the fault was gone
    healing: float = 0.0
    again: int = 0  # errno once the hub's refusals are forgotten
    log: list[str] = field(default_factory=list)


class Bench:
    """The repository of a cell, and what is done with it."""

    def __init__(self, cell: Cell, number: int, hub: Hub, wfs: Weightfs) -> None:
        self.cell, self.hub, self.wfs = cell, hub, wfs
        self.id = f"cells/c{number}"
        # Never all of it comes, so nobody misses the true sum, which takes long.
        self.model = Synthetic(MODEL_SIZE, 1000 + number, sha256=hashlib.sha256(self.id.encode()).hexdigest())
        self.vocab = f"word {number} ".encode() * (24 * KIB)
        self.config = f'{{"cell": {number}}} {CONFIG}'.encode()
        self.repo: Repo = hub.add_repo("model", self.id)
        self.repo.commit({"config.json": self.config, "vocab.txt": self.vocab, "model.safetensors": self.model})
        self.oid = self.repo.resolve("main").oid
        self.snapshot = wfs.repo(self.id) / "snapshots" / self.oid
        self.fd: int | None = None

    # -- what a reader does; true: the right bytes --------------------------------------------

    def stat(self) -> bool:
        return stat.S_ISDIR(os.stat(self.wfs.repo(self.id)).st_mode)

    def list(self) -> bool:
        return sorted(os.listdir(self.snapshot)) == NAMES

    def small(self) -> bool:
        return (self.snapshot / "config.json").read_bytes() == self.config

    def own(self) -> bool:
        return (self.snapshot / "vocab.txt").read_bytes() == self.vocab

    def part(self, at: int) -> bool:
        if self.fd is None:
            self.fd = os.open(self.snapshot / "model.safetensors", os.O_RDONLY)
        return os.pread(self.fd, PART, at) == self.model.read(at, at + PART)

    def first(self) -> bool:
        return self.part(0)

    def middle(self) -> bool:
        return self.part(MIDDLE)

    def try_(self) -> tuple[int, float]:
        began = time.monotonic()
        try:
            code = 0 if getattr(self, PLACES[self.cell.place].act)() else -1
        except OSError as e:
            code = e.errno or -1
        return code, time.monotonic() - began

    # -- the cell's life ------------------------------------------------------------------------

    def prepare(self) -> None:
        knows = PLACES[self.cell.place].knows
        if knows == "nothing":
            return
        os.stat(self.wfs.repo(self.id))
        if knows != "repo":
            assert self.list()
        if knows == "head":
            assert self.part(0)

    def held_beside(self) -> float:
        """What is held of the very file answers while its middle is waited for."""
        time.sleep(1)
        began = time.monotonic()
        assert self.fd is not None
        os.posix_fadvise(self.fd, 0, PART, os.POSIX_FADV_DONTNEED)
        assert self.part(0)
        return time.monotonic() - began

    def run(self, fault: Fault) -> Result:
        result = Result()
        beside = concurrent.futures.ThreadPoolExecutor(1)
        waiting = beside.submit(self.held_beside) if self.cell.place == "middle" else None
        before = self.hub.log.count(repo=f"model:{self.id}")
        result.code, result.seconds = self.try_()
        result.requests = self.hub.log.count(repo=f"model:{self.id}") - before
        result.hits = fault.hits
        fault.remove()
        result.beside = waiting.result() if waiting else 0.0
        result.healed, result.healing = self.try_()
        result.again = result.healed
        limit = time.monotonic() + 15  # refusals are remembered for 10 s
        while result.again in (errno.EACCES, errno.ENOENT) and time.monotonic() < limit:
            time.sleep(0.5)
            result.again, _ = self.try_()
        result.log = [f"{r.method} {r.kind} {r.path} {r.range} {r.status} {r.faults} {r.error}"
                      for r in self.hub.log.records(repo=f"model:{self.id}")]
        beside.shutdown()
        if self.fd is not None:
            os.close(self.fd)
        return result


class Witness:
    """witness.py beside the cells: other files come, held ones are read, what is known is listed."""

    def __init__(self, hub: Hub, wfs: Weightfs, fresh: int = 150) -> None:
        contents = {f"{i}.bin": Synthetic(1_200_000, 100_000 + i) for i in range(fresh)}
        repo = hub.add_repo("model", "well/fresh")
        repo.commit(dict(contents))
        held = {"config.json": CONFIG, "held.bin": Synthetic(6 * MIB, 99_999)}
        hub.add_repo("model", "well/held").commit(dict(held))
        for id_ in ("well/fresh", "well/held"):
            assert os.listdir(wfs.snapshot(id_))
        wfs.command("pull", "--state", wfs.state, "well/held")
        place = wfs.snapshot("well/held")
        sums = {n: hashlib.sha256((place / n).read_bytes()).hexdigest() for n in held}
        assert sums["held.bin"] == held["held.bin"].sha256
        self.job = {
            "fresh": [[str(wfs.snapshot("well/fresh") / n), c.sha256] for n, c in contents.items()],
            "held": [[str(place / n), s] for n, s in sums.items()],
            "walk": [str(wfs.hub_cache), str(wfs.mnt / "models/well")],
        }

    def begin(self) -> None:
        self.process = subprocess.Popen([sys.executable, str(Path(__file__).with_name("witness.py"))],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdin
        self.process.stdin.write(json.dumps(self.job) + "\n")
        self.process.stdin.flush()

    def end(self, seconds: float = 60) -> dict[str, Any]:
        out, _ = self.process.communicate(timeout=seconds)
        return json.loads(out)


def run_cells(cells: Iterable[Cell], hub: Hub, wfs: Weightfs, make: Callable[[Hub, Cell, str], Fault]
              ) -> tuple[dict[Cell, Result], dict[str, Any]]:
    """Runs all cells at once. Returns what became of them, and what the witness says."""
    benches = [Bench(cell, i, hub, wfs) for i, cell in enumerate(cells)]
    witness = Witness(hub, wfs)
    for bench in benches:
        bench.prepare()
    faults = [make(hub, bench.cell, f"model:{bench.id}") for bench in benches]
    witness.begin()
    start = threading.Barrier(len(benches))

    def one(bench: Bench, fault: Fault) -> Result:
        start.wait()
        return bench.run(fault)

    with concurrent.futures.ThreadPoolExecutor(max(len(benches), 1)) as pool:
        results = list(pool.map(one, benches, faults))
    return {bench.cell: result for bench, result in zip(benches, results)}, witness.end()

"""All is held: reads of a complete file beside those of the same file on the disk, or in the peers' caches."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from harness import BINARY, clean_env

from .contenders import LIMIT, OURS, Mounted, Mounter, OurMount
from .place import FILE, Place
from .processes import Failed
from .rows import OURS as OUR_KEY
from .rows import FAILURES, Group, Row, interleave

NATIVE = "native"
RANDOM_READS = 50_000
OUR_RUNS = 15  # at least: these are short
VERBS: dict[str, tuple[str, str, tuple[int, ...]]] = {
    "read": ("whole", "read in order", ()),
    "mmap": ("mmap", "mmap, every page in order", ()),
    "random": ("random", "random reads of 4 KiB", (RANDOM_READS,)),
    "threads": ("threads", "4 threads on one descriptor", (4,)),
}
PLOTTED = {"read": "Second read of a whole file", "mmap": "Second read by mmap, every page"}
RATES = {"read": "MB/s", "mmap": "MB/s", "random": "1000/s", "threads": "MB/s"}


def rows_of(prefix: str, what: str, limit: str) -> list[Row]:
    plotted = PLOTTED if prefix == "warm" else {}
    return [Row(f"{prefix}-{name}", f"{what}: {title}", RATES[name], NATIVE, limit, True, plotted.get(name, ""))
            for name, (_, title, _) in VERBS.items()]


def take(place: Place, rows: dict[str, Row], prefix: str, key: str, path: Path, mounted: Mounted | None = None,
         inside: list[str] | None = None) -> None:
    """One sample of each row of `prefix` that is wanted."""
    for name, (verb, _, words) in VERBS.items():
        if row := rows.get(f"{prefix}-{name}"):
            cost = place.read(verb, path, *words, mounted=mounted, inside=inside)
            row.add(key, RANDOM_READS / 1e3 / cost.seconds if name == "random" else cost.count / 1e6 / cost.seconds)


def all_of(place: Place, rows: dict[str, Row], prefix: str, ours: OurMount, stored: Path, inside: list[str] | None = None,
           peers: dict[str, tuple[Mounted, Path]] | None = None, limit: Mounted | None = None) -> None:
    """We and the disk (and the limit) read once unmeasured, so that page caches are filled, then in turn; the peers after that."""
    path = ours.path(place.model(), FILE)
    each: dict[str, Callable[[], None]] = {
        OUR_KEY: partial(take, place, rows, prefix, OUR_KEY, path, ours, inside),
        NATIVE: partial(take, place, rows, prefix, NATIVE, stored),
    }
    if limit:
        each[LIMIT.key] = partial(take, place, rows, prefix, LIMIT.key, limit.path("", FILE), limit)
    place.read("whole", path, mounted=ours, inside=inside)
    place.read("whole", stored)
    interleave(place, rows, each, max(place.runs, OUR_RUNS), clear=False)
    theirs = {key: partial(take, place, rows, prefix, key, path, mounted) for key, (mounted, path) in (peers or {}).items()}
    interleave(place, rows, theirs, clear=False)


def pulled(place: Place) -> OurMount:
    """A mount whose store holds the model."""
    repo = place.model()
    ours = OURS.mount(place, repo)
    ours.weightfs.command("pull", "--state", ours.weightfs.state, repo, timeout=600)
    return ours


@contextmanager
def least(place: Place, stored: Path) -> Iterator[Mounted | None]:
    """A mount that passes the same file through and does nothing else, where that takes part."""
    mounted = LIMIT.mount_held(place, stored) if place.limit else None
    try:
        yield mounted
    finally:
        if mounted:
            mounted.stop()


def warm(place: Place, rows: dict[str, Row]) -> None:
    repo = place.model()
    ours = pulled(place)
    peers: dict[str, tuple[Mounted, Path]] = {}
    try:
        for mounter in place.peer_mounts():
            read_once(place, rows, mounter, repo, peers)
        with least(place, ours.stored(repo, FILE)) as limit:
            all_of(place, rows, "warm", ours, ours.stored(repo, FILE), peers=peers, limit=limit)
    finally:
        for mounted in [ours, *(m for m, _ in peers.values())]:
            mounted.stop()


def read_once(place: Place, rows: dict[str, Row], mounter: Mounter, repo: str, peers: dict[str, tuple[Mounted, Path]]) -> None:
    """A peer's mount that has read the whole file before, which is how it fills its cache."""
    mounted = None
    try:
        mounted = mounter.mount(place, repo)
        place.read("whole", mounted.path(repo, FILE), mounted=mounted)
        mounted.settle(repo, FILE)
        peers[mounter.key] = mounted, mounted.path(repo, FILE)
    except FAILURES as failure:
        for row in rows.values():
            row.failures[mounter.key] = str(failure)
        if mounted:
            mounted.stop()


def restart(place: Place, rows: dict[str, Row]) -> None:
    ours = pulled(place)
    ours.stop()
    again = OurMount(ours.weightfs.offline())
    try:
        stored = again.stored(place.model(), FILE)
        with least(place, stored) as limit:
            all_of(place, rows, "restart", again, stored, limit=limit)
    finally:
        again.stop()


class InNamespace(OurMount):
    """A daemon in a user namespace of its own: root there, but the kernel gives it no passthrough."""

    def __init__(self, held: OurMount) -> None:
        w = held.weightfs
        with w.log.open("ab") as log:
            w.process = subprocess.Popen(["unshare", "--user", "--map-root-user", "--mount", str(BINARY), *w.mount_args("--offline")],
                                         stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=clean_env())
        limit = time.monotonic() + 20
        while not (w.state / "control.sock").exists():
            if w.process.poll() is not None or time.monotonic() > limit:
                w.process.kill()
                w.process = None
                raise Failed(f"no mount in a user namespace: {w.log.read_text().strip().splitlines()[-1][:160]}")
            time.sleep(0.02)
        super().__init__(w)
        # What enters sees the mount; nobody else does.
        self.enter = ["nsenter", "--target", str(w.pid), "--user", "--mount", "--preserve-credentials", "--"]

    def abort(self) -> None:
        self.weightfs.process.kill()


def daemon(place: Place, rows: dict[str, Row]) -> None:
    """The second read of a complete file where the kernel does not do it alone."""
    held = pulled(place)
    held.stop()
    try:
        ours = InNamespace(held)
    except Failed as failure:
        for row in rows.values():
            row.failures[OUR_KEY] = str(failure)
        return
    try:
        all_of(place, rows, "daemon", ours, ours.stored(place.model(), FILE), inside=ours.enter)
    finally:
        ours.stop()


GROUPS = [
    Group("warm", partial(rows_of, "warm", "held, second read", "memory bandwidth; the kernel reads the store's file alone"), warm),
    Group("restart", partial(rows_of, "restart", "held, after a restart, offline", "as warm"), restart),
    Group("daemon", partial(rows_of, "daemon", "held, no passthrough, second read", "the kernel's page cache of FUSE, filled by the daemon"), daemon),
]

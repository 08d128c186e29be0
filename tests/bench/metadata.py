#!/usr/bin/env python3
"""Measures names and attributes: walks, large listings, many repos, start-up. Prints a table.

The hub is the local one (tests/hub) in a process of its own. Beside each figure stands the same work on
a plain folder where there is such a thing ("native"), or the number of requests: those that the hub
got and those that the kernel sent to the daemon. Nothing here passes or fails.

    WEIGHTFS_BIN=build/release/cli/weightfs tests/bench/metadata.py --only walk,large
"""

from __future__ import annotations

import argparse
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
os.environ.setdefault("WEIGHTFS_BIN", str(TESTS.parent / "build/release/cli/weightfs"))  # before harness looks
sys.path.insert(0, str(TESTS))
sys.path.insert(0, str(TESTS / "e2e"))

from harness import BINARY, Watchdog, Weightfs, clean_env  # noqa: E402

MANY = "many/files"  # the dataset of tests/hub/main.py --many


@dataclass
class Row:
    """One line of the table. @beside: what it is to be read with, or ""."""

    what: str
    figure: str
    beside: str = ""


@dataclass
class Options:
    runs: int = 3
    files: int = 5000
    entries: int = 100_000
    repos: int = 10_000
    blobs: int = 10_000
    only: tuple[str, ...] = ()


# ---- what is measured with -----------------------------------------------------------------


class HubProcess:
    """tests/hub/main.py in a process of its own, and its control port."""

    def __init__(self, *args: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(TESTS / "hub/main.py"), *args], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout
        said = json.loads(self.process.stdout.readline())
        self.endpoint, self.control = said["endpoint"], said["control"]

    def call(self, do: str, **args: object) -> dict:
        request = urllib.request.Request(self.control, json.dumps({"do": do, **args}).encode())
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def requests(self) -> int:
        """What was asked since the last reset."""
        return len(self.call("log", settle=0.2)["records"])

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)


class Peak:
    """The most anonymous memory that a daemon had while the block ran, in MiB."""

    def __init__(self, w: Weightfs) -> None:
        self.w, self.mib, self._over = w, 0.0, threading.Event()

    def _sample(self) -> None:
        while not self._over.is_set():
            self.mib = max(self.mib, self.w.rss_anon_kb() / 1024)
            self._over.wait(0.005)

    def __enter__(self) -> Peak:
        self._thread = threading.Thread(target=self._sample)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def seconds(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def ms(value: float) -> str:
    return f"{value * 1000:.1f} ms"


def ls(folder: Path) -> None:
    """What `ls -lR` does: every name, every attribute, every link."""
    subprocess.run(["ls", "-lR", str(folder)], stdout=subprocess.DEVNULL, check=True)


def paths_below(folder: Path) -> list[str]:
    return [os.path.join(at, name) for at, _, names in os.walk(folder) for name in names]


def stat_all(paths: list[str]) -> None:
    for path in paths:
        os.stat(path)


def absent_all(paths: list[str]) -> None:
    for path in paths:
        if os.path.lexists(path + ".no"):
            raise AssertionError(path)


def kernel_requests(w: Weightfs) -> int:
    return int(w.status()["mount"]["requests"])


def drop_caches() -> bool:
    """Has the kernel forget names and attributes, of all file systems; True where we may."""
    try:
        Path("/proc/sys/vm/drop_caches").write_text("2")
    except OSError:
        return False
    return True


def until_ready(w: Weightfs, *options: str) -> float:
    """Starts the daemon and returns the seconds until it says READY=1."""
    with tempfile.TemporaryDirectory() as scratch, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        address = f"{scratch}/notify"
        sock.bind(address)
        sock.settimeout(120)
        said: list[float] = []

        def listen() -> None:
            while b"READY=1" not in sock.recv(4096):
                pass
            said.append(time.perf_counter())

        thread = threading.Thread(target=listen)
        thread.start()
        began = time.perf_counter()
        w.start(*options, env=clean_env(NOTIFY_SOCKET=address), seconds=120)
        thread.join()
        return said[0] - began


class Bench:
    """Daemons in one scratch folder, and the rows so far."""

    def __init__(self, base: Path, options: Options) -> None:
        self.base, self.options = base, options
        self.watchdog = Watchdog(3600)
        self.rows: list[Row] = []
        self.count = 0

    def row(self, what: str, figure: str, beside: str = "") -> None:
        self.rows.append(Row(what, figure, beside))
        print(f"{what:<56} {figure:>12}   {beside}", flush=True)

    def daemon(self, endpoint: str | None) -> Weightfs:
        """One that is not started, with a store of its own."""
        self.count += 1
        return Weightfs(self.base / f"run{self.count}", endpoint, self.watchdog)

    def timed(self, w: Weightfs, what: str, action: Callable[[], object], beside: str = "") -> float:
        """One row: the time, and how many requests the kernel sent meanwhile."""
        before = kernel_requests(w)
        spent = seconds(action)
        sent = kernel_requests(w) - before
        self.row(what, ms(spent), ", ".join(x for x in (beside, f"{sent} kernel requests") if x))
        return spent


# ---- the cases -----------------------------------------------------------------------------


def plain_folder(base: Path, source: Path) -> Path:
    """A folder as an ordinary cache has it, with the names and links of @source: blobs/ and the snapshot."""
    repo = base / "plain"
    blobs, snapshot = repo / "blobs", repo / "snapshots" / source.name
    blobs.mkdir(parents=True)
    for at, _, names in os.walk(source):
        folder = snapshot / os.path.relpath(at, source)
        folder.mkdir(parents=True)
        for name in names:
            target = os.readlink(os.path.join(at, name))
            (blobs / os.path.basename(target)).touch()
            os.symlink(target, folder / name)
    return snapshot


def walk(bench: Bench) -> None:
    """ls -lR and stat of a few thousand files, cold, after the kernel forgot them, and warm."""
    files = bench.options.files
    hub = HubProcess("--many", str(files))
    figures: dict[str, list[float]] = {}
    note = figures.setdefault
    native: Path | None = None
    try:
        for run in range(bench.options.runs):
            hub.call("reset_log")
            w = bench.daemon(hub.endpoint).start()
            note("cold", []).append(seconds(lambda: ls(w.snapshot(MANY, type_="datasets"))))
            asked, sent = hub.requests(), kernel_requests(w)
            snapshot = w.snapshot(MANY, type_="datasets")
            if native is None:
                native = plain_folder(bench.base, snapshot)
                native_paths = paths_below(native)
            before = kernel_requests(w)
            note("warm", []).append(seconds(lambda: ls(snapshot)))
            note("warm requests", []).append(kernel_requests(w) - before)
            if drop_caches():
                before = kernel_requests(w)
                note("dropped", []).append(seconds(lambda: ls(snapshot)))
                note("dropped requests", []).append(kernel_requests(w) - before)
            paths = paths_below(snapshot)
            w.stop()
            w.start()
            before = kernel_requests(w)
            note("stat cold", []).append(seconds(lambda: stat_all(paths)))
            note("stat cold requests", []).append(kernel_requests(w) - before)
            before = kernel_requests(w)
            note("stat warm", []).append(seconds(lambda: stat_all(paths)))
            note("stat warm requests", []).append(kernel_requests(w) - before)
            plain = w.mnt / "datasets" / MANY
            note("plain view", []).append(seconds(lambda: ls(plain)))
            note("native ls", []).append(seconds(lambda: ls(native)))
            note("native stat", []).append(seconds(lambda: stat_all(native_paths)))
            w.stop()
    finally:
        hub.stop()
    mid = {key: statistics.median(values) for key, values in figures.items()}
    bench.row(f"ls -lR of {files} files, nothing known", ms(mid["cold"]),
              f"{asked} requests to the hub, {sent} kernel requests")
    if "dropped" in mid:
        bench.row("  after the kernel forgot them", ms(mid["dropped"]), f"{mid['dropped requests']:.0f} kernel requests")
    bench.row("  warm", ms(mid["warm"]), f"native {ms(mid['native ls'])}, {mid['warm requests']:.0f} kernel requests")
    bench.row("  in the plain view, first time", ms(mid["plain view"]))
    bench.row(f"stat of {files} files, daemon restarted", ms(mid["stat cold"]),
              f"{mid['stat cold requests']:.0f} kernel requests")
    bench.row("  warm", ms(mid["stat warm"]),
              f"native {ms(mid['native stat'])}, {mid['stat warm requests']:.0f} kernel requests")


def large(bench: Bench) -> None:
    """One repo with very many entries."""
    entries = bench.options.entries
    hub = HubProcess("--many", str(entries))
    try:
        hub.call("commit", type="dataset", id=MANY, ref="flat", files={f"flat/{i:06d}.txt": "x" for i in range(100)})
        w = bench.daemon(hub.endpoint).start()
        hub.call("reset_log")
        with Peak(w) as peak:
            snapshot = w.snapshot  # the ref, then the commit
            spent = seconds(lambda: snapshot(MANY, type_="datasets").stat())
        bench.row(f"repo of {entries} entries: first lookup", ms(spent),
                  f"{hub.requests()} requests to the hub, peak RssAnon {peak.mib:.1f} MiB")
        folder = snapshot(MANY, type_="datasets")
        bench.timed(w, "  ls -lR", lambda: ls(folder))
        bench.timed(w, "  ls -lR again", lambda: ls(folder))
        paths = paths_below(folder)
        some = random.Random(1).sample(paths, min(10_000, len(paths)))
        w.stop()
        w.start()
        bench.timed(w, f"  {len(some)} random stats, kernel caches empty", lambda: stat_all(some))
        bench.timed(w, f"  {len(some)} names that are not there", lambda: absent_all(some))
        bench.timed(w, "  and again", lambda: absent_all(some))
        blobs = w.repo(MANY, "datasets") / "blobs"
        bench.timed(w, "  names in blobs/", lambda: os.listdir(blobs))
        bench.row("  RssAnon after all of it", f"{w.rss_anon_kb() / 1024:.1f} MiB")
        w.stop()
        # the same listing out of the store, by a daemon whose catalogue is lost
        for file in w.state.glob("catalogue.sqlite*"):
            file.unlink()
        w.start()
        with Peak(w) as peak:
            spent = seconds(lambda: folder.stat())
        bench.row("  adopted from the store", ms(spent), f"peak RssAnon {peak.mib:.1f} MiB")
        w.stop()
    finally:
        hub.stop()


def make_repo(hub: Path, id_: str, files: dict[str, bytes], held: bool) -> None:
    """A repo as huggingface_hub leaves it in a cache."""
    sha = f"{abs(hash(id_)):040x}"[-40:]
    repo = hub / f"models--{id_.replace('/', '--')}"
    for sub in ("blobs", "refs", "trees", f"snapshots/{sha}"):
        (repo / sub).mkdir(parents=True)
    (repo / "refs/main").write_text(sha)
    listing = {}
    for number, (path, data) in enumerate(files.items()):
        etag = f"{number + 1:040x}"
        listing[path] = {"size": len(data), "blob_id": etag}
        if held:
            (repo / "blobs" / etag).write_bytes(data)
            (repo / "snapshots" / sha / path).symlink_to(f"../../blobs/{etag}")
    (repo / "trees" / f"{sha}.json").write_text(json.dumps({"format_version": 1, "files": listing}))


def wait_for(condition: Callable[[], bool], limit: float = 120) -> None:
    end = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)


def repos(bench: Bench) -> None:
    """Very many repos: found in the store, then known."""
    count = bench.options.repos
    w = bench.daemon(None)
    hub = w.store / "hub"
    names = [f"Org{i % 100}/Name{i}" for i in range(count)]
    for name in names:
        make_repo(hub, name, {"config.json": b"{}"}, True)
    ready = until_ready(w, "--offline")
    began = time.perf_counter()
    wait_for(lambda: len(os.listdir(w.hub_cache)) > count)
    listed = time.perf_counter() - began
    bench.row(f"{count} repos in the store: READY, catalogue empty", ms(ready), f"all listed {ms(listed)} later")
    w.stop()
    bench.row("  READY, catalogue filled", ms(until_ready(w, "--offline")))
    some = random.Random(1).sample(names, min(1000, count))
    bench.timed(w, "  ls hub/", lambda: os.listdir(w.hub_cache))
    bench.timed(w, "  ls hub/ again", lambda: os.listdir(w.hub_cache))
    bench.timed(w, "  ls -l hub/", lambda: subprocess.run(["ls", "-l", w.hub_cache], stdout=subprocess.DEVNULL, check=True))
    bench.timed(w, f"  refs/main of {len(some)} of them, first time",
                lambda: [(w.repo(name) / "refs/main").read_text() for name in some])
    bench.timed(w, "  again", lambda: [(w.repo(name) / "refs/main").read_text() for name in some])
    bench.row("  RssAnon after all of it", f"{w.rss_anon_kb() / 1024:.1f} MiB")
    w.stop()


def start(bench: Bench) -> None:
    """Start-up with an empty store and with a full one; adoption of a repo with very many small blobs."""
    count = bench.options.blobs
    for blobs in (0, count):
        w = bench.daemon(None)
        make_repo(w.store / "hub", "many/blobs", {f"file{i:06d}.txt": b"%d" % i for i in range(blobs)}, True)
        first = until_ready(w, "--offline")
        folder = w.repo("many/blobs")
        adopted = seconds(lambda: (folder / "refs/main").read_text())
        if blobs:
            bench.row(f"{blobs} blobs in a cache that is adopted", ms(adopted), "the first lookup in their repo")
        w.stop()
        again = statistics.median(restart(w) for _ in range(5))
        bench.row(f"READY with {blobs} blobs in the store", ms(again), f"the very first time {ms(first)}")


def restart(w: Weightfs) -> float:
    spent = until_ready(w, "--offline")
    w.stop()
    return spent


CASES: dict[str, Callable[[Bench], None]] = {"walk": walk, "large": large, "repos": repos, "start": start}


def run(options: Options) -> list[Row]:
    """Runs the cases and returns what was printed."""
    with tempfile.TemporaryDirectory(prefix="weightfs-metadata-") as scratch:
        bench = Bench(Path(scratch), options)
        for name, case in CASES.items():
            if not options.only or name in options.only:
                case(bench)
        return bench.rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3, help="runs of the walk; medians are printed")
    parser.add_argument("--files", type=int, default=5000, help="files of the walk")
    parser.add_argument("--entries", type=int, default=100_000, help="entries of the large repo")
    parser.add_argument("--repos", type=int, default=10_000, help="repos in the store")
    parser.add_argument("--blobs", type=int, default=10_000, help="small blobs in the store")
    parser.add_argument("--only", default="", help=f"some of {','.join(CASES)}")
    args = parser.parse_args()
    only = tuple(x for x in args.only.split(",") if x)
    if unknown := set(only) - set(CASES):
        parser.error(f"no such case: {', '.join(sorted(unknown))}; there are {', '.join(CASES)}")
    if not BINARY.exists():
        parser.error(f"{BINARY} is not built: cmake --preset release && cmake --build --preset release, or set WEIGHTFS_BIN")
    run(Options(args.runs, args.files, args.entries, args.repos, args.blobs, only))
    return 0


if __name__ == "__main__":
    sys.exit(main())

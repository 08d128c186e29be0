#!/usr/bin/env python3
"""Measures weightfs beside the physical limit or a peer, in the same run, and prints a table of ratios.

Every figure is a ratio of medians over interleaved runs: these say the same on a slow or busy machine.
The hub is the local one (tests/hub), in a process of its own. Nothing here passes or fails.
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
os.environ.setdefault("WEIGHTFS_BIN", str(TESTS.parent / "build/release/cli/weightfs"))  # before harness looks
sys.path.insert(0, str(TESTS))
sys.path.insert(0, str(TESTS / "e2e"))

from harness import Watchdog, Weightfs  # noqa: E402

MIB = 1 << 20
REPO = "bench/model"


class HubProcess:
    """tests/hub/main.py serving one folder, and its control port."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(TESTS / "hub/main.py"), "--folder", f"{REPO}={folder}"], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout
        said = json.loads(self.process.stdout.readline())
        self.endpoint, self.control = said["endpoint"], said["control"]

    def call(self, do: str, **args: object) -> dict:
        request = urllib.request.Request(self.control, json.dumps({"do": do, **args}).encode())
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def content_bytes(self) -> int:
        """Bytes of repository files sent since the last reset."""
        time.sleep(0.5)
        answer = self.call("counters")
        return answer.get("counters", answer)["content_bytes"]

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)


def seconds(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def read_all(path: Path) -> None:
    with path.open("rb", buffering=0) as f:
        buffer = bytearray(4 * MIB)
        while f.readinto(buffer):
            pass


def touch_pages(path: Path) -> None:
    """Every page by mmap, in order, as a loader of safetensors does."""
    with path.open("rb") as f, mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ) as m:
        sum(m[:: 4096])


def random_reads(path: Path, count: int) -> None:
    rng = random.Random(1)
    size = path.stat().st_size
    with path.open("rb", buffering=0) as f:
        for _ in range(count):
            os.pread(f.fileno(), 4096, rng.randrange(size // 4096) * 4096)


def curl(url: str) -> None:
    subprocess.run(["curl", "-sfL", "-o", "/dev/null", url], check=True)


class Bench:
    def __init__(self, base: Path, hub: HubProcess, source: Path, runs: int) -> None:
        self.base, self.hub, self.source, self.runs = base, hub, source, runs
        self.watchdog = Watchdog(3600)
        self.rows: list[tuple[str, str, str]] = []
        self.count = 0

    def row(self, what: str, figure: str, against: str) -> None:
        self.rows.append((what, figure, against))
        print(f"{what:<44} {figure:>12}   {against}", flush=True)

    def fresh(self, *options: str) -> tuple[Weightfs, Path]:
        """A daemon on an empty store, and the path of the big file."""
        self.count += 1
        w = Weightfs(self.base / f"run{self.count}", self.hub.endpoint, self.watchdog)
        w.start(*options)
        return w, w.snapshot(REPO) / self.source.name

    def ratio(self, ours: Callable[[], float], theirs: Callable[[], float]) -> float:
        a, b = [], []
        for _ in range(self.runs):
            a.append(ours())
            b.append(theirs())
        return statistics.median(b) / statistics.median(a)

    def cold(self) -> float:
        w, path = self.fresh("--complete", "never")
        try:
            return seconds(lambda: read_all(path))
        finally:
            w.stop()

    def cold_rows(self) -> None:
        url = f"{self.hub.endpoint}/{REPO}/resolve/main/{self.source.name}"
        one = lambda: seconds(lambda: curl(url))  # noqa: E731
        self.row("cold read of the whole file, loopback", f"{self.ratio(self.cold, one):.2f}", "x curl")
        self.hub.call("far", rtt=0.02, rate=100e6)
        self.row("the same, 20 ms and 100 MB/s a connection", f"{self.ratio(self.cold, one):.2f}", "x curl (one connection)")
        self.hub.call("reset")

    def bytes_rows(self) -> None:
        for what, action in (
            ("header peek: bytes fetched", lambda p: p.open("rb", buffering=0).read(100_000)),
            ("1,000 random reads of 4 KiB: bytes fetched", lambda p: random_reads(p, 1000)),
        ):
            w, path = self.fresh("--complete", "never")
            self.hub.call("reset_log")
            action(path)
            self.row(what, f"{self.hub.content_bytes() / MIB:.1f} MiB", f"of {self.source.stat().st_size / MIB:.0f} MiB")
            w.stop()

    def warm_rows(self) -> None:
        w, path = self.fresh()
        w.command("pull", "--state", w.state, REPO, timeout=600)
        w.stop()
        w.offline()
        path = w.snapshot(REPO) / self.source.name
        stored = w.stored(REPO) / "snapshots" / path.parent.name / path.name
        how = "x native, passthrough" if w.status()["mount"]["passthrough"] else "x native, through the daemon"
        for what, action in (
            ("warm sequential read, after a restart", read_all),
            ("warm mmap, every page", touch_pages),
            ("warm random reads of 4 KiB", lambda p: random_reads(p, 20_000)),
        ):
            action(path), action(stored)
            value = self.ratio(lambda: seconds(lambda: action(path)), lambda: seconds(lambda: action(stored)))
            self.row(what, f"{value:.2f}", how)
        self.row("anonymous memory of the daemon", f"{w.rss_anon_kb() / 1024:.1f} MiB", "after these reads")
        w.stop()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=1024, help="MiB of the file (default 1024)")
    parser.add_argument("--runs", type=int, default=5, help="runs of each side (default 5)")
    parser.add_argument("--dir", type=Path, help="where stores are put (default: a temporary folder)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.dir) as scratch:
        folder = Path(scratch) / "source"
        folder.mkdir()
        source = folder / "model.safetensors"
        with source.open("wb") as f:
            for _ in range(options.size):
                f.write(os.urandom(MIB))
        hub = HubProcess(folder)
        bench = Bench(Path(scratch), hub, source, options.runs)
        try:
            bench.cold_rows()
            bench.bytes_rows()
            bench.warm_rows()
        finally:
            hub.stop()
            bench.watchdog.done()
    return 0


if __name__ == "__main__":
    sys.exit(main())

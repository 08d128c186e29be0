"""A container that asks for names without end: the hub hears few of them, and what is known is served meanwhile."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Weightfs
from hub.content import Synthetic
from hub.hub import Hub
from test_lazy import MIB, sha256, wait_for

# Loops over names that nobody knows, of every kind that may cost a question, until it is killed.
FLOOD = """
import itertools, os, sys
mnt, seed = sys.argv[1:]
print("ready", flush=True)
for i in itertools.count():
    for path in (f"hub/models--flood--r{seed}-{i}", f"hub/datasets--flood--r{seed}-{i}", f"models/x{seed}-{i}",
                 f"hub/models--org--known/refs/made-up-{seed}-{i}", f"hub/models--org--known/refs/pr/{i}",
                 f"hub/models--org--known/snapshots/{i:040x}", f"models/org/known@branch-{seed}-{i}",
                 f"models/org/known/file-{seed}-{i}", f"hub/models--org--known/blobs/{i:064x}"):
        try:
            os.stat(f"{mnt}/{path}")
        except OSError:
            pass
"""
# Looks names up in another container, and says how it went and how long it took.
NEIGHBOUR = """
import os, sys, time
for path in sys.argv[1:]:
    began = time.monotonic()
    try:
        os.stat(path)
        print("found", time.monotonic() - began)
    except OSError as e:
        print(e.strerror.replace(" ", "-"), time.monotonic() - began)
"""
SECONDS = 6
PROCESSES = 4


@contextlib.contextmanager
def flooded(wfs: Weightfs) -> Iterator[list[subprocess.Popen[str]]]:
    flood = [subprocess.Popen([sys.executable, "-c", FLOOD, str(wfs.mnt), str(n)], stdout=subprocess.PIPE, text=True)
             for n in range(PROCESSES)]
    try:
        for process in flood:
            assert process.stdout and process.stdout.readline() == "ready\n"
        yield flood
    finally:
        for process in flood:
            process.kill()
            process.wait(20)


def served(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as e:
        assert e.errno == errno.EIO, e  # no turn yet
        return False


def test_lookups_without_end(wfs: Weightfs, hub: Hub) -> None:
    """At most 60 strangers of a kind at once, then 5 a second: a repo costs one question, a revision two."""
    files = {f"{i}.bin": Synthetic(MIB, i) for i in range(4)}
    hub.add_repo("model", "org/known").commit({"config.json": "{}"} | files)
    hub.add_repo("model", "org/later").commit({"config.json": "{}"})
    wfs.start()
    assert (wfs.snapshot("org/known") / "config.json").read_text() == "{}"
    before = wfs.rss_anon_kb()
    hub.log.reset()

    def asked() -> int:
        return sum(hub.log.count(kind=kind) for kind in ("info", "refs", "tree"))

    started = time.monotonic()
    with flooded(wfs) as flood:
        for name, content in files.items():  # names, listings and bytes of what is known
            assert sha256(wfs.snapshot("org/known") / name) == content.sha256
        time.sleep(max(0, started + SECONDS - time.monotonic()))
        wait_for(lambda: asked() > 60 and wfs.status()["hub"]["not_asked"] > 100, 60)
    seconds = time.monotonic() - started
    assert hub.log.settle()
    assert asked() <= 3 * (60 + 5 * seconds) + 10, f"{asked()} questions in {seconds:.0f} s"
    assert wfs.rss_anon_kb() - before < 30 << 10, "what was refused is forgotten"
    assert re.search(r"\d+ lookups of unknown names .* --allow", wfs.command("status", wfs.mnt).stdout)
    log = wfs.log.read_text()
    named = re.findall(r"asked by pid (\d+), uid (\d+)", log)
    assert named and {int(pid) for pid, _ in named} & {p.pid for p in flood}
    assert {int(uid) for _, uid in named} == {os.getuid()}
    lines = [line for line in log.splitlines() if " warning " in line or " error " in line]
    assert len(lines) < 15 * (seconds + 10), "the log is not flooded"
    until = time.monotonic() + 30
    while not served(wfs.repo("org/later")):
        assert time.monotonic() < until, "who comes later is served"
        time.sleep(0.2)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a mount namespace")
def test_a_flood_of_one_container_leaves_others_their_share(wfs: Weightfs, hub: Hub) -> None:
    for name in ("known", *(f"later{i}" for i in range(5))):
        hub.add_repo("model", f"org/{name}").commit({"config.json": "{}"})
    wfs.start()
    assert wfs.snapshot("org/known").exists()
    with flooded(wfs):
        time.sleep(SECONDS)
        paths = [str(wfs.snapshot("org/known"))]
        paths += [str(wfs.repo(f"org/later{i}") / part) for i in range(5) for part in ("refs/main", "snapshots")]
        neighbour = ["unshare", "-m", sys.executable, "-c", NEIGHBOUR, *paths]
        done = subprocess.run(neighbour, capture_output=True, text=True, timeout=60, check=True)
        ends = [line.split() for line in done.stdout.splitlines()]
    assert len(ends) == len(paths)
    assert all(end == "found" for end, _ in ends), ends
    assert all(float(seconds) < 5 for _, seconds in ends), f"of the 10 s that a lookup may take: {ends}"


def test_lists_limit_a_flood(wfs: Weightfs, hub: Hub) -> None:
    hub.add_repo("model", "org/known").commit({"config.json": "{}"})
    wfs.start("--allow", "org/*")
    assert wfs.snapshot("org/known").exists()
    hub.log.reset()
    for i in range(500):
        assert not (wfs.hub_cache / f"models--flood--r{i}").exists()
    assert hub.log.count() == 0
    assert wfs.status()["hub"]["not_asked"] == 0

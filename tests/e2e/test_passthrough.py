"""Complete files are read by the kernel alone; what is being filled, through the daemon; never an error between."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Weightfs
from hub.content import Synthetic
from hub.hub import Hub
from test_lazy import BIG, MIB, MMAP, big, sha256, wait_for  # noqa: F401 (big is a fixture)

KERNEL = tuple(int(part) for part in os.uname().release.split(".")[:2])
pytestmark = pytest.mark.skipif(KERNEL < (6, 9) or os.geteuid() != 0, reason="needs Linux 6.9 and root")

READ = """
import hashlib, sys
with open(sys.argv[1], "rb") as f:
    print(hashlib.file_digest(f, "sha256").hexdigest())
"""


def complete(wfs: Weightfs) -> Path:
    """The path of a file all of which is held."""
    wfs.command("pull", "--state", wfs.state, "org/big")
    return wfs.snapshot("org/big") / "model.safetensors"


def test_status_says_so(wfs: Weightfs, hub: Hub, big: Synthetic) -> None:  # noqa: F811
    wfs.start()
    assert wfs.status()["mount"]["passthrough"] is True


def test_an_open_file_needs_no_daemon(wfs: Weightfs, hub: Hub, big: Synthetic) -> None:  # noqa: F811
    """Not even the first byte: the descriptor is opened, then the daemon stands still."""
    wfs.start()
    path = complete(wfs)
    with path.open("rb", buffering=0) as f:
        wanted = hashlib.sha256(big.read(5 * MIB, 5 * MIB + 4096)).hexdigest()
        program = "import hashlib, os, sys; print(hashlib.sha256(os.pread(int(sys.argv[1]), 4096, 5 << 20)).hexdigest())"
        os.kill(wfs.pid, signal.SIGSTOP)
        try:
            done = subprocess.run([sys.executable, "-c", program, str(f.fileno())], pass_fds=[f.fileno()],
                                  capture_output=True, text=True, timeout=20, check=True)
        finally:
            os.kill(wfs.pid, signal.SIGCONT)
        assert done.stdout.strip() == wanted


def test_reads_cost_the_daemon_nothing(wfs: Weightfs, hub: Hub, big: Synthetic) -> None:  # noqa: F811
    wfs.start()
    path = complete(wfs)
    before = wfs.status()["mount"]["requests"]
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", READ, str(path)], capture_output=True, text=True, timeout=60,
                              check=True)
        assert done.stdout.strip() == big.sha256
    done = subprocess.run([sys.executable, "-c", MMAP, str(path), "0", str(30 * MIB)], capture_output=True,
                          text=True, timeout=60, check=True)
    assert done.stdout.split() == [hashlib.sha256(big.read(a, a + 5000)).hexdigest() for a in (0, 30 * MIB)]
    assert wfs.status()["mount"]["requests"] - before < 100, "64 MiB took hundreds of requests before"


def test_after_a_restart(wfs: Weightfs, hub: Hub, big: Synthetic) -> None:  # noqa: F811
    wfs.start()
    complete(wfs)
    wfs.stop()
    wfs.offline()
    assert wfs.status()["mount"]["passthrough"] is True
    assert sha256(wfs.snapshot("org/big") / "model.safetensors") == big.sha256
    assert sha256(wfs.mnt / "models/org/big/model.safetensors") == big.sha256


def test_a_blob_that_completes_while_it_is_open(wfs: Weightfs, hub: Hub, big: Synthetic) -> None:  # noqa: F811
    """Descriptors from before read on, new ones are native at once, and nobody sees an error."""
    hub.fault("bandwidth", on="content", rate=60e6)
    wfs.start()
    path = wfs.snapshot("org/big") / "model.safetensors"
    failures: list[str] = []
    opens = [0]
    stop = threading.Event()

    def reopen(seed: int) -> None:
        at = (seed * 7 * MIB) % BIG
        while not stop.is_set():
            try:
                with path.open("rb", buffering=0) as f:
                    got = os.pread(f.fileno(), 8192, at)
                opens[0] += 1
                if got != big.read(at, at + 8192):
                    failures.append(f"wrong bytes at {at}")
            except OSError as e:
                failures.append(str(e))
            at = (at + 3 * MIB) % (BIG - 8192)

    threads = [threading.Thread(target=reopen, args=(i,)) for i in range(4)]
    with path.open("rb") as held:
        for t in threads:
            t.start()
        assert hashlib.file_digest(held, "sha256").hexdigest() == big.sha256
        wait_for((wfs.stored("org/big") / "blobs" / big.sha256).exists, 60)
        wait_for(lambda: not wfs.status()["fills"])  # its name is there before it counts as complete
        seen = opens[0]
        time.sleep(2)  # names of what is filling are kept for a second
        wait_for(lambda: opens[0] > seen + 100, 60)
        stop.set()
        for t in threads:
            t.join(30)
        held.seek(0)
        assert hashlib.file_digest(held, "sha256").hexdigest() == big.sha256
    assert not failures, failures[:5]
    before = wfs.status()["mount"]["requests"]
    assert sha256(path) == big.sha256
    assert wfs.status()["mount"]["requests"] - before < 50, "a new open is native"


def test_the_same_inode_number_before_and_after(wfs: Weightfs, hub: Hub, big: Synthetic) -> None:  # noqa: F811
    wfs.start("--complete", "never")
    path = wfs.snapshot("org/big") / "model.safetensors"
    before = path.stat().st_ino
    complete(wfs)
    time.sleep(1.1)
    assert path.stat().st_ino == before


def test_more_files_than_ids_are_kept(wfs: Weightfs, hub: Hub) -> None:
    hub.add_repo("model", "org/many").commit({f"{i}.txt": f"file {i}\n" for i in range(1500)})
    hub.limits = {"api": (10**6, 10**6), "resolvers": (10**6, 10**6)}
    wfs.start()
    wfs.command("pull", "--state", wfs.state, "org/many", timeout=100)
    snapshot = wfs.snapshot("org/many")
    for _ in range(2):
        for i in range(1500):
            assert (snapshot / f"{i}.txt").read_text() == f"file {i}\n"


@pytest.fixture
def overlays(tmp_path: Path) -> Iterator[list[Path]]:
    """An overlayfs, and an overlayfs on top of that one."""
    mounted: list[Path] = []

    def mount(type_: str, source: Path, target: Path, *options: str) -> None:
        target.mkdir(parents=True)
        done = subprocess.run(["mount", "-t", type_, *options, str(source), str(target)], capture_output=True, text=True,
                              check=False)
        if done.returncode != 0:
            pytest.skip(f"no {type_} can be mounted here: {done.stderr.strip()}")
        mounted.append(target)

    base = tmp_path / "layers"
    mount("tmpfs", Path("none"), base, "-o", "size=512m")
    lower = base / "bottom"
    lower.mkdir()
    for name in ("once", "twice"):
        upper, work = base / f"{name}-upper", base / f"{name}-work"
        upper.mkdir(), work.mkdir()
        mount("overlay", Path("none"), tmp_path / name, "-o", f"lowerdir={lower},upperdir={upper},workdir={work}")
        lower = tmp_path / name
    yield mounted[1:]
    for target in reversed(mounted):
        subprocess.run(["umount", "-l", str(target)], check=False, timeout=20)


@pytest.mark.parametrize("depth", [1, 2])
def test_a_store_on_overlayfs(wfs: Weightfs, hub: Hub, big: Synthetic, overlays: list[Path], depth: int) -> None:  # noqa: F811
    """On one layer it works; on two, which the kernel refuses, the daemon serves by itself and says why."""
    wfs.store = overlays[depth - 1] / "store"
    wfs.start()
    path = complete(wfs)
    before = wfs.status()["mount"]["requests"]
    assert sha256(path) == big.sha256
    mount = wfs.status()["mount"]
    if depth == 1:
        assert mount["passthrough"] is True
        assert mount["requests"] - before < 50
    else:
        assert mount["passthrough"] is False
        assert "stacked too deep" in mount["passthrough_reason"]
        assert "passthrough  no: the store is on a file system that is stacked too deep" in wfs.command(
            "status", wfs.mnt).stdout
    assert sha256(path) == big.sha256
    wfs.stop()

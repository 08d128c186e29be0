"""Reads that go through the daemon: few and large requests for who reads in order, small ones for who does not."""

from __future__ import annotations

import errno
import mmap
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from harness import Weightfs, mount_device
from hub.content import Synthetic
from hub.hub import Hub
from test_lazy import BIG, MIB, big, big_bytes, sha256  # noqa: F401 (big is a fixture)

BDI = Path("/sys/class/bdi")
pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not os.access(BDI, os.W_OK) or bool(os.statvfs(BDI).f_flag & os.ST_RDONLY),
                                reason="needs root and a writable /sys")

FAULT_IN_ORDER = """
import mmap, sys
with open(sys.argv[1], "rb") as f, mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ) as m:
    sum(m[::4096])
"""


def readahead_kb(wfs: Weightfs) -> Path:
    return BDI / f"0:{mount_device(wfs.mnt)}" / "read_ahead_kb"


def requests(wfs: Weightfs) -> int:
    return wfs.status()["mount"]["requests"]


def test_readahead_is_raised(wfs: Weightfs, hub: Hub) -> None:
    wfs.start()
    assert readahead_kb(wfs).read_text() == "1024\n"


def test_a_read_in_order_takes_one_request_a_megabyte(wfs: Weightfs, hub: Hub, big: Synthetic) -> None:  # noqa: F811
    wfs.start("--complete", "never")
    path = wfs.snapshot("org/big") / "model.safetensors"
    before = requests(wfs)
    assert sha256(path) == big.sha256
    assert requests(wfs) - before < 2 * BIG // MIB


def test_faults_in_order_take_one_request_a_megabyte(wfs: Weightfs, hub: Hub, big: Synthetic) -> None:  # noqa: F811
    wfs.start("--complete", "never")
    path = wfs.snapshot("org/big") / "model.safetensors"
    before = requests(wfs)
    subprocess.run([sys.executable, "-c", FAULT_IN_ORDER, str(path)], timeout=60, check=True)
    assert requests(wfs) - before < 2 * BIG // MIB


def test_reads_here_and_there_are_not_read_ahead(wfs: Weightfs, hub: Hub, big: Synthetic) -> None:  # noqa: F811
    wfs.start("--complete", "never")
    path = wfs.snapshot("org/big") / "model.safetensors"
    rng = random.Random(5)
    with path.open("rb", buffering=0) as f:
        for _ in range(40):
            at = rng.randrange(1, BIG // 4096) * 4096
            assert os.pread(f.fileno(), 4096, at) == big.read(at, at + 4096)
    assert big_bytes(hub) <= 40 * 68 * 1024, "4 KiB are asked for, not a megabyte"


def test_a_file_that_somebody_cut_is_an_error_and_nothing_worse(wfs: Weightfs, hub: Hub, big: Synthetic) -> None:  # noqa: F811
    """Large reads are answered from a mapping of the file: what is gone must neither end the daemon nor be zeros."""
    wfs.start("--complete", "never")
    path = wfs.snapshot("org/big") / "model.safetensors"
    with open(os.open(path, os.O_RDONLY | os.O_DIRECT), "rb", buffering=0) as f, mmap.mmap(-1, MIB) as buffer:
        assert os.preadv(f.fileno(), [buffer], 0) == MIB
        assert buffer[:] == big.read(0, MIB)
        (partial,) = wfs.store.glob(f"partial/*/{big.sha256}")
        for size in MIB - 100, MIB // 2:  # within its last page, and of whole pages
            os.truncate(partial, size)
            with pytest.raises(OSError) as raised:
                os.preadv(f.fileno(), [buffer], 0)
            assert raised.value.errno == errno.EIO
        assert os.preadv(f.fileno(), [memoryview(buffer)[:MIB // 2]], 0) == MIB // 2
        assert buffer[:MIB // 2] == big.read(0, MIB // 2)
    assert wfs.ready()

"""Signals while the hub lets one wait: those that only tell something break nothing off, the others do at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Weightfs
from hub.hub import Hub
from test_lazy import MIB, big, wait_for  # noqa: F401 (big is a fixture)
from test_stress import parked

# Says what stat(2), open(2) or read(2) gave. Handlers do nothing but be there.
ASKER = """
import ctypes, errno, os, signal, sys
action, path, *handled = sys.argv[1:]
for name in handled:
    signal.signal(getattr(signal, name), lambda *_: None)
fd = os.open(path, os.O_RDONLY) if action == "read" else -1
print("begins", flush=True)
try:
    if action == "read":
        os.readv(fd, [bytearray(4096)])
    elif action == "open":  # os.open() would try again
        if ctypes.CDLL(None, use_errno=True).open(os.fsencode(path), os.O_RDONLY) < 0:
            raise OSError(ctypes.get_errno(), "open")
    else:
        os.stat(path)
    print("ok")
except KeyboardInterrupt:
    print("KeyboardInterrupt")
except OSError as e:
    print(errno.errorcode[e.errno])
"""
HANDLED = ("SIGCHLD", "SIGWINCH", "SIGURG", "SIGPROF", "SIGUSR1", "SIGALRM")


class Asker:
    """Another process that waits for the hub. It does not wait by us when the test goes wrong."""

    def __init__(self, wfs: Weightfs, action: str, path: Path, waiting: int = 1) -> None:
        self.process = subprocess.Popen([sys.executable, "-c", ASKER, action, str(path), *HANDLED],
                                        stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "begins\n"
        wait_for(lambda: parked(wfs) == waiting)

    def send(self, *signals: signal.Signals) -> None:
        for sig in signals:
            self.process.send_signal(sig)
            time.sleep(0.3)

    def ends(self, seconds: float = 9) -> tuple[str, int]:
        output, _ = self.process.communicate(timeout=seconds)
        return output.strip(), self.process.returncode


@pytest.fixture
def asker(request: pytest.FixtureRequest, wfs: Weightfs, hub: Hub, big: object) -> Iterator[Asker]:  # noqa: F811
    """One that waits for the first answer about a repo, for where a file is, or for bytes."""
    action, path = request.param, wfs.repo("org/big")
    wfs.start()
    if action != "stat":
        path = wfs.snapshot("org/big") / "model.safetensors"
        path.stat()
    hub.fault("hang", {"stat": "info", "open": "resolve", "read": "content"}[action], seconds=2)
    a = Asker(wfs, action, path)
    yield a
    hub.faults.clear()
    a.process.kill()
    a.process.wait()


each_wait = pytest.mark.parametrize("asker", ["stat", "open"], indirect=True)
TELLING = {
    "a child has ended": (signal.SIGCHLD,),
    "another size": (signal.SIGWINCH, signal.SIGWINCH),
    "preemption": (signal.SIGURG,),
    "a profiler": (signal.SIGPROF,) * 3,
    "stopped": (signal.SIGSTOP, signal.SIGCONT),
    "ignored": (signal.SIGTSTP, signal.SIGCONT, signal.SIGCHLD),
}


@each_wait
@pytest.mark.parametrize("signals", TELLING.values(), ids=TELLING.keys())
def test_what_only_tells_something_breaks_nothing_off(
    asker: Asker, wfs: Weightfs, hub: Hub, signals: tuple[signal.Signals, ...]
) -> None:
    asker.send(*signals)
    assert parked(wfs) == 1, "it waits on"
    hub.faults.clear()
    assert asker.ends(20) == ("ok", 0)


# A read through the kernel's page cache is broken off by what is fatal alone, in every file system.
BREAKING = [
    ("stat", signal.SIGINT, ("KeyboardInterrupt", 0)),
    ("stat", signal.SIGUSR1, ("EINTR", 0)),
    ("stat", signal.SIGALRM, ("EINTR", 0)),
    ("stat", signal.SIGTERM, ("", -signal.SIGTERM)),
    ("stat", signal.SIGKILL, ("", -signal.SIGKILL)),
    ("open", signal.SIGUSR1, ("EINTR", 0)),
    ("open", signal.SIGTERM, ("", -signal.SIGTERM)),
    ("read", signal.SIGKILL, ("", -signal.SIGKILL)),
]


@pytest.mark.parametrize("told_before", [False, True])
@pytest.mark.parametrize(("asker", "sig", "end"), BREAKING, indirect=["asker"])
def test_what_asks_to_break_off_does(
    asker: Asker, sig: signal.Signals, end: tuple[str, int], told_before: bool
) -> None:
    """Also after one that did not: the kernel sends one INTERRUPT for each request."""
    if told_before:
        asker.send(signal.SIGWINCH)
    asker.process.send_signal(sig)
    assert asker.ends() == end


@each_wait
def test_a_frozen_container_goes_on(asker: Asker, wfs: Weightfs, hub: Hub) -> None:
    """As with `docker pause`."""
    group = next((g for g in (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup"))
                  if (g / "cgroup.procs").exists() and (g / "cgroup.controllers").exists()), None)
    if group is None or os.geteuid() != 0:
        pytest.skip("no cgroup of version 2 that may be written")
    frozen = group / f"weightfs-test-{os.getpid()}"
    frozen.mkdir()
    try:
        (frozen / "cgroup.procs").write_text(str(asker.process.pid))
        (frozen / "cgroup.freeze").write_text("1")
        time.sleep(0.5)
        (frozen / "cgroup.freeze").write_text("0")
        assert parked(wfs) == 1
        hub.faults.clear()
        assert asker.ends(20) == ("ok", 0)
    finally:
        (frozen / "cgroup.freeze").write_text("0")
        asker.process.kill()
        asker.process.wait()
        frozen.rmdir()


def test_many_that_were_told(wfs: Weightfs, hub: Hub) -> None:
    """All are looked at again, and each is answered once."""
    count = 12
    for i in range(count):
        hub.add_repo("model", f"org/m{i}").commit({"config.json": "{}"})
    wfs.start()
    with hub.fault("hang", "info", seconds=3):
        askers = [Asker(wfs, "stat", wfs.repo(f"org/m{i}"), i + 1) for i in range(count)]
        for _ in range(3):
            for a in askers:
                a.process.send_signal(signal.SIGWINCH)
            time.sleep(0.15)
        assert parked(wfs) == count
        for a in askers[::2]:
            a.process.send_signal(signal.SIGTERM)
        wait_for(lambda: parked(wfs) == count // 2)
    assert [a.ends(20) for a in askers] == [("", -signal.SIGTERM), ("ok", 0)] * (count // 2)

"""The network fails: packets go nowhere, connections are forgotten, names are not found; and it comes back."""

from __future__ import annotations

import concurrent.futures
import errno
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import Weightfs
from hub.content import Synthetic
from hub.hub import Hub
from matrix import ALL, Witness
from netns import NXDOMAIN, SERVFAIL, NameServer, Network
from test_lazy import MIB, sha256

LOOKUP_DEADLINE = 5  # instead of 10
SLACK = 4  # a machine that is busy with other things
STALL = 15  # after so long without a byte a transfer begins anew
PART = 4096
BIG = 24 * MIB


@pytest.fixture
def network() -> Iterator[Network]:
    net = Network()
    yield net
    net.close()


@pytest.fixture
def hub(network: Network) -> Iterator[Hub]:
    """A hub inside the network; takes the place of the usual one."""
    h = Hub()
    network.do(h.start)
    yield h
    h.stop()


@pytest.fixture
def files(hub: Hub) -> list[Synthetic]:
    """Repositories that are known, each with a big file, and more that nobody has asked for."""
    contents = [Synthetic(BIG, 500 + i) for i in range(6)]
    for i, content in enumerate(contents):
        hub.add_repo("model", f"org/n{i}").commit({"config.json": f'{{"n": {i}}}', "model.safetensors": content})
    return contents


def ended(action: Callable[..., Any], *args: Any) -> tuple[str, float]:
    began = time.monotonic()
    try:
        action(*args)
        return "ok", time.monotonic() - began
    except OSError as e:
        return errno.errorcode[e.errno], time.monotonic() - began


class Reader(threading.Thread):
    """One read of one part of a file, and what came of it."""

    def __init__(self, fd: int, at: int, content: Synthetic) -> None:
        super().__init__(daemon=True)
        self.fd, self.at, self.want = fd, at, content.read(at, at + PART)
        self.end, self.seconds = "", 0.0
        self.start()

    def run(self) -> None:
        def read() -> None:
            assert os.pread(self.fd, PART, self.at) == self.want

        self.end, self.seconds = ended(read)


def open_at(wfs: Weightfs, number: int, content: Synthetic) -> int:
    """A descriptor of a file whose first bytes are there."""
    fd = os.open(wfs.snapshot(f"org/n{number}") / "model.safetensors", os.O_RDONLY)
    assert os.pread(fd, PART, 0) == content.read(0, PART)
    return fd


WAYS: dict[str, Callable[[Network], None]] = {"swallowed": Network.swallow, "refused": Network.refuse,
                                              "no link": Network.cut}


@pytest.mark.parametrize("way", WAYS if ALL else ["swallowed"])
@pytest.mark.limit(150)
def test_no_network_and_back(network: Network, hub: Hub, wfs: Weightfs, files: list[Synthetic], way: str) -> None:
    network.do(wfs.start, "--complete", "never", "--lookup-deadline", str(LOOKUP_DEADLINE))
    fd = open_at(wfs, 0, files[0])
    assert os.listdir(wfs.snapshot("org/n1"))
    witness = Witness(hub, wfs, 1)  # its one file is there before the network goes
    for path, _ in witness.job["fresh"]:
        sha256(Path(path))
    witness.begin()

    WAYS[way](network)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        waiting = Reader(fd, 12 * MIB, files[0])
        lookup = pool.submit(ended, os.stat, wfs.repo("org/n2"))
        listing = pool.submit(ended, os.listdir, wfs.repo("org/n0") / "snapshots" / ("b" * 40))
        opening = pool.submit(ended, os.open, wfs.snapshot("org/n1") / "model.safetensors", os.O_RDONLY)
        for one in (lookup, listing, opening):
            code, seconds = one.result()
            assert code == "EIO", "a network that fails is never «no such file»"
            assert seconds < LOOKUP_DEADLINE + SLACK
    time.sleep(2)
    assert waiting.is_alive(), f"a read under way did not wait: {waiting.end}"
    assert wfs.status()["hub"]["reachable"] is False

    network.mend()
    back = time.monotonic()
    assert ended(os.stat, wfs.repo("org/n2"))[0] == "ok", "the first lookup afterwards"
    assert ended(open_at, wfs, 1, files[1])[0] == "ok"
    assert time.monotonic() - back < LOOKUP_DEADLINE + SLACK
    waiting.join(30 + SLACK)  # the longest pause between tries
    assert waiting.end == "ok"
    said = witness.end()
    assert not said["errors"]
    assert max(said["slowest"][what][0] for what in ("held", "list", "look")) < 1.5, said["slowest"]
    assert sha256(wfs.snapshot("org/n3") / "model.safetensors") == files[3].sha256
    assert wfs.status()["hub"]["reachable"] is True
    os.close(fd)


def test_connections_that_a_router_forgot(network: Network, hub: Hub, wfs: Weightfs, files: list[Synthetic]) -> None:
    """Half open: nothing comes through them any more, no end either; new ones work."""
    network.do(wfs.start, "--complete", "never")
    fd = open_at(wfs, 0, files[0])
    ports = [int(url.rpartition(":")[2]) for url in (hub.endpoint, hub.cdn)]
    gate = hub.fault("gate", on="cdn", repo="model:org/n0")  # no byte comes before its connection is forgotten
    before = hub.log.records()[-1].number
    waiting = Reader(fd, 12 * MIB, files[0])
    hub.log.wait(1, path="model.safetensors", repo="model:org/n0", kind="cdn", since=before)
    network.swallow_what_is_open(ports)
    gate.remove()
    # Lookups meet kept connections too, in a short while: an attempt gets half of the time that is left.
    code, seconds = ended(os.stat, wfs.repo("org/n4"))
    assert code == "ok" and seconds < 10
    waiting.join(2 * STALL + SLACK)
    assert waiting.end == "ok", "a transfer on a dead connection was not begun anew"
    os.close(fd)


@pytest.mark.skipif(not ALL, reason="WEIGHTFS_TEST_FAULTS is not all")
@pytest.mark.limit(180)
def test_a_bad_line(network: Network, hub: Hub, wfs: Weightfs, files: list[Synthetic]) -> None:
    """One packet of ten is lost, and now and then the link is: slow, and the right bytes."""
    content = Synthetic(12 * MIB, 600)
    hub.add_repo("model", "org/line").commit({"model.safetensors": content})
    network.do(wfs.start)
    snapshot = wfs.snapshot("org/line")
    hub.fault("bandwidth", on="cdn", rate=1e6)  # so that it takes a while
    network.lose(0.1)
    over = threading.Event()

    def flap() -> None:
        while not over.wait(1.5):
            network.cut()
            time.sleep(0.5)
            network.run("ip", "link", "set", "lo", "up")

    flapping = threading.Thread(target=flap)
    flapping.start()
    began = time.monotonic()
    try:
        assert sha256(snapshot / "model.safetensors") == content.sha256
    finally:
        over.set()
        flapping.join()
    assert time.monotonic() - began > 2, "the link never went"
    network.mend()
    assert (wfs.snapshot("org/n1") / "config.json").read_text() == '{"n": 1}'


@pytest.mark.limit(150)
def test_names_that_are_not_found(network: Network, hub: Hub, wfs: Weightfs, files: list[Synthetic]) -> None:
    names = NameServer(network, {"hub.test": "127.0.0.1", "cdn.test": "127.0.0.2"})
    wfs.endpoint = hub.endpoint.replace("127.0.0.1", "hub.test")
    hub.cdn_host = "cdn.test"
    names.asked = 0
    network.do(wfs.start, "--complete", "never", "--lookup-deadline", "4")
    for i, mode in enumerate([SERVFAIL, NXDOMAIN, "silent"] if ALL else [NXDOMAIN, "silent"]):
        names.mode = mode
        code, seconds = ended(os.stat, wfs.repo(f"org/n{i}"))
        assert code == "EIO", "a name that is not found is not a repo that is not there"
        assert seconds < 4 + SLACK
    assert hub.log.count() == 0 and 0 < names.asked < 200
    assert "hub.test" in wfs.status()["hub"]["last_error"]

    names.mode = "answer"
    snapshot = wfs.snapshot("org/n0")  # the first lookup afterwards
    assert (snapshot / "config.json").read_text() == '{"n": 0}'
    fd = os.open(snapshot / "model.safetensors", os.O_RDONLY)
    names.mode = "silent"  # the hub's name is known by now, the CDN's is not
    waiting = Reader(fd, 0, files[0])
    time.sleep(6)  # past the limit of connecting
    assert waiting.is_alive(), f"it did not wait: {waiting.end}"
    assert ended(os.stat, wfs.repo("org/n5"))[0] == "ok", "other requests go on"
    assert (snapshot / "config.json").read_text() == '{"n": 0}'
    names.mode = "answer"
    waiting.join(30 + SLACK)
    assert waiting.end == "ok"
    os.close(fd)
    names.mode = "silent"
    began = time.monotonic()
    wfs.stop()
    assert time.monotonic() - began < 10, "its end waited for a name"
    names.close()

"""Wrong bytes: noticed, told with their readers, fetched again, and never served once they are known."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from harness import Weightfs
from hub.content import Synthetic
from hub.hub import Hub
from test_lazy import MIB, sha256, wait_for

SIZE = 24 * MIB
AT = 5000  # of the wrong byte

READER = """
import os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
while os.read(fd, 1 << 20):
    pass
print("read", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def content(hub: Hub) -> Synthetic:
    content = Synthetic(SIZE, 3)
    hub.add_repo("model", "org/model").commit({"config.json": "{}", "model.safetensors": content})
    return content


def open_errno(path: str | Path) -> int:
    try:
        os.close(os.open(path, os.O_RDONLY))
    except OSError as e:
        return e.errno
    return 0


def verdicts(wfs: Weightfs) -> list[dict[str, Any]]:
    return wfs.status()["verdicts"]


def test_wrong_once_is_replaced_and_told(wfs: Weightfs, hub: Hub, content: Synthetic) -> None:
    hub.fault("corrupt", on="content", path="model.safetensors", at=AT, times=1)
    hub.fault("bandwidth", on="content", path="model.safetensors", rate=40e6)
    wfs.start()
    path = wfs.snapshot("org/model") / "model.safetensors"
    with subprocess.Popen([sys.executable, "-c", READER, str(path)], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as reader:
        fd = os.open(path, os.O_RDONLY)
        try:
            assert os.pread(fd, 1, AT) != content.read(AT, AT + 1), "the hub sends a wrong byte"
            wait_for(lambda: "fetched once more" in wfs.log.read_text(), 60)
            # What the kernel holds of the wrong ones is not opened again: by no name, nor as it is open here.
            with path.open("rb") as f:
                assert f.read(2 * AT) == content.read(0, 2 * AT)
            assert open_errno(f"/proc/self/fd/{fd}") == errno.ESTALE
            assert reader.stdout and reader.stdout.readline() == b"read\n"
        finally:
            os.close(fd)
            reader.communicate()
    wait_for((wfs.stored("org/model") / "blobs" / content.sha256).exists, 60)
    wait_for(lambda: verdicts(wfs) and verdicts(wfs)[0]["outcome"] == "mended")
    assert sha256(path) == content.sha256
    (verdict,) = verdicts(wfs)
    assert (verdict["repo"], verdict["path"]) == ("models/org/model", "model.safetensors")
    assert verdict["etag"] == content.sha256 != verdict["got"]
    assert verdict["differed"] == 1
    assert {reader.pid, os.getpid()} <= {who["pid"] for who in verdict["readers"]}
    assert all(who["uid"] == os.getuid() and who["name"] for who in verdict["readers"])
    log = wfs.log.read_text()
    assert f"[{reader.pid}] (uid {os.getuid()})" in log
    assert f"1 bytes had been wrong, at {AT}-{AT}" in log
    lookups = [r for r in hub.log.records() if r.kind == "resolve" and r.path == "model.safetensors"]
    assert "no-cache" in lookups[-1].headers.get("cache-control", ""), "asked anew"
    assert not [r for r in lookups[:-1] if "cache-control" in r.headers]
    assert "wrong bytes since the start" in wfs.command("status", wfs.mnt).stdout


def test_wrong_twice_is_refused_until_pulled(wfs: Weightfs, hub: Hub, content: Synthetic) -> None:
    fault = hub.fault("corrupt", on="content", path="model.safetensors", at=AT)
    wfs.start("--complete", "touched")
    path = wfs.snapshot("org/model") / "model.safetensors"
    fd = os.open(path, os.O_RDONLY)
    try:
        os.pread(fd, 4096, 0)
        wait_for(lambda: wfs.status()["quarantined"], 60)
    finally:
        os.close(fd)
    assert open_errno(path) == errno.EIO
    (verdict,) = verdicts(wfs)
    assert verdict["outcome"] == "quarantined"
    assert os.getpid() in {who["pid"] for who in verdict["readers"]}
    (line,) = [text for text in wfs.log.read_text().splitlines() if "wrong twice" in text]
    for part in ("models/org/model: model.safetensors", content.sha256, verdict["got"], f"[{os.getpid()}]"):
        assert part in line
    assert [p.name.split(".")[0] for p in (wfs.store / "quarantine").iterdir()] == [content.sha256]
    assert not (wfs.stored("org/model") / "blobs" / content.sha256).exists()
    wfs.stop()
    wfs.start()
    (listed,) = wfs.status()["quarantined"]
    assert (listed["repo"], listed["path"], listed["etag"]) == ("models/org/model", "model.safetensors", content.sha256)
    assert open_errno(path) == errno.EIO, "a restart does not forgive it"
    fault.remove()
    wfs.command("pull", "--state", wfs.state, "org/model")
    assert sha256(path) == content.sha256
    assert not wfs.status()["quarantined"]


def test_an_adopted_file_that_is_wrong_is_told(wfs: Weightfs, hub: Hub, content: Synthetic) -> None:
    adopted(wfs, content, damaged=True)
    wfs.start()
    path = wfs.snapshot("org/model") / "model.safetensors"
    open_errno(path)
    wait_for(lambda: verdicts(wfs), 60)
    (verdict,) = verdicts(wfs)
    assert verdict["outcome"] == "rejected"
    assert list((wfs.store / "quarantine").iterdir())
    wait_for(lambda: sha256(path) == content.sha256)


def adopted(wfs: Weightfs, content: Synthetic, damaged: bool) -> Path:
    """The store as another cache would be: there, and never verified by us."""
    wfs.start()
    wfs.command("pull", "--state", wfs.state, "org/model")
    wfs.stop()
    stored = wfs.stored("org/model") / "blobs" / content.sha256
    if damaged:
        damage(stored, content)
    for file in wfs.state.glob("catalogue.sqlite*"):  # what was verified is not known any longer
        file.unlink()
    return stored


def damage(stored: Path, content: Synthetic) -> None:
    with stored.open("r+b") as f:
        f.seek(AT)
        f.write(bytes([content.read(AT, AT + 1)[0] ^ 1]))


# ---- --verify=strict ----


def first_bytes(path: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "import sys; f = open(sys.argv[1], 'rb', buffering=0);"
                             "sys.stdout.buffer.write(f.read(4096))", str(path)], stdout=subprocess.PIPE)


def held(wfs: Weightfs) -> int:
    return sum(f["held"] for f in wfs.status()["fills"] if f["path"] == "model.safetensors")


def test_strict_gives_no_byte_before_the_verdict(wfs: Weightfs, hub: Hub, content: Synthetic) -> None:
    hub.fault("corrupt", on="content", path="model.safetensors", at=100, times=1)  # of what is held and waited for
    stall = hub.fault("stall", on="content", path="model.safetensors", at=MIB // 4)
    wfs.start("--verify=strict", "--complete", "never")
    assert wfs.status()["store"]["verify"] == "strict"
    path = wfs.snapshot("org/model") / "model.safetensors"
    with first_bytes(path) as reader:
        wait_for(lambda: held(wfs) >= MIB // 4, 60)
        with pytest.raises(subprocess.TimeoutExpired):
            reader.wait(0.5)
        stall.remove()
        out, _ = reader.communicate(timeout=90)
    assert out == content.read(0, 4096)
    (verdict,) = verdicts(wfs)
    assert verdict["outcome"] == "mended"
    assert verdict["readers"] == [], "nobody had got any of them"
    assert sha256(path) == content.sha256


def test_strict_never_gives_wrong_bytes(wfs: Weightfs, hub: Hub, content: Synthetic) -> None:
    hub.fault("corrupt", on="content", path="model.safetensors", at=AT)
    wfs.start("--verify=strict")
    path = wfs.snapshot("org/model") / "model.safetensors"
    with path.open("rb", buffering=0) as f:
        with pytest.raises(OSError) as info:
            f.read(4096)
        assert info.value.errno == errno.EIO
    assert open_errno(path) == errno.EIO
    assert verdicts(wfs)[0]["outcome"] == "quarantined"
    assert verdicts(wfs)[0]["readers"] == []


def test_strict_waits_can_be_killed(wfs: Weightfs, hub: Hub, content: Synthetic) -> None:
    hub.fault("stall", on="content", path="model.safetensors", at=MIB // 4)
    wfs.start("--verify=strict")
    path = wfs.snapshot("org/model") / "model.safetensors"
    with first_bytes(path) as reader:
        wait_for(lambda: held(wfs) >= MIB // 4, 60)
        reader.kill()
        assert reader.wait(10) < 0


def test_strict_hashes_an_adopted_file_at_its_open(wfs: Weightfs, hub: Hub, content: Synthetic) -> None:
    adopted(wfs, content, damaged=False)
    wfs.offline("--verify=strict")
    path = wfs.snapshot("org/model") / "model.safetensors"
    assert path.stat().st_size == SIZE
    states = lambda: {f["path"]: f["state"] for f in  # noqa: E731
                      json.loads(wfs.command("ls", "--json", "--state", wfs.state, "org/model").stdout)["files"]}
    assert "complete" not in states()["model.safetensors"]
    assert sha256(path) == content.sha256
    assert states()["model.safetensors"] == "complete"


@pytest.mark.parametrize("offline", [True, False])
def test_strict_refuses_an_adopted_file_that_is_wrong(
    wfs: Weightfs, hub: Hub, content: Synthetic, offline: bool
) -> None:
    stored = adopted(wfs, content, damaged=True)
    wfs.start("--verify=strict", *(["--offline"] if offline else []))
    path = wfs.snapshot("org/model") / "model.safetensors"
    if offline:
        assert open_errno(path) == errno.ENOENT
        assert not stored.exists()
    else:
        assert sha256(path) == content.sha256
        wait_for(stored.exists)
    assert verdicts(wfs)[0]["outcome"] == "rejected"
    assert [p.name.split(".")[0] for p in (wfs.store / "quarantine").iterdir()] == [content.sha256]

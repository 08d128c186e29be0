#!/usr/bin/python3
"""What is checked over NFS: weightfs, exported by the kernel's server, mounted by its client as 3 and 4.2."""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

if __name__ == "__main__":
    sys.path[:0] = ["/mnt/tests", "/mnt/tests/places"]

from guest import check, main, mounts_at, raises, sh, wait_for  # noqa: E402
from hub.content import Synthetic  # noqa: E402
from hub.hub import Hub  # noqa: E402

WEIGHTFS = "/mnt/installed/usr/bin/weightfs"
EXPORTS = Path("/srv/exports")
SERVED = EXPORTS / "hf"
LOG = Path("/srv/weightfs.log")
CLIENTS = {"3": Path("/tmp/v3"), "4.2": Path("/tmp/v4")}
OPTIONS = "ro,no_root_squash,no_subtree_check,insecure"
BIG = Synthetic(6 << 20, seed=31)
OTHER = Synthetic(6 << 20, seed=32)
hub = Hub()
daemon: subprocess.Popen[bytes] | None = None


def start(*options: str) -> None:
    global daemon
    with LOG.open("ab") as log:
        daemon = subprocess.Popen(
            [WEIGHTFS, "mount", "-f", "-v", "--store", "/srv/store", "--endpoint", hub.endpoint, *options, str(SERVED)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    wait_for(lambda: mounts_at(str(SERVED)), "mounted")


def stop() -> None:
    # Clients of NFS 4 hold files open on the server: the daemon gives them ten seconds.
    assert daemon is not None
    daemon.terminate()
    assert daemon.wait(60) == 0
    assert not mounts_at(str(SERVED))


def kill() -> None:
    assert daemon is not None
    daemon.kill()
    daemon.wait(60)
    sh(f"{WEIGHTFS} unmount --lazy {SERVED}")
    assert not mounts_at(str(SERVED))


def export() -> None:
    sh(f"exportfs -i -o {OPTIONS},fsid=0 127.0.0.1:{EXPORTS}")
    sh(f"exportfs -i -o {OPTIONS},fsid=1 127.0.0.1:{SERVED}")


def unexport() -> None:
    """The server lets go of what it holds open."""
    sh(f"exportfs -u 127.0.0.1:{SERVED}")
    sh("exportfs -f")


def drop_caches() -> None:
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3")


def repo(mount: Path, id_: str) -> Path:
    return mount / "hub" / f"models--{id_.replace('/', '--')}"


def snapshot(mount: Path, id_: str) -> Path:
    return repo(mount, id_) / "snapshots" / (repo(mount, id_) / "refs/main").read_text()


def sha256(path: Path) -> str:
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


@check
def exported_and_mounted() -> None:
    hub.start()
    hub.add_repo("model", "org/big").commit(
        {"config.json": '{"a": 1}', "nested/deep/t.json": "[]", "model.safetensors": BIG})
    hub.add_repo("model", "org/other").commit({"config.json": '{"b": 2}', "model.safetensors": OTHER})
    SERVED.mkdir(parents=True)
    start()
    sh("modprobe nfsd; mount -t nfsd nfsd /proc/fs/nfsd; rpcbind -w")
    export()
    sh("rpc.nfsd -L 10 -G 10 4; rpc.mountd")
    for version, point in CLIENTS.items():
        point.mkdir()
        path = SERVED if version == "3" else "/hf"
        lock = ",nolock" if version == "3" else ""
        sh(f"mount -t nfs -o vers={version},soft,timeo=50,retrans=3,acdirmin=3,acdirmax=5{lock} 127.0.0.1:{path} {point}")
        assert f"vers={version}" in sh(f"grep ' {point} ' /proc/mounts")


@check
def a_model_nobody_asked_for_is_there() -> None:
    for point in CLIENTS.values():
        commit = snapshot(point, "org/big")
        assert (commit / "config.json").read_text() == '{"a": 1}'
        assert os.readlink(commit / "nested/deep/t.json").startswith("../../../../blobs/")
        assert (commit / "nested/deep/t.json").read_text() == "[]"
        assert (commit / "model.safetensors").stat().st_size == BIG.size


@check
def whole_reads_are_exact() -> None:
    for point in CLIENTS.values():
        assert sha256(snapshot(point, "org/big") / "model.safetensors") == BIG.sha256
        assert sha256(point / "models/org/big/model.safetensors") == BIG.sha256
    drop_caches()
    for point in CLIENTS.values():
        assert sha256(snapshot(point, "org/big") / "model.safetensors") == BIG.sha256


@check
def walks_agree() -> None:
    want = sh(f"cd {SERVED} && find . -printf '%p %y %s %l\\n' | sort")
    assert "models--org--big/snapshots" in want
    for point in CLIENTS.values():
        got = sh(f"cd {point} && find . -printf '%p %y %s %l\\n' | sort")
        assert got == want, f"{point}:\n{got}\ninstead of\n{want}"


@check
def what_is_not_there_is_enoent_and_nothing_is_written() -> None:
    for point in CLIENTS.values():
        for path in (repo(point, "org/none"), snapshot(point, "org/big") / "none.json", point / "hub/x"):
            with raises(errno.ENOENT):
                os.stat(path)
        with raises(errno.EROFS):
            (point / "hub/x").write_text("x")


@check
def descriptors_outlive_the_servers_memory() -> None:
    for point in CLIENTS.values():
        folder = os.open(snapshot(point, "org/big"), os.O_RDONLY)
        file = os.open(snapshot(point, "org/big") / "model.safetensors", os.O_RDONLY)
        drop_caches()
        assert "config.json" in os.listdir(folder)
        drop_caches()
        assert os.pread(file, 4096, 3 << 20) == BIG.read(3 << 20, (3 << 20) + 4096)
        os.close(folder)
        os.close(file)


# A client asks for a folder's time of change only every acdirmin seconds: 30, if mounted without options.
@check
def a_new_repo_is_seen_within_seconds() -> None:
    for point in CLIENTS.values():
        with raises(errno.ENOENT):
            os.stat(repo(point, "org/new"))
    hub.add_repo("model", "org/new").commit({"config.json": "{}"})
    # The hub's "no" is believed for ten seconds.
    wait_for(lambda: "brought" in sh(f"{WEIGHTFS} pull --store /srv/store org/new && echo brought", None), "pull")
    started = time.monotonic()
    for version, point in CLIENTS.items():
        wait_for(repo(point, "org/new").exists, f"org/new is there over {version}", 30)
        assert (snapshot(point, "org/new") / "config.json").read_text() == "{}"
    print(f"seen after {time.monotonic() - started:.1f} s")


@check
def a_restart_never_gives_another_files_bytes() -> None:
    held = []
    for point in CLIENTS.values():
        for id_, content in (("org/big", BIG), ("org/other", OTHER)):
            path = snapshot(point, id_) / "model.safetensors"
            assert sha256(path) == content.sha256
            held.append((os.open(path, os.O_RDONLY), content, f"{point} {id_}"))
    unexport()
    stop()
    start()
    # In another order than before: ids must not depend on it.
    assert (snapshot(SERVED, "org/other") / "config.json").read_text() == '{"b": 2}'
    export()
    drop_caches()
    for fd, content, what in held:
        try:
            assert os.pread(fd, 4096, 1 << 20) == content.read(1 << 20, (1 << 20) + 4096), what
        except OSError as error:
            # For a client of NFS 4 the server holds the file open: that ended with the old daemon.
            assert error.errno in (errno.EIO, errno.ESTALE) and str(CLIENTS["4.2"]) in what, f"{what}: {error}"
        os.close(fd)
    for point in CLIENTS.values():
        assert sha256(snapshot(point, "org/big") / "model.safetensors") == BIG.sha256


@check
def a_lost_catalogue_is_stale_and_then_well() -> None:
    held = [os.open(snapshot(point, "org/big") / "model.safetensors", os.O_RDONLY) for point in CLIENTS.values()]
    unexport()
    kill()
    sh("rm /srv/store/state/catalogue.sqlite*")
    start()
    sha256(snapshot(SERVED, "org/other") / "model.safetensors")
    export()
    drop_caches()
    for fd in held:
        try:
            assert os.pread(fd, 4096, 1 << 20) == BIG.read(1 << 20, (1 << 20) + 4096)
        except OSError as error:
            assert error.errno == errno.ESTALE, error
        os.close(fd)
    for point in CLIENTS.values():
        assert sha256(snapshot(point, "org/big") / "model.safetensors") == BIG.sha256


@check
def offline_serves_what_is_held() -> None:
    unexport()
    kill()
    hub.down()
    start("--offline")
    export()
    drop_caches()
    for point in CLIENTS.values():
        assert sha256(snapshot(point, "org/big") / "model.safetensors") == BIG.sha256
        with raises(errno.ENOENT):
            os.stat(repo(point, "org/unseen"))


if __name__ == "__main__":
    status = main()
    if status:
        print(sh(f"tail -n 60 {LOG}; dmesg | grep -v audit | tail -n 30", None))
    for folder in CLIENTS.values():
        sh(f"umount -l {folder}", None)
    sh(f"exportfs -ua; rpc.nfsd 0; {WEIGHTFS} unmount --lazy {SERVED}", None)
    sys.exit(status)

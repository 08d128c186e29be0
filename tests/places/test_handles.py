"""File handles, which NFS servers keep for ever: they outlive caches and daemons, and never name another file."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

import pytest
from harness import Weightfs
from hub.content import Synthetic
from hub.hub import Hub

MIB = 1 << 20
HANDLE_BYTES = 128
CONTENT = Synthetic(2 * MIB, seed=21)
libc = ctypes.CDLL(None, use_errno=True)
pytestmark = pytest.mark.limit(300)


class FileHandle(ctypes.Structure):
    _fields_ = [("bytes", ctypes.c_uint), ("type", ctypes.c_int), ("data", ctypes.c_ubyte * HANDLE_BYTES)]


def handle_of(path: Path) -> FileHandle:
    handle, mount_id = FileHandle(bytes=HANDLE_BYTES), ctypes.c_int()
    if libc.name_to_handle_at(-100, os.fsencode(path), ctypes.byref(handle), ctypes.byref(mount_id), 0) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(path))
    return handle


def open_handle(mount: int, handle: FileHandle, flags: int) -> int:
    fd = libc.open_by_handle_at(mount, ctypes.byref(handle), flags)
    if fd < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return fd


def drop_caches() -> None:
    """Makes the kernel forget nodes, so that it asks for them by number."""
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("2")


def what_it_is(mount: int, handle: FileHandle) -> object:
    """What stands behind a handle: a link's text, a folder's names, a file's bytes."""
    fd = open_handle(mount, handle, os.O_PATH | os.O_NOFOLLOW)
    try:
        link = os.readlink("", dir_fd=fd) if _is_link(fd) else None
    finally:
        os.close(fd)
    if link is not None:
        return link
    fd = open_handle(mount, handle, os.O_RDONLY)
    try:
        return sorted(os.listdir(fd)) if _is_folder(fd) else os.pread(fd, 4 * MIB, 0)
    finally:
        os.close(fd)


def _mode(fd: int) -> int:
    return os.stat(fd).st_mode & 0o170000


def _is_link(fd: int) -> bool:
    return _mode(fd) == 0o120000


def _is_folder(fd: int) -> bool:
    return _mode(fd) == 0o040000


@pytest.fixture
def two(wfs: Weightfs, hub: Hub) -> Weightfs:
    """Two repos that are alike but for their bytes, so that a wrong node would show."""
    if os.geteuid() != 0:
        pytest.skip("only root may open handles")
    for i in (1, 2):
        hub.add_repo("model", f"org/m{i}").commit(
            {"config.json": f'{{"m": {i}}}', "sub/t.json": f"[{i}]", "w.safetensors": Synthetic(2 * MIB, seed=i)})
    return wfs.start()


def paths_of(wfs: Weightfs, id_: str) -> list[Path]:
    repo, snapshot = wfs.repo(id_), wfs.snapshot(id_)
    return [wfs.hub_cache, repo, repo / "refs", repo / "refs/main", repo / "snapshots", snapshot, snapshot / "sub",
            snapshot / "sub/t.json", snapshot / "w.safetensors", (snapshot / "w.safetensors").resolve(),
            (snapshot / "config.json").resolve(), wfs.mnt / "models" / id_, wfs.mnt / "models" / id_ / "w.safetensors"]


def take(wfs: Weightfs) -> list[tuple[Path, FileHandle, object]]:
    """Every path with its handle and what is there, after its bytes have come and stay."""
    paths = paths_of(wfs, "org/m1") + paths_of(wfs, "org/m2")
    for id_ in ("org/m1", "org/m2"):
        wfs.command("pull", "--state", wfs.state, id_)
    root = os.open(wfs.mnt, os.O_RDONLY)
    try:
        drop_caches()
        taken = [(path, handle_of(path)) for path in paths]
        return [(path, handle, what_it_is(root, handle)) for path, handle in taken]
    finally:
        os.close(root)


def check(wfs: Weightfs, taken: list[tuple[Path, FileHandle, object]]) -> list[int]:
    """Reads by every handle; never another file's bytes. The errnos of those that gave none."""
    root, errnos = os.open(wfs.mnt, os.O_RDONLY), []
    try:
        for path, handle, what in taken:
            try:
                assert what_it_is(root, handle) == what, f"{path} became something else"
            except OSError as error:
                assert error.errno == errno.ESTALE, f"{path}: {error}"
                errnos.append(error.errno)
    finally:
        os.close(root)
    return errnos


def test_handles_outlive_the_kernel_s_memory(two: Weightfs) -> None:
    taken = take(two)
    drop_caches()
    assert check(two, taken) == []


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_handles_outlive_the_daemon(two: Weightfs, end: str) -> None:
    taken = take(two)
    getattr(two, end)()
    two.start()
    assert check(two, taken) == []
    # The same when other names were looked up first: ids do not depend on the order.
    two.stop()
    two.start()
    for path in reversed(paths_of(two, "org/m2")):
        path.lstat()
    assert check(two, taken) == []


def test_handles_survive_offline(two: Weightfs, hub: Hub) -> None:
    taken = take(two)
    two.stop()
    hub.down()
    two.offline()
    assert check(two, taken) == []


def test_handles_of_a_lost_catalogue_are_stale(two: Weightfs) -> None:
    taken = take(two)
    two.stop()
    for file in two.state.glob("catalogue.sqlite*"):
        file.unlink()
    two.start()
    for id_ in ("org/m2", "org/m1"):
        for path in paths_of(two, id_):
            path.lstat()
    stale = check(two, taken)
    assert len(stale) >= len(taken) - 2, "all but fixed folders are stale"


def test_a_handle_taken_while_it_fills(wfs: Weightfs, hub: Hub) -> None:
    """A blob that is complete has another node than while it filled: the bytes, or ESTALE."""
    if os.geteuid() != 0:
        pytest.skip("only root may open handles")
    hub.add_repo("model", "org/slow").commit({"w.safetensors": CONTENT})
    wfs.start()
    path = wfs.snapshot("org/slow") / "w.safetensors"
    handle = handle_of(path.resolve())
    wfs.command("pull", "--state", wfs.state, "org/slow")
    drop_caches()
    check(wfs, [(path, handle, CONTENT.read(0, CONTENT.size))])
    assert path.read_bytes() == CONTENT.read(0, CONTENT.size)


def test_made_up_handles_give_nothing_away(two: Weightfs) -> None:
    """ESTALE, or the empty file or folder that stands for something absent: those need no catalogue."""
    handle = handle_of(two.snapshot("org/m1") / "config.json")
    root = os.open(two.mnt, os.O_RDONLY)
    try:
        for i in range(2000):
            raw = int.from_bytes(bytes(handle.data[:8]), "little") ^ (0x9E3779B97F4A7C15 * (i + 1) & (2**64 - 1))
            made_up = FileHandle(bytes=handle.bytes, type=handle.type)
            ctypes.memmove(made_up.data, handle.data, HANDLE_BYTES)
            made_up.data[:8] = raw.to_bytes(8, "little")
            try:
                assert what_it_is(root, made_up) in (b"", [])
            except OSError as error:
                assert error.errno == errno.ESTALE, error
    finally:
        os.close(root)
    assert (two.snapshot("org/m1") / "config.json").exists(), "the daemon lives"

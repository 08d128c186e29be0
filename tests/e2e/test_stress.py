"""Many at once, and at the worst moment: nobody gets an error or a wrong byte, nothing hangs."""

from __future__ import annotations

import concurrent.futures
import contextlib
import ctypes
import errno
import mmap
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import Weightfs, edit_catalogue
from hub.content import Synthetic
from hub.hub import Hub
from hub.models import many
from test_lazy import MIB, sha256, wait_for

PARKED_READERS = """
import mmap, os, sys, threading
fd = os.open(sys.argv[1], os.O_RDONLY | (os.O_DIRECT if sys.argv[4] else 0))
def read(i):
    try:
        os.preadv(fd, [mmap.mmap(-1, 4096)], (i + 1) << 19)  # far enough apart to be requests of their own
    except OSError:
        pass
for i in range(int(sys.argv[2]), int(sys.argv[3])):
    threading.Thread(target=read, args=(i,), daemon=True).start()
print("reading", flush=True)
threading.Event().wait()
"""


def big_file(hub: Hub, size: int, seed: int, id_: str = "org/big") -> Synthetic:
    content = Synthetic(size, seed)
    hub.add_repo("model", id_).commit({"config.json": "{}", "model.safetensors": content})
    return content


def parked(wfs: Weightfs) -> int:
    return wfs.status()["mount"]["parked"]


def in_parallel(count: int, action: Callable[[int], object]) -> list[object]:
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        return list(pool.map(action, range(count)))


def start_parked_readers(path: Path, processes: int, threads: int, direct: str = "") -> list[subprocess.Popen[str]]:
    readers = [
        subprocess.Popen([sys.executable, "-c", PARKED_READERS, str(path), str(i * threads), str((i + 1) * threads),
                          direct], stdout=subprocess.PIPE, text=True)
        for i in range(processes)
    ]
    for reader in readers:
        assert reader.stdout and reader.stdout.readline() == "reading\n"
    return readers


@pytest.mark.parametrize("direct", ["", "direct"])
def test_a_thousand_parked_readers_are_killed(wfs: Weightfs, hub: Hub, direct: str) -> None:
    content = big_file(hub, 512 * MIB, 1)
    wfs.start("--complete", "never")
    path = wfs.snapshot("org/big") / "model.safetensors"
    path.open("rb").close()
    with hub.fault("hang", "content"):
        readers = start_parked_readers(path, 5, 200, direct)
        wait_for(lambda: parked(wfs) == 1000, 60)
        for reader in readers:
            reader.kill()
            reader.wait(10)
        if direct:  # nobody interrupts a request for the page cache: it stays, and its reader goes all the same
            wait_for(lambda: parked(wfs) == 0)
    hub.break_connections()
    with path.open("rb", buffering=0) as f:
        assert os.pread(f.fileno(), 4096, 40 * MIB) == content.read(40 * MIB, 40 * MIB + 4096)


def test_one_name_by_two_hundred_threads(wfs: Weightfs, hub: Hub) -> None:
    big_file(hub, MIB, 2)
    hub.fault("latency", "api", seconds=0.5)
    wfs.start()
    barrier = threading.Barrier(200)

    def look(_: int) -> str:
        barrier.wait()
        return (wfs.repo("org/big") / "refs/main").read_text()

    assert len(set(in_parallel(200, look))) == 1
    hub.log.settle()
    assert hub.log.count(kind="info") <= 2
    assert hub.log.count(kind="tree") == 1


def test_a_mapped_reader_outlives_an_outage(wfs: Weightfs, hub: Hub) -> None:
    content = big_file(hub, 48 * MIB, 3)
    wfs.start("--complete", "never")
    path = wfs.snapshot("org/big") / "model.safetensors"
    program = ("import hashlib, mmap, sys\n"
               "with open(sys.argv[1], 'rb') as f:\n"
               "    m = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)\n"
               "print('mapped', m[0], flush=True)\n"
               "sys.stdin.readline()\n"
               "print(hashlib.sha256(m).hexdigest())\n")
    reader = subprocess.Popen([sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, text=True)
    assert reader.stdin and reader.stdout
    assert reader.stdout.readline().startswith("mapped")
    hub.down()
    reader.stdin.write("\n")
    reader.stdin.flush()
    time.sleep(3)
    assert reader.poll() is None, "a page fault must wait"
    hub.up()
    assert reader.stdout.readline().strip() == content.sha256
    assert reader.wait(10) == 0


def test_the_end_while_reads_are_parked(wfs: Weightfs, hub: Hub) -> None:
    big_file(hub, 64 * MIB, 4)
    wfs.start("--complete", "never")
    path = wfs.snapshot("org/big") / "model.safetensors"
    path.open("rb").close()
    hub.fault("hang", "content")
    reader = start_parked_readers(path, 1, 50)[0]
    wait_for(lambda: parked(wfs) == 50)
    began = time.monotonic()
    wfs.stop(seconds=25)
    assert time.monotonic() - began < 20
    reader.kill()
    reader.wait(10)


def test_told_to_end_while_it_fills(wfs: Weightfs, hub: Hub) -> None:
    content = big_file(hub, 96 * MIB, 5)
    hub.fault("bandwidth", "content", rate=20e6)
    for _ in range(4):
        wfs.start()
        with (wfs.snapshot("org/big") / "model.safetensors").open("rb", buffering=0) as f:
            f.read(4 * MIB)
        time.sleep(0.3)
        wfs.stop()
    hub.reset()
    wfs.start()
    assert sha256(wfs.snapshot("org/big") / "model.safetensors") == content.sha256
    wait_for((wfs.stored("org/big") / "blobs" / content.sha256).exists)


def test_a_blob_completes_under_its_readers(wfs: Weightfs, hub: Hub) -> None:
    """Each opens it again and again, and compares, while it turns from filling to complete."""
    content = big_file(hub, 24 * MIB, 6)
    expected = content.read()
    hub.fault("bandwidth", "content", rate=4e6)  # so that it does not turn before they have begun
    wfs.start("--complete", "touched")  # whether what they do is a read of all of it depends on their order
    path = wfs.snapshot("org/big") / "model.safetensors"
    blob = wfs.stored("org/big") / "blobs" / content.sha256
    deadline = time.monotonic() + 60

    def read(i: int) -> int:
        whole, at = 0, i * MIB % len(expected)
        held = path.open("rb", buffering=0)
        while whole < 5 and time.monotonic() < deadline:
            whole += blob.exists()
            with path.open("rb", buffering=0) as f:
                for fd in (f.fileno(), held.fileno()):
                    assert os.pread(fd, 256 << 10, at) == expected[at : at + (256 << 10)]
                with mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ) as m:
                    assert m[at : at + 4096] == expected[at : at + 4096]
            at = (at + MIB) % len(expected)
        held.close()
        return whole

    assert in_parallel(20, read) == [5] * 20, "it was read on once it was complete"
    assert sha256(path) == content.sha256


def test_toggling_under_load(wfs: Weightfs, hub: Hub) -> None:
    """Offline, what is not held is absent, never an error of another kind, and never wrong."""
    contents = {f"org/b{i}": big_file(hub, 4 * MIB, 10 + i, f"org/b{i}") for i in range(8)}
    expected = {id_: c.read() for id_, c in contents.items()}
    hub.fault("bandwidth", "content", rate=8e6)
    wfs.start("--complete", "never")
    ends = threading.Event()
    reads = [0]

    def read(i: int) -> None:
        id_, n = f"org/b{i % 8}", i
        while not ends.is_set():
            at = (n * 7919 * 4096) % (4 * MIB - 65536)
            n += 1
            try:
                with (wfs.snapshot(id_) / "model.safetensors").open("rb", buffering=0) as f:
                    got = os.pread(f.fileno(), 65536, at)  # the kernel cuts it short where a later page fails
                    assert got and got == expected[id_][at : at + len(got)]
                reads[0] += 1
            except OSError as e:
                assert e.errno == errno.ENOENT, e

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        readers = [pool.submit(read, i) for i in range(16)]
        try:
            for round_ in range(12):
                wfs.command("offline", "on", *(["--now"] if round_ % 3 == 2 else []), wfs.mnt)
                time.sleep(0.05)
                wfs.command("offline", "off", wfs.mnt)
                time.sleep(0.15)
        finally:
            ends.set()
        for reader in readers:
            reader.result(timeout=30)
    assert reads[0] > 50
    hub.reset()
    for id_, content in contents.items():
        assert sha256(wfs.snapshot(id_) / "model.safetensors") == content.sha256


def test_walking_while_it_fills(wfs: Weightfs, hub: Hub) -> None:
    contents = {f"org/w{i}": big_file(hub, 8 * MIB, 30 + i, f"org/w{i}") for i in range(6)}
    wfs.start()
    done = threading.Event()

    def walk(_: int) -> int:
        rounds = 0
        while not done.is_set() or rounds == 0:
            found = subprocess.run(["find", "-L", str(wfs.mnt), "-ls"], capture_output=True, text=True, check=False)
            assert found.returncode == 0, found.stderr
            rounds += 1
        return rounds

    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        walkers = [pool.submit(walk, i) for i in range(3)]
        try:
            for id_, content in contents.items():
                assert sha256(wfs.snapshot(id_) / "model.safetensors") == content.sha256
        finally:
            done.set()
        assert all(w.result(timeout=60) for w in walkers)


@pytest.mark.limit(240)
def test_a_hundred_thousand_entries(wfs: Weightfs, hub: Hub) -> None:
    count = 100_000
    many(hub, count=count, per_folder=20_000)
    hub.page_size = 10_000
    wfs.start("--complete", "never")
    snapshot = wfs.snapshot("many/files", type_="datasets")

    def lookups(first: int) -> float:
        began = time.monotonic()
        for i in range(first, first + 500):
            os.lstat(snapshot / f"data/{i // 20_000:04d}/{i:06d}.txt")
        return time.monotonic() - began

    lookups(0)
    times = [(lookups(first), lookups(count - first)) for first in range(1000, 6000, 1000)]
    early, late = (min(of) for of in zip(*times))  # what holds up one of them is something else
    assert late < 4 * early + 0.2, "a lookup costs the same wherever the name is"
    listed = subprocess.run(["ls", "-lR", str(snapshot)], capture_output=True, text=True, timeout=120, check=True)
    assert listed.stdout.count(".txt -> ") == count


def test_two_daemons_fill_one_store(wfs: Weightfs, hub: Hub, tmp_path: Path) -> None:
    content = big_file(hub, 32 * MIB, 50)
    other = Weightfs(tmp_path / "other", hub.endpoint, wfs.watchdog)
    other.store = wfs.store
    try:
        wfs.start()
        other.start()
        both = (wfs, other)
        sums = in_parallel(2, lambda i: sha256(both[i].snapshot("org/big") / "model.safetensors"))
        assert sums == [content.sha256] * 2
        blob = wfs.stored("org/big") / "blobs" / content.sha256
        wait_for(blob.exists)
        wait_for(lambda: not any(w.status()["fills"] for w in both))
        assert sha256(blob) == content.sha256
        for w in both:
            assert sha256(w.snapshot("org/big") / "model.safetensors") == content.sha256
        assert not list((wfs.store / "quarantine").glob("*")), "neither took the other's file for damaged"
        other.stop()
    finally:
        other.clean_up()


def test_a_huge_file_read_here_and_there(wfs: Weightfs, hub: Hub) -> None:
    size = 8 << 30
    content = Synthetic(size, 60, sha256="ab" * 32)  # never read whole
    hub.add_repo("model", "org/huge").commit({"model.safetensors": content})
    wfs.start("--complete", "never")
    path = wfs.snapshot("org/huge") / "model.safetensors"
    assert path.stat().st_size == size
    with path.open("rb", buffering=0) as f:
        for at in (size - 4096, size - 1, (4 << 30) - 2048, (2 << 30) - 1, 0, 5 << 30):
            assert os.pread(f.fileno(), 4096, at) == content.read(at, min(at + 4096, size))
        assert os.pread(f.fileno(), 4096, size) == b""
        assert os.pread(f.fileno(), 4096, size + 4096) == b""
    assert hub.log.content_bytes(path="model.safetensors") < 8 * MIB


# ---- corners of the interface ------------------------------------------------------------------


def test_a_ref_moves_while_it_is_open(wfs: Weightfs, hub: Hub) -> None:
    repo = hub.add_repo("model", "org/moving")
    first = repo.commit({"config.json": "{}"})
    wfs.start()
    ref = wfs.repo("org/moving") / "refs/main"
    assert ref.read_text() == first
    wfs.stop()
    forget_when_refs_were_confirmed(wfs)
    second = repo.commit({"config.json": "{ }"})
    hub.down()
    wfs.start("--lookup-deadline", "2")
    fd, before = os.open(ref, os.O_RDONLY), os.stat(ref).st_ino
    hub.up()
    wait_for(lambda: os.stat(ref).st_ino != before)
    assert ref.read_text() == second
    assert os.read(fd, 100).decode() == first, "an open file goes on"
    os.close(fd)
    snapshots = wfs.repo("org/moving") / "snapshots"
    assert sorted(os.listdir(snapshots)) == sorted([first, second])
    assert (snapshots / first / "config.json").read_text() == "{}"
    assert (snapshots / second / "config.json").read_text() == "{ }"


def test_a_ref_that_waits_holds_up_no_other(wfs: Weightfs, hub: Hub) -> None:
    """The kernel holds the folder's lock, shared, for a lookup: nothing may wait for it exclusively."""
    repo = hub.add_repo("model", "org/moving")
    repo.commit({"config.json": "{}"})
    wfs.start()
    ref = wfs.repo("org/moving") / "refs/main"
    ref.read_text()
    wfs.stop()
    forget_when_refs_were_confirmed(wfs)
    second = repo.commit({"config.json": "{ }"})
    wfs.start("--lookup-deadline", "60")
    assert wfs.repo("org/moving").exists()
    with hub.fault("hang", "info", target="*slow*"):
        slow = subprocess.Popen(["stat", ref.parent / "slow"], stderr=subprocess.DEVNULL)
        wait_for(lambda: parked(wfs) == 1)
        # asks for main: it has moved; for a hub that takes 2 s to say so what is held answers, and it is asked again
        wait_for(lambda: (wfs.mnt / "models/org/moving/config.json").read_text() == "{ }")
        time.sleep(0.2)
        assert ref.read_text() == second
        assert slow.poll() is None, "it was answered while the other waited"
    hub.break_connections()
    assert slow.wait(20) == 1, "there is none"


def forget_when_refs_were_confirmed(wfs: Weightfs) -> None:
    edit_catalogue(wfs.state / "catalogue.sqlite", "UPDATE ref SET checked = 1")


def test_two_refs_of_one_commit_do_not_swap_folders(wfs: Weightfs, hub: Hub) -> None:
    repo = hub.add_repo("model", "org/tagged")
    repo.commit({"config.json": "{}"})
    repo.tag("v1")
    wfs.start()
    models = wfs.mnt / "models/org"
    folder = os.open(models / "tagged@main", os.O_RDONLY)
    name = os.readlink(f"/proc/self/fd/{folder}")
    for _ in range(3):
        assert os.listdir(models / "tagged@v1") == ["config.json"]
        assert os.readlink(f"/proc/self/fd/{folder}") == name, "a folder has one name"
        assert os.listdir(models / "tagged@main") == ["config.json"]
    assert (models / "tagged@v1").resolve() == (models / "tagged@main").resolve() == Path(name)
    assert os.lstat(models / "tagged@v1").st_size == len(os.readlink(models / "tagged@v1"))
    os.close(folder)


def test_what_was_wrong_is_not_served_again(wfs: Weightfs, hub: Hub) -> None:
    """After a wrong hash the blob is another node: what the kernel keeps of the old one is not used."""
    content = big_file(hub, 4 * MIB, 70)
    wfs.start("--complete", "never")
    path = wfs.snapshot("org/big") / "model.safetensors"
    hub.fault("corrupt", "content", path="*.safetensors", at=100_000, times=1)
    with path.open("rb", buffering=0) as f:
        # before all of it is there: from then on it may be forgotten before somebody looks at it
        assert os.pread(f.fileno(), 128 << 10, 0) != content.read(0, 128 << 10)
        with hub.fault("hang", "resolve", path="*.safetensors"):  # for the second fetch it asks anew where it lies
            rest = subprocess.Popen(["cat"], stdin=f, stdout=subprocess.DEVNULL)  # may wait for the second fetch
            wait_for(lambda: "all of it is fetched once more" in wfs.log.read_text())
            time.sleep(1.1)  # names of what is filling are kept for a second
            before = parked(wfs)
            again = subprocess.Popen(["sha256sum", path], stdout=subprocess.PIPE, text=True)
            wait_for(lambda: parked(wfs) > before)  # it has the node while that is filled, and not a complete one
        hub.break_connections()
        assert again.communicate(timeout=60)[0].split()[0] == content.sha256
        assert rest.wait(20) == 0


libc = ctypes.CDLL(None, use_errno=True)
libc.opendir.restype = libc.readdir64.restype = ctypes.c_void_p
libc.opendir.argtypes = [ctypes.c_char_p]
libc.readdir64.argtypes = libc.closedir.argtypes = libc.telldir.argtypes = [ctypes.c_void_p]
libc.telldir.restype = ctypes.c_long
libc.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]


def read_names(folder: int) -> list[tuple[int, str]]:
    """All that is left in an open folder: where each name stands, and the name."""
    found = []
    while True:
        at = libc.telldir(folder)
        entry = libc.readdir64(folder)
        if not entry:
            return found
        found.append((at, os.fsdecode(ctypes.string_at(entry + 19))))


def test_folders_are_read_backwards_and_again(wfs: Weightfs, hub: Hub) -> None:
    repo = hub.add_repo("model", "org/wide")
    commit = repo.commit({f"f{i:04d}.txt": str(i) for i in range(700)} | {"d/e/f.txt": "deep"})
    for i in range(40):
        repo.tag(f"release/{i % 4}/{i}")
    wfs.start()
    for i in range(40):
        assert (wfs.repo("org/wide") / f"refs/release/{i % 4}/{i}").read_text() == commit
    for folder in (wfs.snapshot("org/wide"), wfs.repo("org/wide"), wfs.repo("org/wide") / "blobs", wfs.mnt,
                   wfs.hub_cache, wfs.repo("org/wide") / "refs/release/1", wfs.repo("org/wide") / "refs",
                   wfs.mnt / "models", wfs.mnt / "models/org", wfs.repo("org/wide") / "refs/release"):
        handle = libc.opendir(os.fsencode(folder))
        assert handle
        names = read_names(handle)
        assert len({name for _, name in names}) == len(names)
        assert {".", ".."} < {name for _, name in names}
        assert sorted(name for _, name in names)[2:] == sorted(os.listdir(folder)) or "." in names[0][1]
        for i in (0, len(names) // 2, len(names) - 1, 1, 2):
            libc.seekdir(handle, names[i][0])
            assert [name for _, name in read_names(handle)] == [name for _, name in names[i:]], (folder, i)
        libc.closedir(handle)


def test_names_that_cannot_be(wfs: Weightfs, hub: Hub) -> None:
    big_file(hub, MIB, 80)
    wfs.start()
    snapshot = wfs.snapshot("org/big")
    folders = [wfs.mnt, wfs.hub_cache, wfs.mnt / "models", wfs.mnt / "models/org", wfs.repo("org/big"),
               wfs.repo("org/big") / "refs", wfs.repo("org/big") / "blobs", snapshot, snapshot.parent,
               wfs.repo("org/big") / "trees", wfs.mnt / "models/org/big"]
    before = hub.log.count()
    for folder in folders:
        for name, code in (("x" * 255, errno.ENOENT), ("x" * 256, errno.ENAMETOOLONG), (".git", errno.ENOENT),
                           ("\x01", errno.ENOENT), ("a--b--c", errno.ENOENT), ("é" * 100, errno.ENOENT),
                           ("\\", errno.ENOENT), ("-", errno.ENOENT), ("...", errno.ENOENT)):
            if folder.name == "refs" and name == "x" * 255:
                continue  # might be a ref
            with pytest.raises(OSError) as info:
                os.lstat(folder / name)
            assert info.value.errno == code, (folder, name)
        assert os.path.samestat(os.stat(folder / ".."), os.stat(folder.parent))
        assert os.path.samestat(os.stat(folder / "."), os.stat(folder))
    assert hub.log.count() - before <= len(folders) * 4


def test_ways_to_read(wfs: Weightfs, hub: Hub, tmp_path: Path) -> None:
    """O_DIRECT, O_PATH, sendfile, copy_file_range, readahead advice: of an incomplete and of a complete blob."""
    content = big_file(hub, 8 * MIB, 90)
    expected = content.read()
    wfs.start("--complete", "never")
    path = wfs.snapshot("org/big") / "model.safetensors"
    out = tmp_path / "out"
    for _ in range(2):
        fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
        with mmap.mmap(-1, MIB) as buffer:
            assert os.preadv(fd, [buffer], 3 * MIB) == MIB
            assert buffer[:] == expected[3 * MIB : 4 * MIB]
        os.close(fd)
        fd = os.open(path, os.O_PATH)
        assert os.fstat(fd).st_size == 8 * MIB
        os.close(fd)
        with path.open("rb", buffering=0) as f, out.open("w+b", buffering=0) as o:
            os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_WILLNEED)
            while os.sendfile(o.fileno(), f.fileno(), None, 16 * MIB):
                pass
            assert out.read_bytes() == expected
            o.truncate(0)
            with contextlib.suppress(OSError):  # the kernel may say EXDEV: then cp(1) reads
                assert os.copy_file_range(f.fileno(), o.fileno(), MIB, MIB, 0) == MIB
                assert os.pread(o.fileno(), MIB, 0) == expected[MIB : 2 * MIB]
            assert os.lseek(f.fileno(), 0, os.SEEK_END) == 8 * MIB
        st = os.statvfs(wfs.mnt)
        assert st.f_namemax == 255
        assert st.f_blocks > 0
        wfs.command("pull", "--state", wfs.state, "--store", wfs.store, "org/big")  # what is tried again below is complete
        wait_for((wfs.stored("org/big") / "blobs" / content.sha256).exists)
        time.sleep(1.1)


class FileHandle(ctypes.Structure):
    _fields_ = [("bytes", ctypes.c_uint), ("type", ctypes.c_int), ("data", ctypes.c_char * 128)]


@pytest.mark.skipif(os.geteuid() != 0, reason="open_by_handle_at() is for root")
def test_handles_outlive_the_kernels_caches(wfs: Weightfs, hub: Hub) -> None:
    repo = hub.add_repo("model", "org/handles")
    sha = repo.commit({"config.json": "{}", "a/b/c.txt": "c"})
    repo.tag("release/1")
    wfs.start()
    top = wfs.repo("org/handles")
    snapshot = wfs.snapshot("org/handles")
    (top / "refs/release/1").read_text()
    etag = os.readlink(snapshot / "config.json").split("/")[-1]
    paths = [wfs.mnt, wfs.hub_cache, wfs.hub_cache / ".locks", wfs.hub_cache / ".locks" / top.name, top, top / "refs",
             top / "refs/main", top / "refs/release", top / "refs/release/1",
             top / "refs" / sha, top / "snapshots", snapshot, snapshot / "a/b", snapshot / "config.json",
             top / "blobs", top / "blobs" / etag, top / "trees", top / "trees" / f"{sha}.json",
             top / ".no_exist" / sha / "x.json",
             wfs.mnt / "models", wfs.mnt / "models/org", wfs.mnt / "models/org/handles",
             wfs.mnt / "models/org/handles/a/b", wfs.mnt / "models/org/handles@release%2F1",
             wfs.mnt / f"models/org/handles@{sha}/a/b/c.txt"]
    # Folders that are there by lookup only (.no_exist, Name@sha) are not found again: the kernel looks
    # for their names in a listing.
    (top / "blobs" / etag).read_text()
    wait_for((wfs.stored("org/handles") / "blobs" / etag).exists)
    time.sleep(1.1)
    mount = os.open(wfs.mnt, os.O_RDONLY)
    handles = {}
    for path in paths:
        handle, number = FileHandle(bytes=128), ctypes.c_int()
        assert libc.name_to_handle_at(-100, os.fsencode(path), ctypes.byref(handle), ctypes.byref(number), 0) == 0, path
        handles[path] = (handle, os.lstat(path))
    Path("/proc/sys/vm/drop_caches").write_text("2")
    for path, (handle, st) in handles.items():
        fd = libc.open_by_handle_at(mount, ctypes.byref(handle), os.O_PATH)
        assert fd >= 0, (path, os.strerror(ctypes.get_errno()))
        now = os.fstat(fd)
        assert (now.st_ino, now.st_mode, now.st_size) == (st.st_ino, st.st_mode, st.st_size), path
        os.close(fd)
    os.close(mount)

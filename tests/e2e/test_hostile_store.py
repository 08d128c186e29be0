"""A store that somebody else filled, and who means harm: nothing outside it is served through the mount, and nothing
is written through what lies in it."""

from __future__ import annotations

import os
import shutil
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness import Weightfs
from hub.content import Synthetic
from hub.hub import Hub
from hub.repos import Commit
from test_lazy import MIB

SECRET = b"this lies outside the store"
BIG = Synthetic(MIB, 1)
FILES = {"config.json": '{"a": 1}', "model.safetensors": BIG, "sub/deep/tokenizer.json": "[]"}
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make devices")


class Trap:
    """A store with one repo that the hub knows too, laid out as a client leaves it, into which a trick is put."""

    def __init__(self, wfs: Weightfs, commit: Commit) -> None:
        self.wfs = wfs
        self.commit = commit
        self.hub = wfs.store / "hub"
        self.repo = self.hub / "models--org--a"
        self.snapshot = self.repo / "snapshots" / commit.oid
        self.outside = wfs.store.parent / "outside"
        self.outside.mkdir()
        (self.outside / "folder").mkdir()
        for name in ("secret", "folder/secret", "folder/main", f"folder/{BIG.sha256}", f"folder/{commit.oid}.json",
                     "folder/config.json", "empty"):
            (self.outside / name).write_bytes(b"" if name == "empty" else SECRET)
            (self.outside / name).chmod(0o600)
        for folder in ("blobs", "refs", "trees"):
            (self.repo / folder).mkdir(parents=True)
        (self.repo / "refs/main").write_text(commit.oid)
        for path, entry in commit.files.items():
            blob = self.repo / "blobs" / entry.etag
            blob.write_bytes(entry.content.read(0, entry.size))
            link = self.snapshot / path
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to("../" * (path.count("/") + 2) + f"blobs/{entry.etag}")

    def blob(self, path: str = "model.safetensors") -> Path:
        return self.repo / "blobs" / self.commit.files[path].etag

    def replace(self, path: Path, target: str | Path) -> None:
        """A link in place of what is there."""
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)


def seen(folder: Path) -> dict[str, tuple[int, int, int, bytes]]:
    return {str(p): (p.lstat().st_mode, p.lstat().st_uid, p.lstat().st_mtime_ns, b"" if p.is_dir() else p.read_bytes())
            for p in [folder, *folder.rglob("*")]}


def read_everything(top: Path) -> bytes:
    """All that can be read through the mount, by every name."""
    got = b""
    for folder, folders, files in os.walk(top):
        for name in [*folders, *files]:
            path = Path(folder) / name
            try:
                if path.is_symlink():
                    assert not os.readlink(path).startswith("/"), path
                    assert path.resolve().is_relative_to(top.parent), path
                mode = path.stat().st_mode
                assert stat.S_ISREG(mode) or stat.S_ISDIR(mode), path
                assert mode & 0o7222 == 0, "neither setuid nor writable"
                got += path.read_bytes() if stat.S_ISREG(mode) else b""
            except OSError:
                continue
    return got


@pytest.fixture
def trap(wfs: Weightfs, hub: Hub) -> Iterator[Trap]:
    repo = hub.add_repo("model", "org/a")
    commit = repo.resolve(repo.commit(FILES))
    assert commit
    yield Trap(wfs, commit)


def shadow(t: Trap) -> Path:
    return t.outside / "secret"


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def unix_socket(path: Path) -> None:
    path.unlink()
    with socket.socket(socket.AF_UNIX) as s:
        os.chdir(path.parent)
        s.bind(path.name)
        os.chdir("/")


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def setuid(path: Path) -> None:
    path.chmod(0o6755)


def shared(t: Trap, target: str) -> None:
    t.replace(t.blob(), target)


TRICKS: dict[str, Callable[[Trap], object]] = {
    "blob, absolute": lambda t: t.replace(t.blob(), shadow(t)),
    "blob, relative": lambda t: t.replace(t.blob(), "../../../../outside/secret"),
    "blob, small": lambda t: t.replace(t.blob("config.json"), shadow(t)),
    "blob, itself": lambda t: t.replace(t.blob(), t.blob().name),
    "blob, a loop": lambda t: (t.replace(t.blob(), "config"), t.replace(t.repo / "blobs/config", t.blob().name)),
    "blob, dangling": lambda t: t.replace(t.blob(), t.outside / "made-by-weightfs"),
    "blob, of the shared store": lambda t: (t.replace(t.blob(), f"../../blobs/{BIG.sha256[:2]}/{BIG.sha256}"),
                                            t.replace(t.hub / "blobs" / BIG.sha256[:2], t.outside / "folder")),
    "blob, of a shared store elsewhere": lambda t: (
        t.replace(t.blob(), f"../../blobs/{BIG.sha256[:2]}/{BIG.sha256}"), t.replace(t.hub / "blobs", t.outside)),
    "blob, a fifo": lambda t: fifo(t.blob()),
    "blob, a socket": lambda t: unix_socket(t.blob()),
    "blob, a folder": lambda t: folder(t.blob()),
    "blob, setuid": lambda t: setuid(t.blob()),
    "blob, too short": lambda t: t.blob().write_bytes(b"short"),
    "blobs": lambda t: t.replace(t.repo / "blobs", t.outside / "folder"),
    "snapshot": lambda t: t.replace(t.snapshot, t.outside / "folder"),
    "snapshots": lambda t: t.replace(t.repo / "snapshots", t.outside),
    "folder in a snapshot": lambda t: t.replace(t.snapshot / "sub", t.outside / "folder"),
    "folder in a snapshot, up": lambda t: t.replace(t.snapshot / "sub/deep", "../../../../../../outside/folder"),
    "file in a snapshot": lambda t: t.replace(t.snapshot / "config.json", shadow(t)),
    "file in a snapshot, /proc": lambda t: t.replace(t.snapshot / "config.json", "/proc/self/environ"),
    "ref": lambda t: t.replace(t.repo / "refs/main", t.outside / "folder/main"),
    "ref, dangling": lambda t: t.replace(t.repo / "refs/main", t.outside / "made-by-weightfs"),
    "refs": lambda t: t.replace(t.repo / "refs", t.outside / "folder"),
    "refs, a loop": lambda t: t.replace(t.repo / "refs/pr", "../refs"),
    "ref, a fifo": lambda t: fifo(t.repo / "refs/main"),
    "tree": lambda t: t.replace(t.repo / f"trees/{t.commit.oid}.json", t.outside / f"folder/{t.commit.oid}.json"),
    "trees": lambda t: t.replace(t.repo / "trees", t.outside / "folder"),
    "tree, endless": lambda t: t.replace(t.repo / f"trees/{t.commit.oid}.json", "/dev/zero"),
    "repo": lambda t: t.replace(t.repo, t.outside / "folder"),
    "repo, relative": lambda t: t.replace(t.repo, "../../outside/folder"),
    "repo, itself": lambda t: t.replace(t.repo, "models--org--a"),
    "repo, a loop": lambda t: (t.replace(t.repo, "models--org--b"), t.replace(t.hub / "models--org--b", "models--org--a")),
    "repo, another type": lambda t: t.replace(t.repo, "datasets--org--a"),
    "repo, a file": lambda t: (shutil.rmtree(t.repo), t.repo.write_bytes(SECRET)),
    "names": lambda t: [(t.hub / name).mkdir() for name in ("models--..--x", "models--a--..", "models--" + "x" * 240,
                                                            "models--a\nb", "models--\x1b[31m", "models--\udcff")],
    "deep": lambda t: (t.snapshot / "/".join("d" * 900)).mkdir(parents=True),
    "tree, absurd": lambda t: (t.repo / f"trees/{t.commit.oid}.json").write_text(
        '{"files":{"../../../outside/x":{"blob_id":"' + "a" * 40 + '","size":1},"x":{"blob_id":"../../x","size":-1}},'
        '"format_version":1}'),
    "tree, deep": lambda t: (t.repo / f"trees/{t.commit.oid}.json").write_text("[" * (8 * MIB)),
}


@pytest.mark.parametrize("trick", TRICKS)
def test_tricks_in_a_cache(trap: Trap, hub: Hub, trick: str) -> None:
    """First offline, when the store is all there is, then online, when what is missing is brought."""
    TRICKS[trick](trap)
    before = seen(trap.outside)
    trap.wfs.offline()
    stdin = os.readlink(f"/proc/{trap.wfs.pid}/fd/0")
    got = read_everything(trap.wfs.mnt / "hub") + read_everything(trap.wfs.mnt / "models")
    for path in FILES:
        try:
            got += (trap.wfs.repo("org/a") / "snapshots" / trap.commit.oid / path).read_bytes()
        except OSError:
            continue
    assert SECRET not in got
    assert os.readlink(f"/proc/{trap.wfs.pid}/fd/0") == stdin, "a descriptor of others was closed"
    trap.wfs.stop()
    trap.wfs.start("--read-deadline", "5", "--lookup-deadline", "3")
    try:
        (trap.wfs.snapshot("org/a") / "model.safetensors").read_bytes()
        (trap.wfs.snapshot("org/a") / "sub/deep/tokenizer.json").read_bytes()
        (trap.wfs.repo("org/a") / "refs/other").exists()
    except OSError:
        pass
    trap.wfs.command("pull", "--state", trap.wfs.state, "org/a", check=False)
    got = read_everything(trap.wfs.mnt / "hub") + read_everything(trap.wfs.mnt / "models")
    assert SECRET not in got
    trap.wfs.command("ls", "--store", trap.wfs.store, "--state", trap.wfs.state, check=False)
    trap.wfs.stop()
    assert seen(trap.outside) == before, "something outside the store was touched"


@root_only
def test_devices(trap: Trap) -> None:
    """None is opened: a tape would wind, a watchdog start."""
    for path, device in ((trap.blob(), os.makedev(1, 5)), (trap.repo / "refs/main", os.makedev(1, 9))):
        path.unlink()
        os.mknod(path, stat.S_IFCHR | 0o666, device)
    trap.wfs.offline()
    assert b"\0" * 100 not in read_everything(trap.wfs.mnt / "hub")
    trap.wfs.stop()


def test_links_in_place_of_folders(trap: Trap) -> None:
    """hub, partial and quarantine are refused as links; who wants one elsewhere says so with --store."""
    before = seen(trap.outside)
    for name in ("hub", "partial", "quarantine"):
        path = trap.wfs.store / name
        if path.exists():
            path.rename(trap.wfs.store / "aside")
        path.symlink_to(trap.outside / "folder")
        with pytest.raises(AssertionError, match=f"store/{name}.* is a symbolic link"):
            trap.wfs.start()
        path.unlink()
        if (trap.wfs.store / "aside").exists():
            (trap.wfs.store / "aside").rename(path)
    assert seen(trap.outside) == before


@pytest.mark.parametrize("what", ["partial", "map", "both", "instance", "fifo", "folder"])
def test_links_in_place_of_what_is_filled(trap: Trap, what: str) -> None:
    """The folder of a daemon has a name that can be known beforehand."""
    shutil.rmtree(trap.repo)
    trap.wfs.start()
    trap.wfs.stop()
    instance = next((trap.wfs.store / "partial").iterdir())
    victim = trap.outside / "empty"
    if what == "instance":
        trap.replace(instance, trap.outside / "folder")
    if what in ("partial", "both"):
        (instance / BIG.sha256).symlink_to(victim)
    if what in ("map", "both"):
        (instance / f"{BIG.sha256}.map").symlink_to(victim)
    if what == "fifo":
        os.mkfifo(instance / BIG.sha256)
        os.mkfifo(instance / f"{BIG.sha256}.map")
    if what == "folder":
        (instance / BIG.sha256).mkdir()
        (instance / f"{BIG.sha256}.map").mkdir()
    before = seen(trap.outside)
    try:
        trap.wfs.start("--read-deadline", "5")
        (trap.wfs.snapshot("org/a") / "model.safetensors").read_bytes()
        trap.wfs.command("pull", "--state", trap.wfs.state, "org/a", check=False)
    except AssertionError as e:
        assert "is a symbolic link" in str(e)
    except OSError:
        pass
    trap.wfs.stop()
    assert seen(trap.outside) == before


@pytest.mark.parametrize("name", ["catalogue.sqlite", "catalogue.sqlite-wal", "catalogue.sqlite-shm", "lock",
                                  "weightfs.log", "control.sock"])
@pytest.mark.parametrize("target", ["empty", "made-by-weightfs", "secret"])
def test_links_in_the_state_folder(trap: Trap, name: str, target: str) -> None:
    """It lies in the store by default, and so may come with one."""
    trap.wfs.state = trap.wfs.store / "state"
    trap.wfs.state.mkdir(mode=0o700)
    (trap.wfs.state / name).symlink_to(trap.outside / target)
    before = seen(trap.outside)
    try:
        trap.wfs.command("mount", "--store", trap.wfs.store, "--endpoint", str(trap.wfs.endpoint), trap.wfs.mnt)
        (trap.wfs.snapshot("org/a") / "model.safetensors").read_bytes()
        trap.wfs.command("unmount", trap.wfs.mnt)
    except AssertionError as e:
        assert str(trap.wfs.state) in str(e), "the error names what is in the way"
    assert seen(trap.outside) == before


@pytest.mark.parametrize("name", ["catalogue.sqlite", "lock", "weightfs.log"])
def test_fifos_in_the_state_folder(trap: Trap, name: str) -> None:
    trap.wfs.state = trap.wfs.store / "state"
    trap.wfs.state.mkdir(mode=0o700)
    os.mkfifo(trap.wfs.state / name)
    done = trap.wfs.command("mount", "--store", trap.wfs.store, "--endpoint", str(trap.wfs.endpoint), trap.wfs.mnt,
                            check=False, timeout=30)
    if done.returncode == 0:
        trap.wfs.command("unmount", trap.wfs.mnt)
    else:
        assert str(trap.wfs.state) in done.stderr

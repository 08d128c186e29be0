"""Random operations against a plain model of what the hub holds: every byte, name, size, target and errno is compared.

The oracle is a dict of paths and bytes for each commit, and what follows from it for the tree that weightfs
shows. WEIGHTFS_MODEL_SECONDS says how long (30), WEIGHTFS_MODEL_SEED repeats a run; a failure tells the seed and
what was done last.
"""

from __future__ import annotations

import errno
import mmap
import os
import random
import stat
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from harness import Weightfs
from hub.hub import Hub
from hub.repos import Repo

SECONDS = float(os.environ.get("WEIGHTFS_MODEL_SECONDS", "30"))
SEED = int(os.environ.get("WEIGHTFS_MODEL_SEED", "0")) or time.time_ns() % 1_000_000
PATHS = ("config.json", "model.safetensors", "a/tokenizer.json", "a/b/deep.bin", "a/b/deep.json", "empty", "z.txt")
NAMES = ("nope.json", "a/nope", "config.json.bak", "a/b/c/d", "adapter_config.json")


@dataclass
class Commit:
    sha: str
    files: dict[str, bytes]
    etags: dict[str, str]

    def children(self, folder: str) -> set[str]:
        prefix = folder + "/" if folder else ""
        return {p[len(prefix):].split("/")[0] for p in self.files if p.startswith(prefix)}


@dataclass
class Known:
    """A repo, as the hub has it and as far as this mount was seen to show it."""

    id: str
    repo: Repo
    commits: list[Commit] = field(default_factory=list)
    seen: int = -1  # the newest commit that refs/main was seen to name
    pulled: set[int] = field(default_factory=set)  # whole in the store: there also offline


def fault_in(m: mmap.mmap, at: int, size: int) -> bytes:
    """What the mapping holds there. The kernel takes it: in a page fault of our own we would keep Python's lock,
    which the hub, in this process, needs."""
    fd = os.memfd_create("model")
    try:
        with memoryview(m) as view, view[at:at + size] as part:
            done = os.write(fd, part)
        return os.pread(fd, done, 0)
    finally:
        os.close(fd)


class Model:
    def __init__(self, wfs: Weightfs, hub: Hub, seed: int) -> None:
        self.wfs, self.hub, self.rng = wfs, hub, random.Random(seed)
        self.repos: list[Known] = []
        self.offline = False
        self.done: deque[str] = deque(maxlen=40)
        for _ in range(2):
            self.add_repo()

    # -- the hub changes

    def content(self) -> bytes:
        return self.rng.randbytes(self.rng.choice((0, 1, 20, 4096, 4097, 70_000, 300_000, 1_500_000)))

    def commit(self, known: Known | None = None) -> None:
        known = known or self.rng.choice(self.repos)
        files = {p: self.content() for p in self.rng.sample(PATHS, self.rng.randint(1, len(PATHS)))}
        if "empty" in files:
            files["empty"] = b""
        sha = known.repo.commit(dict(files), replace=True, title=str(len(known.commits)))
        etags = {p: e.etag for p, e in known.repo.commits[sha].files.items()}
        known.commits.append(Commit(sha, files, etags))

    def add_repo(self) -> None:
        if len(self.repos) < 6:
            id_ = f"org/r{len(self.repos)}"
            known = Known(id_, self.hub.add_repo("model", id_))
            self.commit(known)
            self.repos.append(known)

    # -- what the mount shows

    def visible(self) -> tuple[Known, int, Commit, Path] | None:
        """A repo and one of its commits that was shown before; offline, one that is held."""
        known = self.rng.choice(self.repos)
        if self.offline:
            if not known.pulled:
                return None
            at = self.rng.choice(sorted(known.pulled))
        else:
            if known.seen < 0:
                self.read_ref(known)
            at = self.rng.randint(0, known.seen)
        commit = known.commits[at]
        return known, at, commit, self.wfs.repo(known.id) / "snapshots" / commit.sha

    def read_ref(self, known: Known | None = None) -> None:
        known = known or self.rng.choice(self.repos)
        if self.offline and not known.pulled:
            return
        try:
            sha = (self.wfs.repo(known.id) / "refs/main").read_text()
        except FileNotFoundError:
            # a lookup may have moved it on since it was seen, to a commit that is not held: then it is hidden
            later = range(known.seen, len(known.commits))
            assert self.offline and (known.seen < 0 or not known.pulled.issuperset(later)), "refs/main is gone"
            return
        at = next(i for i, c in enumerate(known.commits) if c.sha == sha)
        assert at >= known.seen, "refs/main went back"  # believed for 60 s, so it may lag behind the hub
        known.seen = at

    def read_some(self, path: Path, want: bytes, how: str) -> None:
        rng = self.rng
        with path.open("rb", buffering=0) as f:
            if how == "mmap" and want:
                with mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ) as m:
                    for _ in range(rng.randint(1, 4)):
                        at = rng.randrange(len(want))
                        assert fault_in(m, at, 5000) == want[at:at + 5000]
                return
            for _ in range(rng.randint(1, 4)):
                at, size = rng.randint(0, len(want) + 10), rng.choice((1, 4096, 131072, 3_000_000))
                got = b""
                while part := os.pread(f.fileno(), size - len(got), at + len(got)):
                    got += part
                assert got == want[at:at + size], (path, at, size, len(got))

    def read(self) -> None:
        if not (chosen := self.visible()):
            return
        known, _, commit, snapshot = chosen
        path = self.rng.choice(list(commit.files))
        way = self.rng.choice(("snapshot", "blob", "plain"))
        where = {"snapshot": snapshot / path, "blob": self.wfs.repo(known.id) / "blobs" / commit.etags[path],
                 "plain": self.wfs.mnt / "models" / f"{known.id}@{commit.sha}" / path}[way]
        self.done.append(f"  {where}")
        if way == "blob":
            os.stat(snapshot)  # main may have gone past this commit unseen: it makes its blobs known
        self.read_some(where, commit.files[path], self.rng.choice(("pread", "mmap")))

    def look(self) -> None:
        if not (chosen := self.visible()):
            return
        _, _, commit, snapshot = chosen
        path = self.rng.choice(list(commit.files))
        self.done.append(f"  {snapshot / path}")
        assert os.readlink(snapshot / path) == "../" * (2 + path.count("/")) + "blobs/" + commit.etags[path]
        st = os.stat(snapshot / path)
        assert st.st_size == len(commit.files[path]) and stat.S_ISREG(st.st_mode)
        assert stat.S_IMODE(st.st_mode) == 0o444
        assert os.access(snapshot / path, os.R_OK)

    def list(self) -> None:
        if not (chosen := self.visible()):
            return
        _, _, commit, snapshot = chosen
        folder = self.rng.choice(["", *{str(Path(p).parent) for p in commit.files if "/" in p}])
        self.done.append(f"  {snapshot / folder}")
        assert set(os.listdir(snapshot / folder)) == commit.children(folder)
        with os.scandir(snapshot / folder) as entries:
            for e in entries:
                assert e.is_symlink() == (os.path.join(folder, e.name) in commit.files)

    def look_for_nothing(self) -> None:
        if not (chosen := self.visible()):
            return
        _, _, commit, snapshot = chosen
        for name in self.rng.sample((*NAMES, *PATHS), 4):
            if name in commit.files or commit.children(name):
                continue
            above = next((p for p in commit.files if name.startswith(p + "/")), None)
            with pytest.raises(NotADirectoryError if above else FileNotFoundError):
                os.stat(snapshot / name)
            if not above:
                with pytest.raises(FileNotFoundError):
                    (snapshot / name).open()

    def write(self) -> None:
        if not (chosen := self.visible()):
            return
        _, _, commit, snapshot = chosen
        path = snapshot / self.rng.choice(list(commit.files))
        tries: tuple[Callable[[], object], ...] = (
            lambda: os.open(path, os.O_WRONLY), lambda: os.unlink(path), lambda: os.mkdir(snapshot / "new"),
            lambda: os.rename(path, snapshot / "new"), lambda: os.truncate(path, 0), lambda: os.chmod(path, 0o600),
        )
        with pytest.raises(OSError) as e:
            self.rng.choice(tries)()
        assert e.value.errno == errno.EROFS

    def list_repos(self) -> None:
        shown = set(os.listdir(self.wfs.hub_cache))
        folders = {f"models--{k.id.replace('/', '--')}": k for k in self.repos}
        assert {n for n in shown if n.startswith("models--")} <= set(folders)
        for name, known in folders.items():
            assert name in shown or known.seen < 0 or self.offline

    # -- the daemon

    def pull(self) -> None:
        known = self.rng.choice(self.repos)
        if self.offline:
            return
        at = self.rng.randint(0, len(known.commits) - 1)
        self.wfs.command("pull", "--state", self.wfs.state, f"{known.id}@{known.commits[at].sha}")
        known.pulled.add(at)

    def switch(self) -> None:
        if self.rng.random() < 0.5 and not self.offline:
            return  # mostly online
        self.offline = not self.offline
        self.wfs.command("offline", "on" if self.offline else "off", self.wfs.mnt)

    def restart(self) -> None:
        if self.rng.random() < 0.5:
            self.wfs.stop()
        else:
            self.wfs.kill()
        self.offline = self.rng.random() < 0.3
        self.wfs.start(*(["--offline"] if self.offline else []))
        if self.offline:  # for good: a run of operations, then online again
            for _ in range(10):
                self.one((self.read, self.look, self.list, self.look_for_nothing, self.write))
            self.wfs.stop()
            self.wfs.start()
            self.offline = False

    def drop_caches(self) -> None:
        os.sync()
        if os.geteuid() == 0:
            Path("/proc/sys/vm/drop_caches").write_text("2")  # names and attributes

    def break_hub(self) -> None:
        """Connections are cut: nobody should notice."""
        self.hub.break_connections()

    def one(self, which: tuple[Callable[[], None], ...]) -> None:
        action = self.rng.choice(which)
        self.done.append(f"{action.__name__}{' (offline)' if self.offline else ''}")
        action()


@pytest.mark.limit(SECONDS + 90)
def test_random_operations(wfs: Weightfs, hub: Hub) -> None:
    model = Model(wfs, hub, SEED)
    often = (model.read, model.read, model.look, model.list, model.look_for_nothing, model.read_ref) * 4
    seldom = (model.write, model.list_repos, model.commit, model.pull, model.switch, model.break_hub) * 2
    rarely = (model.restart, model.add_repo, model.drop_caches)
    count, end = 0, time.monotonic() + SECONDS
    wfs.start()
    try:
        while time.monotonic() < end:
            model.one(often + seldom + rarely)
            count += 1
        if model.offline:
            model.switch()
        for known in model.repos:  # and at the end everything
            model.read_ref(known)
            for commit in known.commits[:known.seen + 1]:
                for path, want in commit.files.items():
                    where = wfs.repo(known.id) / "snapshots" / commit.sha / path
                    assert where.read_bytes() == want
    except BaseException as e:
        e.add_note(f"WEIGHTFS_MODEL_SEED={SEED}, after {count} operations; the last:\n" + "\n".join(model.done))
        raise
    print(f"seed {SEED}: {count} operations")

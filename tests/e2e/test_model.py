"""Random operations against a plain model of what the hub holds: every byte, name, size, target and errno is compared.

The oracle is a dict of paths and bytes for each commit, and what follows from it for the tree that weightfs
shows. The hub errs now and then, and has gated repos: until a little after that a reader may get the errno that
says so, but never wrong bytes, and never ENOENT. Half of the runs have --verify=strict, and files of which the hub
sends a byte wrong once. WEIGHTFS_MODEL_SECONDS says how long (30), WEIGHTFS_MODEL_SEED what is chosen (1; 0: something
else each time); a failure tells the seed and what was done last.
"""

from __future__ import annotations

import errno
import mmap
import os
import random
import stat
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from harness import Weightfs
from hub.hub import Hub
from hub.repos import Repo

SECONDS = float(os.environ.get("WEIGHTFS_MODEL_SECONDS", "30"))
SEED = int(os.environ.get("WEIGHTFS_MODEL_SEED", "1")) or time.time_ns() % 1_000_000
PATHS = ("config.json", "model.safetensors", "a/tokenizer.json", "a/b/deep.bin", "a/b/deep.json", "empty", "z.txt")
NAMES = ("nope.json", "a/nope", "config.json.bak", "a/b/c/d", "adapter_config.json")
TROUBLES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("reset", {}), ("reset", {"at": 50}), ("truncate", {"at": 50}), ("stall", {"at": 50, "seconds": 2}),
    ("hang", {"seconds": 2}), ("status", {"status": 500}), ("status", {"status": 503}), ("status", {"status": 429}),
    ("status", {"status": 429, "retry_after": 1}), ("status", {"status": 502, "body": "<html>"}), ("ignore_range", {}),
    ("length", {"delta": -1}), ("content_range", {"shift": 4096}), ("json", {"mode": "truncated"}), ("down", {}),
)
HEALS = 6  # seconds after a fault in which it may still be told
BELIEVED = 65  # a ref may be so old: 60 s, one in the kernel, and some for the question
NEW_AT_ONCE, NEW_A_SECOND = 40, 3  # commits: of 60 unknown ones at once, then of 5 a second, the hub is asked
LIMITS = ("--lookup-deadline", "5", "--read-deadline", "8")


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
    dev: list[tuple[float, str | None]] = field(default_factory=lambda: [(0.0, None)])  # what it named, since when
    open_again: float = 0.0  # since when it is not gated
    safe: int = -1  # the newest that it was seen to name when that was pulled
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
        self.asked: list[Known] = []  # whose repo the present operation is about
        self.offline = False
        self.strict = seed % 2 == 1
        self.options = (*LIMITS, *(["--verify=strict"] if self.strict else []))
        self.trouble_ends = -HEALS * 1.0
        self.began = time.monotonic()
        self.made = 0  # commits
        self.refused = 0
        self.stood_for = 0  # times that refs/main named the commit before, offline
        self.held: deque[tuple[int, bytes, Known]] = deque()
        self.done: deque[str] = deque(maxlen=40)
        for _ in range(2):
            self.add_repo()

    # -- the hub changes

    def content(self) -> bytes:
        return self.rng.randbytes(self.rng.choice((0, 1, 20, 4096, 4097, 70_000, 300_000, 1_500_000)))

    def files(self, known: Known) -> dict[str, bytes]:
        """Of a new commit: all new, or the last one's with some less, some that another repo has, some new."""
        rng = self.rng
        if known.commits and rng.random() < 0.5:
            files = dict(known.commits[-1].files)
            for path in rng.sample(sorted(files), rng.randint(0, len(files) - 1)):
                del files[path]
        else:
            files = {p: self.content() for p in rng.sample(PATHS, rng.randint(1, len(PATHS)))}
        others = [c for k in self.repos for c in k.commits[-1:]]
        if others and rng.random() < 0.5:  # the same blobs
            other = rng.choice(others).files
            files |= {p: other[p] for p in rng.sample(sorted(other), rng.randint(1, len(other)))}
        if rng.random() < 0.5:
            files[rng.choice(PATHS)] = self.content()
        if "empty" in files:
            files["empty"] = b""
        return files

    def commit(self, known: Known | None = None) -> None:
        known = known or self.rng.choice(self.repos)
        if known.commits and self.made >= NEW_AT_ONCE + NEW_A_SECOND * (time.monotonic() - self.began):
            return  # a machine that is this fast would come to the names that are not looked up, which are EIO
        self.made += 1
        files = self.files(known)
        if self.strict and self.rng.random() < 0.5:
            path, data = f"wrong{len(known.commits)}.bin", self.content() + b"."
            files[path] = data
            self.hub.fault("corrupt", on="content", path=path, repo=f"model:{known.id}", times=1,
                           at=self.rng.randrange(len(data)))
        sha = known.repo.commit(dict(files), replace=True, title=str(len(known.commits)))
        etags = {p: e.etag for p, e in known.repo.commits[sha].files.items()}
        known.commits.append(Commit(sha, files, etags))

    def add_repo(self) -> None:
        if len(self.repos) < 6:
            id_ = f"org/r{len(self.repos)}"
            known = Known(id_, self.hub.add_repo("model", id_))
            self.commit(known)
            self.repos.append(known)

    def move_dev(self) -> None:
        """A branch that comes and goes."""
        known = self.rng.choice(self.repos)
        sha = None if self.rng.random() < 0.4 else self.rng.choice(known.commits).sha
        if sha:
            known.repo.set_ref("dev", sha)
        elif known.dev[-1][1]:
            known.repo.drop_ref("dev")
        known.dev.append((time.monotonic(), sha))

    def gate(self) -> None:
        known = self.rng.choice(self.repos)
        if known.repo.gated:
            known.open_again = time.monotonic()
        known.repo.gated = False if known.repo.gated or self.rng.random() < 0.3 else "manual"

    def trouble(self) -> None:
        """The hub errs for a moment, from now on."""
        if time.monotonic() < self.trouble_ends:
            return
        kind, options = self.rng.choice(TROUBLES)
        seconds = self.rng.uniform(0.2, 3)
        self.done.append(f"  {kind} {options} {seconds:.1f} s")
        self.trouble_ends = time.monotonic() + seconds
        if kind == "down":
            self.hub.down()
            mend: Callable[[], None] = self.hub.up
        else:
            mend = self.hub.fault(kind, on=self.rng.choice(("any", "api", "content", "resolve")), **options,
                                 probability=self.rng.choice((0.3, 1.0)), times=self.rng.choice((1, 3, None))).remove

        def end() -> None:
            mend()
            self.trouble_ends = max(self.trouble_ends, time.monotonic())  # a timer may be late

        timer = threading.Timer(seconds, end)
        timer.daemon = True
        timer.start()
        for _ in range(4):  # what needs the hub: there is something new
            self.commit()
            self.one((self.read, self.look, self.list, self.read_ref, self.read_dev, self.hold))

    def may_fail(self, began: float, error: OSError) -> bool:
        """Whether what the hub does, or did shortly before, is a reason."""
        if error.errno == errno.EACCES:
            return not self.offline and any(k.repo.gated or began < k.open_again + HEALS for k in self.asked)
        # a page that cannot be had is EFAULT where the kernel takes it for fault_in()
        return error.errno in (errno.EIO, errno.EFAULT) and began < self.trouble_ends + HEALS

    # -- what the mount shows

    def visible(self) -> tuple[Known, int, Commit, Path] | None:
        """A repo and one of its commits; offline, one that is held."""
        known = self.rng.choice(self.repos)
        self.asked = [known]
        if self.offline:
            if not known.pulled:
                return None
            at = self.rng.choice(sorted(known.pulled))
        else:
            if known.seen < 0 and self.rng.random() < 0.5:
                self.read_ref(known)
            at = self.rng.randrange(len(known.commits))  # one of which the daemon has not heard, too
        commit = known.commits[at]
        return known, at, commit, self.wfs.repo(known.id) / "snapshots" / commit.sha

    def read_ref(self, known: Known | None = None) -> None:
        known = known or self.rng.choice(self.repos)
        self.asked = [known]
        if self.offline and not known.pulled:
            return
        try:
            sha = (self.wfs.repo(known.id) / "refs/main").read_text()
        except FileNotFoundError:
            # a lookup may have moved it on since it was seen, to a commit that is not held: then it is hidden
            later = range(known.seen, len(known.commits))
            assert self.offline and (known.seen < 0 or not known.pulled.issuperset(later)), "refs/main is gone"
            assert known.safe < 0, "what could be loaded is gone"
            return
        at = next(i for i, c in enumerate(known.commits) if c.sha == sha)
        if self.offline:
            self.check_loadable(known, at)
            return
        assert at >= known.seen, "refs/main went back"  # believed for 60 s, so it may lag behind the hub
        known.seen = at
        if at in known.pulled:
            known.safe = at

    def check_loadable(self, known: Known, at: int) -> None:
        """Offline, a ref that moved since it named a whole commit names one that has as much of it."""
        if known.safe < 0:
            return
        assert at >= known.safe, "refs/main went back"
        self.stood_for += at < known.seen
        commit = known.commits[at]
        for path, want in commit.files.items():
            if all(path in c.files for c in known.commits[known.safe:at]):  # else another may have come in its place
                where = self.wfs.repo(known.id) / "snapshots" / commit.sha / path
                assert where.read_bytes() == want, where

    def read_dev(self) -> None:
        known = self.rng.choice(self.repos)
        self.asked = [known]
        began = time.monotonic()
        try:
            got = (self.wfs.repo(known.id) / "refs/dev").read_text()
        except FileNotFoundError:
            got = None
        if got is None and self.offline:
            return  # it may not be held
        # what is held answers for a hub that is away, however old it is
        oldest = 0.0 if self.offline or began < self.trouble_ends + HEALS else began - BELIEVED
        ends = [since for since, _ in known.dev[1:]] + [began + 1e9]
        right = {sha for (_, sha), end in zip(known.dev, ends, strict=True) if end >= oldest}
        assert got in right, f"refs/dev of {known.id} says {got}, of {right}"

    def hold(self) -> None:
        """Opens a file, for long."""
        if self.offline or not (chosen := self.visible()):
            return
        known, _, commit, snapshot = chosen
        path = self.rng.choice(list(commit.files))
        self.done.append(f"  {snapshot / path}")
        self.held.append((os.open(snapshot / path, os.O_RDONLY), commit.files[path], known))
        if len(self.held) > 4:
            os.close(self.held.popleft()[0])

    def read_held(self) -> None:
        if self.offline or not self.held:
            return
        fd, want, known = self.rng.choice(self.held)
        self.asked = [known]
        at, size = self.rng.randint(0, len(want)), self.rng.choice((1, 4096, 1_000_000))
        got = os.pread(fd, size, at)
        assert got == want[at:at + len(got)] and (got or at == len(want)), (known.id, at, size, len(got))

    def let_go(self) -> None:
        while self.held:
            os.close(self.held.pop()[0])

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
        if e.value.errno != errno.EROFS:
            raise e.value

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
        self.asked = [known]
        began = time.monotonic()
        at = self.rng.randint(0, len(known.commits) - 1)
        done = self.wfs.command("pull", "--state", self.wfs.state, f"{known.id}@{known.commits[at].sha}", check=False)
        if done.returncode == 0:
            known.pulled.add(at)
        elif not self.may_fail(began, OSError(errno.EACCES, "")) and not self.may_fail(began, OSError(errno.EIO, "")):
            raise AssertionError(f"pull ended with {done.returncode}: {done.stdout}{done.stderr}")

    def verify(self) -> None:
        self.wfs.command("verify", "--state", self.wfs.state, *self.rng.choice(([], ["--all"], ["--repair"])))

    def switch(self) -> None:
        if self.rng.random() < 0.5 and not self.offline:
            return  # mostly online
        self.offline = not self.offline
        how = ["--now"] if self.offline and self.rng.random() < 0.5 else []
        self.wfs.command("offline", *how, "on" if self.offline else "off", self.wfs.mnt)

    def restart(self) -> None:
        self.let_go()
        if self.rng.random() < 0.5:
            self.wfs.stop()
        else:
            self.wfs.kill()
        self.offline = self.rng.random() < 0.3
        self.wfs.start(*(["--offline"] if self.offline else []), *self.options)
        if self.offline:  # for good: a run of operations, then online again
            for _ in range(10):
                self.one((self.read, self.look, self.list, self.look_for_nothing, self.write, self.read_dev))
            self.wfs.stop()
            self.wfs.start(*self.options)
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
        began = time.monotonic()
        try:
            action()
        except OSError as error:
            if not self.may_fail(began, error):
                raise
            self.done.append(f"  {error}")
            self.refused += 1

    def read_all(self) -> None:
        """At the end everything, or a part of very much, once the hub is well and nothing is gated."""
        time.sleep(max(0.0, self.trouble_ends + HEALS - time.monotonic()))
        if self.offline:
            self.switch()
        for known in self.repos:
            known.repo.gated = False
            self.read_ref(known)
        commits = [(known, commit) for known in self.repos for commit in known.commits]
        for known, commit in self.rng.sample(commits, min(len(commits), 100)):
            time.sleep(0.25)  # of what is unknown it asks for 60 at once, and then 5 a second
            for path, want in commit.files.items():
                where = self.wfs.repo(known.id) / "snapshots" / commit.sha / path
                assert where.read_bytes() == want, where


@pytest.mark.limit(SECONDS + 240)
def test_random_operations(wfs: Weightfs, hub: Hub) -> None:
    hub.limits = dict.fromkeys(hub.limits, (1_000_000, 1_000_000))
    model = Model(wfs, hub, SEED)
    often = (model.read, model.read, model.look, model.list, model.look_for_nothing, model.read_ref) * 4
    seldom = (model.write, model.list_repos, model.commit, model.pull, model.switch, model.break_hub, model.move_dev,
              model.read_dev, model.hold, model.read_held, model.read_held) * 2
    rarely = (model.restart, model.add_repo, model.drop_caches, model.trouble, model.gate, model.verify)
    count, end = 0, time.monotonic() + SECONDS
    wfs.start(*model.options)
    try:
        while time.monotonic() < end:
            model.one(often + seldom + rarely)
            count += 1
        model.read_all()
    except BaseException as e:
        e.add_note(f"WEIGHTFS_MODEL_SEED={SEED}, after {count} operations; the last:\n" + "\n".join(model.done))
        raise
    finally:
        model.let_go()
    print(f"seed {SEED}: {count} operations, {model.refused} refused, main stood for another {model.stood_for} times")

"""kill -9 right before or right after any call that changes a file: K1 to K6 of index/README.md.

test_kill.py kills at random moments, and so hardly ever in windows of some microseconds. Here record.c, preloaded,
counts the calls, and the process kills itself at a certain one. CRASH_CALLS says at how many calls of a pull (60;
"all": at each, before and after it, which takes some four minutes), CRASH_SEED repeats the choice.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from checker import Checker, Found
from harness import BINARY, Watchdog, Weightfs, clean_env, edit_catalogue, open_to_others
from hub.content import Synthetic
from hub.hub import Hub
from powerloss import read_log
from test_powerloss import KIB, TOOLS, WRONG_AT, Recording

CALLS = os.environ.get("CRASH_CALLS", "60")


class Stage(Recording):
    """A store that holds one repo, and a hub with another, of which it knows an older commit."""

    def __init__(self, base: Path, hub: Hub) -> None:
        super().__init__(base, hub)
        self.state = self.root / "var/state"
        self.begun = base / "begun"
        hub.limits = dict.fromkeys(hub.limits, (1_000_000, 1_000_000))
        wrong = Synthetic(260 * KIB, 3)
        self.wrong = wrong.sha256
        self.commit("org/a", {"config.json": "{}", "empty": b"", "sub/x.bin": Synthetic(90 * KIB, 1)})
        self.commit("org/b", {"config.json": '{"old": 1}'})
        for id_ in ("org/a", "org/b"):
            assert self.end(self.start(id_)) == 0
        self.commit("org/b", {"config.json": "{}", "x.bin": self.contents_of("org/a", "sub/x.bin"),
                              "wrong.bin": wrong, "deep/er/model.safetensors": Synthetic(1500 * KIB, 2)})
        # refs are believed for 60 s
        assert edit_catalogue(self.state / "catalogue.sqlite", "UPDATE ref SET checked = checked - 3600") == 2
        shutil.copytree(self.root, self.begun, symlinks=True)
        self.promised = self.check()

    def start(self, id_: str, kill: str | None = None) -> subprocess.Popen[str]:
        env = clean_env(**({"CRASH_KILL": kill} if kill else {}), **self.recorded())
        return subprocess.Popen([str(BINARY), "pull", "--store", str(self.store), "--state", str(self.state),
                                 "--endpoint", self.hub.endpoint, id_],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)

    def recorded(self) -> dict[str, Path]:
        return {"LD_PRELOAD": TOOLS / "crash-record.so", "CRASH_LOG": self.log, "CRASH_DEV": self.root}

    @staticmethod
    def end(process: subprocess.Popen[str]) -> int:
        _, err = process.communicate(timeout=60)
        assert process.returncode in (0, -signal.SIGKILL), err
        return process.returncode

    def begin(self) -> None:
        """As it was in the beginning; the record too, and the hub sends a byte wrong once."""
        shutil.rmtree(self.root)
        shutil.copytree(self.begun, self.root, symlinks=True)
        self.log.write_bytes(b"")
        self.hub.faults.clear()
        self.hub.fault("corrupt", on="content", path="wrong.bin", at=WRONG_AT, times=1)

    def check(self, before: Found | None = None) -> Found:
        """K1 to K4, K6; nothing is lost of what was there."""
        found = Checker(self.store, self.right).check(*([self.state] if self.state.exists() else []))
        assert not found.wrong, "\n".join(found.wrong)
        for kind in ("blobs", "links", "trees", "refs") if before else ():
            lost = set(getattr(before, kind)) - set(getattr(found, kind))
            assert not lost, f"{kind} were there, and are gone: {sorted(lost)}"
        return found

    def open(self, found: Found) -> None:
        """K5, K3, K2: as the next daemon does; all that it holds is right, and it has what is in the store."""
        done = subprocess.run([str(TOOLS / "crash-open"), str(self.store), str(self.state), str(self.expected)],
                              capture_output=True, text=True, timeout=60, check=False,
                              env=clean_env(CRASH_WRONG=f"{self.wrong}:{WRONG_AT}"))
        lines = done.stdout.splitlines()
        assert done.returncode == 0, f"{done.returncode}\n{done.stdout}{done.stderr}"
        assert "rebuilt" not in lines, "the catalogue is lost"
        listed = {entry.etag for repo in ("org/a", "org/b") for sha, commit in self.commits(repo)
                  if (f"models--{repo.replace('/', '--')}", sha) in found.trees for entry in commit.files.values()}
        for _, etag in found.blobs:
            assert etag not in listed or f"whole {etag}" in lines, f"{etag} is there, and not whole:\n{done.stdout}"

    def commits(self, id_: str):
        repo = self.hub.find("model", id_)
        assert repo is not None
        return repo.commits.items()

    def check_whole(self, before: Found) -> None:
        """Once the pull has ended well: all is there, and nothing lies about once a daemon was started."""
        self.open(self.check(before))
        found = self.check(before)
        (_, commit) = list(self.commits("org/b"))[-1]
        for path, entry in commit.files.items():
            assert ("models--org--b", entry.etag) in found.blobs, path
            assert ("models--org--b", f"{commit.oid}/{path}") in found.links, path
        assert found.refs["models--org--b", "main"] == commit.oid and ("models--org--b", commit.oid) in found.trees
        # killed between the final name and its row, a blob keeps its partial file until a daemon has hashed it
        left = {etag for _, etag in found.partial} - found.adopted
        assert not left, f"left in partial/: {left}"


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    if not (TOOLS / "crash-record.so").exists():
        pytest.fail(f"{TOOLS}/crash-record.so is not built")
    base = Path(tempfile.mkdtemp(prefix="weightfs-calls-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None))
    base.chmod(0o755)
    try:
        with Hub() as hub:
            yield Stage(base, hub)
    finally:
        shutil.rmtree(base)


def chosen(total: int, rng: random.Random, count: str) -> list[str]:
    """At which calls: a stride over all of them."""
    if count == "all":
        return [f"{when} {n}" for n in range(1, total + 1) for when in ("before", "after")]
    stride = total / int(count)
    return [f"{rng.choice(('before', 'after'))} {int((i + rng.random()) * stride) + 1}" for i in range(int(count))]


@pytest.mark.limit(120 + (7200 if CALLS == "all" else int(CALLS) * 20))
def test_a_pull_killed_at_a_call(stage: Stage, rng: random.Random) -> None:
    stage.begin()
    assert stage.end(stage.start("org/b")) == 0
    stage.check_whole(stage.promised)
    total, killed = len(list(read_log(stage.log))), 0
    for kill in chosen(total, rng, CALLS):
        print(kill)
        stage.begin()
        if stage.end(stage.start("org/b", kill)) == 0:
            continue  # there were fewer calls this time
        killed += 1
        found = stage.check(stage.promised)
        if rng.random() < 0.5:
            stage.open(found)
        assert stage.end(stage.start("org/b")) == 0
        stage.check_whole(found)
    print(f"{total} calls, {killed} kills")
    assert killed > 0


@pytest.fixture
def daemon(stage: Stage, tmp_path: Path, watchdog: Watchdog) -> Iterator[Weightfs]:
    open_to_others(tmp_path)
    wfs = Weightfs(tmp_path, stage.hub.endpoint, watchdog)
    wfs.store, wfs.state = stage.store, stage.state
    yield wfs
    wfs.clean_up()


def read_all(wfs: Weightfs, stage: Stage) -> None:
    """Through the mount: each byte is right, but for the one that the hub may just have sent wrong."""
    for id_ in ("org/a", "org/b"):
        for path, entry in list(stage.commits(id_))[-1][1].files.items():
            got = bytearray((wfs.mnt / "models" / id_ / path).read_bytes())
            right = entry.content.read()
            if entry.etag == stage.wrong:
                got[WRONG_AT] = right[WRONG_AT]
            assert got == right, f"wrong bytes: {id_} {path}"


def killed_while_read(wfs: Weightfs, stage: Stage, kill: str) -> bool:
    """Starts it, reads all, stops it. False: it was not come to that call."""
    process = None
    try:
        wfs.start(env=clean_env(CRASH_KILL=kill, **stage.recorded()))
        process = wfs.process
        read_all(wfs, stage)
        wfs.stop()
        return False
    except (OSError, AssertionError) as e:
        if process is None:
            assert "ended with -9" in str(e)
        else:
            assert process.wait(20) == -signal.SIGKILL, e
            assert "wrong bytes" not in str(e)
        wfs.clean_up()
        wfs.process = None
        return True


@pytest.mark.limit(120 + (7200 if CALLS == "all" else int(CALLS) * 20))
def test_a_daemon_killed_at_a_call(stage: Stage, daemon: Weightfs, rng: random.Random) -> None:
    """Read through a mount, started again, read once more."""
    stage.begin()
    assert not killed_while_read(daemon, stage, "before 1000000")
    total, killed = len(list(read_log(stage.log))), 0
    for kill in chosen(total, rng, "all" if CALLS == "all" else str(max(1, int(CALLS) // 4))):
        print(kill)
        stage.begin()
        if not killed_while_read(daemon, stage, kill):
            continue
        killed += 1
        found = stage.check(stage.promised)
        daemon.start()
        read_all(daemon, stage)
        daemon.command("pull", "--state", daemon.state, "org/b")
        daemon.stop()
        stage.check_whole(found)
        daemon.offline()
        read_all(daemon, stage)
        daemon.stop()
    print(f"{total} calls, {killed} kills")
    assert killed > 0

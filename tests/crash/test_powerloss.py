"""Power loss at any point of what was recorded: K1 to K5 of index/README.md.

CRASH_PICTURES says how many disks are looked at (300; 20000 take some ten minutes), CRASH_SEED repeats the choice.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from checker import Checker, Held, read_map
from harness import BINARY, clean_env
from hub.content import Content, Synthetic
from hub.hub import Hub
from powerloss import MARK, MODES, SYNC, Disk, Event, Node, Picture, mark, read_log

PICTURES = int(os.environ.get("CRASH_PICTURES", "300"))
TOOLS = Path(os.environ.get("CRASH_TOOLS", BINARY.parents[1] / "tests/crash"))
KIB = 1 << 10
WRONG_AT = 1000  # a byte that the hub sends wrong once


@dataclass
class Promises:
    """What weightfs has said, or a person has seen, up to some point."""

    blobs: set[tuple[str, str]] = field(default_factory=set)
    links: set[tuple[str, str]] = field(default_factory=set)
    trees: set[tuple[str, str]] = field(default_factory=set)
    refs: set[tuple[str, str]] = field(default_factory=set)
    held: dict[str, int] = field(default_factory=dict)

    def add(self, text: str) -> None:
        kind, *words = text.split("\t")
        if kind == "held":
            self.held[words[0]] = int(words[1])
        else:
            getattr(self, kind).add((words[0], words[1]))


class Recording:
    """Pulls of a hub that moves on and errs, recorded."""

    def __init__(self, base: Path, hub: Hub) -> None:
        self.base, self.hub = base, hub
        self.root = base / "root"
        self.expected = base / "expected"
        self.log = base / "log"
        for folder in (self.root, self.expected):
            folder.mkdir(parents=True)
        self.roots = {"root": self.root.stat().st_ino}
        self.store = self.root / "srv/store"
        self.contents: dict[str, Content] = {}

    def commit(self, id_: str, files: dict[str, Content | str | bytes], **kwargs: str) -> None:
        repo = self.hub.find("model", id_) or self.hub.add_repo("model", id_)
        for entry in repo.commits[repo.commit(files, **kwargs)].files.values():
            self.contents[entry.etag] = entry.content
            (self.expected / entry.etag).write_bytes(entry.content.read())

    def start(self, id_: str) -> subprocess.Popen[str]:
        env = clean_env(LD_PRELOAD=TOOLS / "crash-record.so", CRASH_LOG=self.log, CRASH_DEV=self.root)
        return subprocess.Popen([str(BINARY), "pull", "--store", str(self.store), "--state", str(self.root / "var/state"),
                                 "--endpoint", self.hub.endpoint, id_],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)

    def pull(self, id_: str, ref: str = "main") -> None:
        out, err = (process := self.start(f"{id_}@{ref}")).communicate(timeout=60)
        assert process.returncode == 0, err
        short = out.split(" at ", 1)[1][:12]
        repo = self.hub.find("model", id_)
        assert repo is not None
        sha, commit = next((s, c) for s, c in repo.commits.items() if s.startswith(short))
        assert commit is repo.resolve(ref)
        folder = f"models--{id_.replace('/', '--')}"
        mark(self.log, f"trees\t{folder}\t{sha}")
        mark(self.log, f"refs\t{folder}\t{ref}")
        for path, entry in commit.files.items():
            mark(self.log, f"blobs\t{folder}\t{entry.etag}")
            mark(self.log, f"links\t{folder}\t{sha}/{path}")

    def _held(self) -> Held:
        """What the map says of the one large file that is not complete."""
        for path in self.store.glob("partial/*/*.map"):
            try:
                held = read_map(path)
            except FileNotFoundError:  # it has just been given up
                continue
            if held is not None and held.size > 200 * KIB:
                return held
        return Held(0, "")

    def pull_a_part(self, id_: str, until: Callable[[Held], bool], sig: signal.Signals, promise: bool) -> None:
        """Ended on the way, when @until holds; @promise: what is synced then must stay."""
        process, limit = self.start(id_), time.monotonic() + 60
        while not until(self._held()):
            assert process.poll() is None, "it ended by itself"
            assert time.monotonic() < limit, f"it does not come to that: {self._held()}"
            time.sleep(0.02)
        process.send_signal(sig)
        process.communicate(timeout=60)
        if promise:
            for (_, etag), held in Checker(self.store).check().partial.items():
                mark(self.log, f"held\t{etag}\t{held.bytes(durable=True)}")

    def play(self) -> None:
        self.commit("org/a", {"config.json": "{}", "empty": b"", "sub/x.bin": Synthetic(90 * KIB, 1)})
        self.pull("org/a")
        self.commit("org/b", {"config.json": "{}", "model.safetensors": Synthetic(700 * KIB, 2)})
        with self.hub.fault("bandwidth", on="content", rate=50 * KIB):
            # the data are synced after 5 s
            self.pull_a_part("org/b", lambda held: held.bytes() > held.bytes(durable=True) > 0, signal.SIGKILL, True)
            before = self._held().bytes()
            self.pull_a_part("org/b", lambda held: held.bytes() > before, signal.SIGINT, True)  # and at the end
        self.pull("org/b")
        self.commit("org/b", {"config.json": '{"new": 1}', "x.bin": self.contents_of("org/a", "sub/x.bin")}, ref="new")
        self.pull("org/b", "new")  # another ref (main is believed for 60 s); a blob of another repo is linked
        wrong = Synthetic(260 * KIB, 3)
        self.wrong = wrong.sha256
        self.commit("org/c", {"wrong.bin": wrong})
        most = 0

        def is_begun_anew(held: Held) -> bool:
            nonlocal most
            most = max(most, held.bytes())
            return 0 < held.bytes() < most

        with self.hub.fault("corrupt", on="content", path="wrong.bin", at=WRONG_AT, times=1), \
                self.hub.fault("bandwidth", on="content", rate=40 * KIB):
            self.pull_a_part("org/c", is_begun_anew, signal.SIGKILL, False)  # synced, then given up
        self.pull("org/c")
        with self.hub.fault("bandwidth", on="content", rate=100 * KIB):
            self.commit("org/d", {"killed.bin": Synthetic(300 * KIB, 4)})
            self.pull_a_part("org/d", lambda held: held.bytes() > 0, signal.SIGKILL, False)
        self.pull("org/d")

    def contents_of(self, id_: str, path: str) -> Content:
        repo = self.hub.find("model", id_)
        assert repo is not None
        return repo.resolve("main").files[path].content

    def right(self, etag: str, start: int, end: int) -> bytes | None:
        if etag not in self.contents or (etag == self.wrong and start <= WRONG_AT < end):
            return None  # crash-open looks at that one
        return self.contents[etag].read(start, end)


@pytest.fixture(scope="module")
def recording() -> Iterator[Recording]:
    if not (TOOLS / "crash-record.so").exists():
        pytest.fail(f"{TOOLS}/crash-record.so is not built")
    base = Path(tempfile.mkdtemp(prefix="weightfs-power-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None))
    try:
        with Hub() as hub:
            r = Recording(base, hub)
            r.play()
        yield r
    finally:
        shutil.rmtree(base)


class Look:
    """Takes pictures of a recording and says what is wrong with them."""

    def __init__(self, recording: Recording, rng: random.Random, forgets: Callable[[Node], bool] | None = None) -> None:
        self.recording, self.rng = recording, rng
        self.events = list(read_log(recording.log))
        self.forgets = forgets or (lambda node: False)
        self.boot = recording.base / "boot"
        self.boot.write_text("00000000-1111-2222-3333-444444444444\n")
        self.seen: set[int] = set()

    def points(self, count: int) -> list[int]:
        """Before and after syncs most of all: what comes between changes little that is certain."""
        edges = [i + d for i, e in enumerate(self.events) if e.op == SYNC for d in (0, 1)]
        chosen = [self.rng.choice(edges) if self.rng.random() < 0.7 else self.rng.randrange(len(self.events) + 1)
                  for _ in range(count)]
        return sorted(chosen)

    def run(self, count: int, enough: int = 20) -> list[str]:
        disk, promises, at, wrong = Disk(self.recording.roots, self.forgets), Promises(), 0, []
        for point in self.points(count):
            for event in self.events[at:point]:
                disk.take(event)
                if event.op == MARK:
                    promises.add(event.name)
            at = point
            picture = Picture(disk, self.rng.choice(MODES), self.rng)
            signature = hash(tuple(picture.choice))
            if signature in self.seen:
                continue
            self.seen.add(signature)
            wrong += [f"after {point} of {len(self.events)} ({picture.mode}): {line}"
                      for line in self._look(picture, promises)]
            if len(wrong) > enough:
                break
        return wrong

    def _look(self, picture: Picture, promises: Promises) -> list[str]:
        # where it was recorded: the name of a daemon's folder in partial/ comes from its state folder's
        root = self.recording.root
        shutil.rmtree(root, ignore_errors=True)
        picture.write(root.parent)
        store, state = root / "srv/store", root / "var/state"
        # a catalogue that was never committed to may be anything: it is moved aside
        found = Checker(store, self.recording.right, rebooted=True).check(*([state] if promises.blobs else []))
        wrong = list(found.wrong)
        for kind in ("blobs", "links", "trees", "refs"):
            there = getattr(found, kind)
            wrong += [f"promised and gone: {kind} {what}" for what in getattr(promises, kind) if what not in there]
        return wrong + self._open(store, state, promises)

    def _open(self, store: Path, state: Path, promises: Promises) -> list[str]:
        """As the next daemon does; then it goes on, now and then."""
        done = subprocess.run([str(TOOLS / "crash-open"), str(store), str(state), str(self.recording.expected),
                               *(["finish"] if self.rng.random() < 0.3 else [])],
                              capture_output=True, text=True, timeout=60, check=False,
                              env=clean_env(CRASH_BOOT_ID=self.boot, CRASH_WRONG=f"{self.recording.wrong}:{WRONG_AT}"))
        words = [line.split() for line in done.stdout.splitlines()]
        wrong = [line for line in done.stdout.splitlines() if line.startswith("WRONG")]
        whole = {w[1] for w in words if w[0] == "whole"}
        held = {w[1]: int(w[2]) for w in words if w[0] == "held"}
        if done.returncode not in (0, 1):
            wrong.append(f"it ended with {done.returncode}: {done.stderr[-500:]}")
        if promises.blobs and ["rebuilt"] in words:
            wrong.append("the catalogue is lost")
        wrong += [f"promised and not whole: {etag}" for _, etag in promises.blobs if etag not in whole]
        wrong += [f"{etag}: {count} bytes were synced, {held.get(etag, 0)} are held" for etag, count in
                  promises.held.items() if etag not in whole and held.get(etag, 0) < count]
        return wrong


@pytest.mark.limit(120 + PICTURES)
def test_power_is_lost_at_any_point(recording: Recording, rng: random.Random) -> None:
    look = Look(recording, rng)
    wrong = look.run(PICTURES)
    print(f"{len(look.events)} steps recorded, {len(look.seen)} different disks looked at")
    assert not wrong, "\n".join(wrong)


def of(pattern: str) -> Callable[[Node], bool]:
    return lambda node: re.search(pattern, node.path) is not None


@pytest.mark.parametrize("forgotten", [r"/partial/\w+/[0-9a-f]+$", r"/partial/\w+$", r"/srv$", r"/blobs$", r"/snapshots/\w+$", r"/trees$", r"/refs$",
                                       r"/hub/models--org--b$", r"-wal$", r"/partial/\w+/\.weightfs.*tmp$",
                                       r"/trees/\.weightfs.*tmp$", r"/refs/\.weightfs.*tmp$"])
def test_a_sync_that_is_left_out_is_seen(recording: Recording, forgotten: str) -> None:
    """The proof of the proof: were this sync not there, a picture would show it."""
    for seed in range(5):
        if Look(recording, random.Random(seed), of(forgotten)).run(400, 0):
            return
    pytest.fail(f"nobody misses the syncs of {forgotten}")

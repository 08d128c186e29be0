"""A hub whose refs move, daemons and pulls on one store, and who reads: what the kill tests play with."""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

from checker import Checker, Found
from harness import BINARY, Watchdog, Weightfs, clean_env
from hub.content import Content, Synthetic, as_content
from hub.hub import Hub

MIB = 1 << 20
HERE = Path(__file__).resolve().parent


class World:
    """One store; two mounts and a pull, each with a state folder of its own."""

    def __init__(self, base: Path, hub: Hub, watchdog: Watchdog, rng: random.Random) -> None:
        self.base, self.hub, self.rng = base, hub, rng
        self.expected = base / "expected"
        self.expected.mkdir(parents=True)
        self.store = base / "store"
        self.daemons = [Weightfs(base / name, hub.endpoint, watchdog) for name in ("one", "two")]
        for daemon in self.daemons:
            daemon.store = self.store
        self.pull_state = base / "three"
        self.readers: list[subprocess.Popen[str]] = []
        self.pulling: subprocess.Popen[str] | None = None
        self.pulled: list[tuple[str, str]] = []  # what a pull has called complete: (repo, commit)
        self.contents: dict[str, Content] = {}
        self.checker = Checker(self.store, self._right)
        self.seed = rng.randrange(1 << 30)
        self.repos = []
        for i in range(3):
            repo = hub.add_repo("model", f"org/{base.name}-{i}")
            self.repos.append(repo)
            self._commit(repo, {"config.json": f'{{"n": {i}}}', "empty": b"", "sub/dir/small.txt": "text",
                                "model.safetensors": self._synthetic(24), "other.bin": self._synthetic(4)})
        self._commit(self.repos[2], {"shared.bin": self.repos[0].resolve("main").files["other.bin"].content})

    def _synthetic(self, most: int) -> Synthetic:
        self.seed += 1
        return Synthetic(self.rng.randrange(1, most * MIB), self.seed)

    def _commit(self, repo, files) -> None:
        for content in map(as_content, files.values()):
            for etag in (content.sha256, content.git_oid):
                self.contents[etag] = content
        repo.commit(files)
        commits = {}
        for r in self.repos:
            commits[f"models--{r.id.replace('/', '--')}"] = {
                sha: {path: e.etag for path, e in commit.files.items()} for sha, commit in r.commits.items()}
        for files_of in commits.values():
            for etag in {e for c in files_of.values() for e in c.values()}:
                if not (self.expected / etag).exists():
                    (self.expected / etag).write_bytes(self.contents[etag].read())
        new = self.expected / "new.json"
        new.write_text(json.dumps(commits))
        new.rename(self.expected / "commits.json")

    def _right(self, etag: str, start: int, end: int) -> bytes | None:
        content = self.contents.get(etag)
        return content.read(start, end) if content else None

    # -- what goes on ----------------------------------------------------------------------

    def move_a_ref(self) -> None:
        repo = self.rng.choice(self.repos)
        self._commit(repo, {"config.json": f'{{"n": {self.rng.random()}}}',
                            f"f{len(repo.commits)}.bin": self._synthetic(8)})

    def start(self) -> None:
        """Both mounts; now and then without waiting for them, so that their start is killed too."""
        for daemon in self.daemons:
            if self.rng.random() < 0.2:
                with daemon.log.open("ab") as log:
                    daemon.process = subprocess.Popen([str(BINARY), *daemon.mount_args()], stdout=log, stderr=log,
                                                      stdin=subprocess.DEVNULL, env=clean_env())
            else:
                daemon.start()
                self._read(daemon)

    def _read(self, daemon: Weightfs) -> None:
        for _ in range(2):
            self.readers.append(subprocess.Popen(
                [sys.executable, str(HERE / "reader.py"), str(daemon.hub_cache), str(self.expected),
                 str(self.rng.randrange(1 << 30))], stdout=subprocess.PIPE, text=True))

    def pull(self) -> None:
        repo = self.rng.choice(self.repos)
        self.pulled_repo = repo
        self.pulling = subprocess.Popen(
            [str(BINARY), "pull", "--store", str(self.store), "--state", str(self.pull_state), "--endpoint",
             self.hub.endpoint, repo.id], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=clean_env())

    def end_of_pull(self) -> None:
        """Notes what a pull that ended well has called complete."""
        if self.pulling is None or self.pulling.poll() is None:
            return
        process, self.pulling = self.pulling, None
        assert process.stdout is not None
        said = process.stdout.read()
        if process.returncode == 0:
            short = said.split(" at ", 1)[1][:12]
            sha = next(s for s in self.pulled_repo.commits if s.startswith(short))
            self.pulled.append((self.pulled_repo.id, sha))

    def kill(self) -> None:
        """All of it, in any order, each at an instruction of its own."""
        self.end_of_pull()
        victims = [d.process for d in self.daemons if d.process] + ([self.pulling] if self.pulling else [])
        self.rng.shuffle(victims)
        for process in victims:
            process.kill()
        for process in victims:
            process.wait(20)
        self.pulling = None
        for daemon in self.daemons:
            if daemon.process:
                daemon.kill()
        for reader in self.readers:
            reader.kill()
            said = reader.communicate(timeout=20)[0]
            assert "WRONG" not in said, said
        self.readers.clear()

    def clean_up(self) -> None:
        for process in [*self.readers, *([self.pulling] if self.pulling else [])]:
            process.kill()
            process.wait(20)
        for daemon in self.daemons:
            daemon.clean_up()

    # -- what must hold --------------------------------------------------------------------

    def progress(self) -> dict[tuple[str, str], int]:
        """Bytes held by each partial file, seen from outside while all run."""
        while True:
            try:
                found = Found()
                for map_ in self.store.glob("partial/*/*.map"):
                    self.checker._partial(map_, found)
                return {key: held.bytes() for key, held in found.partial.items()}
            except FileNotFoundError:  # it was completed meanwhile
                continue

    def check(self, before: Found, held: dict[tuple[str, str], int]) -> Found:
        found = self.checker.check(*(d.state for d in self.daemons), self.pull_state)
        assert not found.wrong, "\n".join(found.wrong)
        lost = (before.blobs.keys() - found.blobs.keys()) | (before.trees - found.trees) | (before.links - found.links)
        assert not lost, f"complete before, gone now: {sorted(lost)}"
        assert before.refs.keys() <= found.refs.keys()
        whole = {etag for _, etag in found.blobs}
        for (instance, etag), count in held.items():
            after = found.partial.get((instance, etag))
            assert etag in whole or (after and after.bytes() >= count), f"{etag}: {count} bytes were held, now {after}"
        for id_, sha in self.pulled:
            commit = next(r for r in self.repos if r.id == id_).commits[sha]
            folder = f"models--{id_.replace('/', '--')}"
            for path, entry in commit.files.items():
                assert (folder, entry.etag) in found.blobs, f"pulled, and not there: {id_} {path}"
                assert (folder, f"{sha}/{path}") in found.links, f"pulled, and no link: {id_} {path}"
            assert (folder, sha) in found.trees
        return found

    def read_all(self, found: Found) -> None:
        """Started again, offline: what is complete is shown, and its bytes are right. With the catalogue that
        there is, and with none."""
        daemon = self.daemons[0]
        for state, links in ((daemon.state, self._links_known_to(daemon.state, found)),
                             (self.base / "fresh", found.links)):
            daemon.state = state
            daemon.offline()
            assert not list(state.glob("*.damaged-*")), "a kill leaves a catalogue that is believed"
            for repo, link in sorted(links):
                etag = os.readlink(self.store / "hub" / repo / "snapshots" / link).rpartition("/")[2]
                blob = daemon.hub_cache / repo / "blobs" / etag
                assert blob.read_bytes() == (self.expected / etag).read_bytes(), blob
            daemon.stop()

    def _links_known_to(self, state: Path, found: Found) -> set[tuple[str, str]]:
        """Those of commits of which this daemon has heard: the others are another daemon's. In a copy: who is last to
        close a catalogue moves its log into it, and pages that do not come by weightfs are not sealed."""
        look = self.base / "look"
        look.mkdir()
        for file in state.glob("catalogue.sqlite*"):
            shutil.copy(file, look)
        with sqlite3.connect(look / "catalogue.sqlite") as db:
            shas = {sha for (sha,) in db.execute("SELECT sha FROM commits")}
            whole = {etag for (etag,) in db.execute("SELECT etag FROM blob WHERE state IN (1, 2)")}
        db.close()
        return {(repo, link) for repo, link in found.links if link.partition("/")[0] in shas
                and os.readlink(self.store / "hub" / repo / "snapshots" / link).rpartition("/")[2] in whole}

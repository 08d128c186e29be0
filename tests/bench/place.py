"""Where a run happens: a folder, the servers, what they serve, the program that reads, and who takes part."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness import CLIENTS, abort

from .contenders import FETCHERS, FILE, PEER_MOUNTS, PEERS, Contender, Fetcher, Mounted, Mounter, detach
from .hubs import BENCH, Hub, Static
from .processes import Cost, run, run_json

MIB = 1 << 20
RTT, RATE = 0.02, 100e6  # of the far hub: a round trip, bytes per second of each connection
MODEL, SHARDS, PARTS, MANY, HUGE = "bench/model", "bench/shards", "bench/parts", "bench/many", "bench/huge"
SHARD_NAMES = [f"model-{i}-of-4.safetensors" for i in range(1, 5)]
PART_NAMES = [f"part-{i}.safetensors" for i in range(9)]
PART_MIB = 64
READ_SECONDS = 300


class Place:
    """Made once per run. Repos are made when they are first asked for."""

    def __init__(self, scratch: Path, size: int, runs: int, without: list[str], quiet: bool, limit: bool = False) -> None:
        self.scratch, self.size, self.runs, self.quiet = scratch, size, runs, quiet
        self.source = scratch / "source"
        self.source.mkdir()
        self.reader = scratch / "read"
        compile_c(self.reader)
        self.limit = scratch / "limit" if limit else None  # the program of limit.c, where it takes part
        if self.limit:
            compile_c(self.limit, "-lcrypto")
        self.missing = [c for c in PEERS if c.key not in without and c.find() is None]
        self.taking_part = [c for c in PEERS if c.key not in without and c.find() is not None]
        self.hub = Hub()
        self.static = Static(self.source)
        self._made: set[str] = set()
        self._count = 0

    def close(self) -> None:
        """Ends the servers, and what is still mounted where a run was broken off."""
        self.hub.stop()
        self.static.stop()
        for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
            mountpoint = Path(line.split()[4])
            if mountpoint.is_relative_to(self.scratch):
                abort(mountpoint)
                detach(mountpoint)

    def say(self, text: str) -> None:
        if not self.quiet:
            print(text, file=sys.stderr, flush=True)

    # -- who -------------------------------------------------------------------------------

    def _of(self, kind: list[Any], keys: tuple[str, ...]) -> list[Any]:
        return [c for c in kind if c in self.taking_part and (not keys or c.key in keys)]

    def fetchers(self, *keys: str) -> list[Fetcher]:
        """Those that fetch and take part, of these keys."""
        return self._of(FETCHERS, keys)

    def peer_mounts(self, *keys: str) -> list[Mounter]:
        return self._of(PEER_MOUNTS, keys)

    # -- folders ---------------------------------------------------------------------------

    def fresh_folder(self) -> Path:
        self._count += 1
        folder = self.scratch / f"run-{self._count}"
        folder.mkdir()
        return folder

    def clear(self) -> None:
        """Deletes what runs have left, and lets the disk come to rest."""
        for folder in self.scratch.glob("run-*"):
            shutil.rmtree(folder)
        os.sync()

    # -- distance --------------------------------------------------------------------------

    @contextmanager
    def far(self) -> Iterator[None]:
        """All servers are far away meanwhile."""
        for server in (self.hub, self.static):
            server.far(RTT, RATE)
        try:
            yield
        finally:
            for server in (self.hub, self.static):
                server.far(0, 0)

    # -- what is served --------------------------------------------------------------------

    def _serve(self, repo: str, files: dict[str, Any] | None = None) -> str:
        if repo not in self._made:
            self._made.add(repo)
            folder = self.source / repo
            self.hub.add(repo, files or {p.relative_to(folder).as_posix(): {"file": str(p)}
                                         for p in sorted(folder.rglob("*")) if p.is_file()})
        return repo

    def _folder(self, repo: str) -> Path | None:
        """Where to put the files of a repo, or None: they are there."""
        folder = self.source / repo
        if repo in self._made:
            return None
        folder.mkdir(parents=True)
        return folder

    def model(self) -> str:
        """One big file."""
        if folder := self._folder(MODEL):
            write_random(folder / FILE, self.size)
        return self._serve(MODEL)

    def shards(self) -> str:
        """A model in four safetensors files, as big as the one file together."""
        if folder := self._folder(SHARDS):
            for name in SHARD_NAMES:
                write_safetensors(folder / name, max(1, self.size // 4))
        return self._serve(SHARDS)

    def parts(self) -> str:
        """Nine files of one repo; who has read the first has connections."""
        if folder := self._folder(PARTS):
            for name in PART_NAMES:
                write_random(folder / name, PART_MIB)
        return self._serve(PARTS)

    def many(self, count: int) -> str:
        """Small files, a hundred to a folder."""
        if folder := self._folder(MANY):
            for path, text in tiny_files(count).items():
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / path).write_text(text)
        return self._serve(MANY)

    def huge(self, count: int) -> str:
        """The same, but on the hub alone."""
        return self._serve(HUGE, tiny_files(count))

    # -- reading ---------------------------------------------------------------------------

    def read(self, verb: str, *words: str | Path | int, mounted: Mounted | None = None,
             inside: list[str] | None = None) -> Cost:
        """Runs read.c, and frees it where the mount is stuck. `inside`: a command that enters a namespace."""
        command: list[str | Path] = [*(inside or []), self.reader, verb, *map(str, words)]
        return run_json(command, READ_SECONDS, on_timeout=mounted.abort if mounted else None)

    def load(self, files: list[Path], mounted: Mounted | None = None) -> Cost:
        """Loads safetensors with the real library where a client environment has it, else by mmap."""
        python = loader_python()
        command: list[str | Path] = [python, BENCH / "loader.py", *files] if python else [self.reader, "mmap", *files]
        return run_json(command, READ_SECONDS, on_timeout=mounted.abort if mounted else None)

    def warm_source(self, repo: str) -> None:
        """Has the source in the page cache, so that the servers never wait for the disk."""
        for path in sorted((self.source / repo).rglob("*.safetensors")):
            self.read("whole", path)


def compile_c(program: Path, *libraries: str) -> None:
    subprocess.run(["cc", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread", "-o", program, BENCH / f"{program.name}.c", *libraries],
                   check=True)


def loader_python() -> Path | None:
    python = CLIENTS / "ml/bin/python"
    return python if python.exists() else None


def tiny_files(count: int) -> dict[str, str]:
    return {f"data/{i // 100:04d}/{i:06d}.txt": f"file {i}\n" for i in range(count)}


def write_random(path: Path, mib: int) -> None:
    with path.open("wb") as f:
        for _ in range(mib):
            f.write(os.urandom(MIB))


def write_safetensors(path: Path, mib: int) -> None:
    """Tensors of 16 MiB (and one of what is left) of random float32 bits, as the format says: length, header, data."""
    sizes = [16] * (mib // 16) + ([mib % 16] if mib % 16 else [])
    header, at = {}, 0
    for i, size in enumerate(sizes):
        header[f"layers.{i}.weight"] = {"dtype": "F32", "shape": [size * 256, 1024], "data_offsets": [at, at + size * MIB]}
        at += size * MIB
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as f:
        f.write(len(text).to_bytes(8, "little") + text)
        for _ in range(mib):
            f.write(os.urandom(MIB))


def machine() -> str:
    """In a line, for the report."""
    cpu = [line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    return f"{os.cpu_count()} × {cpu[0] if cpu else os.uname().machine}, {memory:.0f} GiB, Linux {os.uname().release.split('-')[0]}"

"""Who is measured: programs that mount a repo, and programs that fetch one.

Each is looked for on this machine and left out where it is not there; each runs with the options that
its makers advise for this work, written here. All get their bytes from servers on this machine.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
import urllib.parse
import urllib.request
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import BINARY, CLIENTS, Watchdog, Weightfs, abort, clean_env, mount_device

from .processes import Cost, Failed, Sampler, cpu_of, run

if TYPE_CHECKING:
    from .place import Place

FILE = "model.safetensors"  # of the repo that has one big file
MOUNT_SECONDS = 20
FETCH_SECONDS = 300


class Mounted(ABC):
    """A mount with a daemon in front of us."""

    def __init__(self, mountpoint: Path, pid: int) -> None:
        self.mountpoint, self.pid = mountpoint, pid
        self.sampler = Sampler(pid)

    @abstractmethod
    def path(self, repo: str, name: str = "") -> Path:
        """Where a file of a repo is, or its folder; looking there asks the daemon."""

    @abstractmethod
    def stop(self) -> None:
        """Ends the daemon and the mount."""

    def rest(self) -> None:
        """Lets go on for a moment what a read has begun."""
        time.sleep(0.3)

    def settle(self, repo: str, name: str) -> None:
        """Waits until the daemon has done what reading this file to its end made it do."""
        self.rest()

    def abort(self) -> None:
        abort(self.mountpoint)

    def cpu(self) -> float:
        return cpu_of(self.pid)

    def memory(self) -> Sampler:
        """What it has taken so far."""
        self.sampler.look()
        return self.sampler


def detach(mountpoint: Path) -> None:
    """Takes away what is still mounted there; more than once where mounts lie upon one another."""
    command = ["umount", "-l", "-i"] if os.geteuid() == 0 else ["fusermount3", "-u", "-z"]
    for _ in range(5):
        if mount_device(mountpoint) is None:
            return
        subprocess.run([*command, str(mountpoint)], check=False, timeout=20, stderr=subprocess.DEVNULL)


class Contender(ABC):
    """A program, by the `key` under which results are kept."""

    key: str
    get: str  # how to get it
    variable: str  # of the environment, names the program

    def find(self) -> Path | None:
        given = os.environ.get(self.variable) or shutil.which(self.program)
        return Path(given) if given else None

    @property
    def program(self) -> str:
        return self.key

    version_words = ["--version"]

    def version(self) -> str:
        """The number that follows "version", or the first there is, in what it says about itself."""
        done = subprocess.run([str(self.find()), *self.version_words], capture_output=True, text=True, timeout=20, check=False)
        said = done.stderr + done.stdout
        found = re.search(r"(?<!fusermount3 )version[: ]+(\d[\w.-]*)", said, re.IGNORECASE) or re.search(r"(\d[\w.-]*)", said)
        return found[1] if found else "?"


class Mounter(Contender):
    uses_hub = True  # else the plain web server

    @abstractmethod
    def mount(self, place: Place, repo: str, *options: str) -> Mounted:
        """A fresh mount with nothing cached."""


class Fetcher(Contender):
    @abstractmethod
    def fetch(self, place: Place, repo: str, names: list[str], target: Path) -> Cost:
        """Brings files of a repo into a folder on the same disk as the stores."""


# -- ours ------------------------------------------------------------------------------------


class Daemon(Weightfs):
    """Started as a user starts it, not as tests do."""

    def mount_args(self, *options: str) -> list[str]:
        return [word for word in super().mount_args(*options) if word != "-v"]


class OurMount(Mounted):
    def __init__(self, weightfs: Weightfs) -> None:
        super().__init__(weightfs.mnt, weightfs.pid)
        self.weightfs = weightfs

    def path(self, repo: str, name: str = "") -> Path:
        return self.mountpoint / "models" / repo / name

    def stored(self, repo: str, name: str) -> Path:
        """The file in the store, once it is complete."""
        found = list(self.weightfs.stored(repo).glob(f"snapshots/*/{name}"))
        return found[0] if found else Path("/nonexistent")

    def settle(self, repo: str, name: str) -> None:
        limit = time.monotonic() + 60
        while not self.stored(repo, name).exists():
            if time.monotonic() > limit:
                raise Failed("read to the end, but not complete in the store a minute later")
            time.sleep(0.02)

    def stop(self) -> None:
        self.sampler.stop()
        self.weightfs.watchdog.done()
        self.weightfs.stop()


class Ours(Mounter, Fetcher):
    key = "weightfs"
    get = "cmake --preset release && cmake --build --preset release"
    variable = "WEIGHTFS_BIN"
    version_words = ["version"]

    def find(self) -> Path | None:
        return BINARY if BINARY.exists() else None

    def mount(self, place: Place, repo: str, *options: str) -> OurMount:
        weightfs = Daemon(place.fresh_folder(), place.hub.endpoint, Watchdog(600))
        return OurMount(weightfs.start(*options))

    def fetch(self, place: Place, repo: str, names: list[str], target: Path) -> Cost:
        include = [f"--include={name}" for name in names]
        return run([BINARY, "pull", "--store", target, "--endpoint", place.hub.endpoint, *include, repo],
                   FETCH_SECONDS, clean_env())


# -- those that mount ------------------------------------------------------------------------


class PeerMount(Mounted):
    """A foreground daemon that is started here and ended by SIGTERM."""

    def __init__(self, command: list[str | Path], mountpoint: Path, root: str, env: dict[str, str] | None = None) -> None:
        mountpoint.mkdir(parents=True)
        self.log = mountpoint.parent / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen([str(c) for c in command], stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, env=env or clean_env())
        self.root = root
        limit = time.monotonic() + MOUNT_SECONDS
        while mount_device(mountpoint) is None:
            if self.process.poll() is not None or time.monotonic() > limit:
                self.process.kill()
                last = self.log.read_text(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
                raise Failed(f"not mounted: {last[0][:160]}")
            time.sleep(0.02)
        super().__init__(mountpoint, self.process.pid)

    def path(self, repo: str, name: str = "") -> Path:
        return self.mountpoint / self.root / name

    def stop(self) -> None:
        self.sampler.stop()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.abort()
            self.process.kill()
            self.process.wait(10)
        detach(self.mountpoint)


class HfMount(Mounter):
    """Over plain HTTP, where it keeps nothing: the local hub has no Xet store."""

    key = "hf-mount"
    program = "hf-mount-fuse"
    get = "https://github.com/huggingface/hf-mount (a release, or cargo build --release --features fuse)"
    variable = "BENCH_HF_MOUNT"

    def mount(self, place: Place, repo: str, *options: str) -> Mounted:
        base = place.fresh_folder()
        command = [self.find(), "--hub-endpoint", place.hub.endpoint, "--cache-dir", base / "cache", "--read-only",
                   "repo", repo, base / "mnt"]
        return PeerMount(command, base / "mnt", "", clean_env(RUST_LOG="warn"))


class Rclone(Mounter):
    key = "rclone"
    get = "apt-get install rclone"
    uses_hub = False
    variable = "BENCH_RCLONE"

    def mount(self, place: Place, repo: str, *options: str) -> Mounted:
        base = place.fresh_folder()
        command = [self.find(), "mount", ":http:", base / "mnt", "--http-url", place.static.url, "--read-only",
                   "--vfs-cache-mode", "full", "--cache-dir", base / "cache", "--config", base / "none"]
        return PeerMount(command, base / "mnt", repo, clean_env(HOME=base))


class Httpdirfs(Mounter):
    key = "httpdirfs"
    get = "apt-get install httpdirfs"
    uses_hub = False
    variable = "BENCH_HTTPDIRFS"

    def mount(self, place: Place, repo: str, *options: str) -> Mounted:
        base = place.fresh_folder()
        (base / "cache").mkdir()
        command = [self.find(), "-f", "--cache", "--cache-location", base / "cache", f"{place.static.url}/{repo}/",
                   base / "mnt"]
        return PeerMount(command, base / "mnt", "", clean_env(HOME=base, XDG_CONFIG_HOME=base))


# -- the least that can be done --------------------------------------------------------------


class LimitMount(PeerMount):
    def __init__(self, place: Place, base: Path, stored: Path, *words: str | Path) -> None:
        assert place.limit
        self.stored = stored
        super().__init__([place.limit, *words, base / "mnt"], base / "mnt", "")

    def settle(self, repo: str, name: str) -> None:
        limit = time.monotonic() + 60
        while not self.stored.exists():
            if time.monotonic() > limit:
                raise Failed("read to the end, but not hashed a minute later")
            time.sleep(0.02)

    def stop(self) -> None:
        """It ends with its mount."""
        detach(self.mountpoint)
        self.sampler.stop()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.abort()
            self.process.kill()
            self.process.wait(10)


class Limit(Mounter):
    """limit.c, for one file: what comes from where the hub redirects to, or one that is held."""

    key = "limit"
    get = "as root, with --limit"
    variable = "BENCH_LIMIT"

    def find(self) -> Path | None:
        return None  # compiled by each run that asks for it

    def mount(self, place: Place, repo: str, *options: str) -> LimitMount:
        base = place.fresh_folder()
        asked = urllib.request.Request(url_of(place, repo, FILE), method="HEAD")
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(asked, timeout=30) as told:
            url, size = urllib.parse.urlsplit(told.url), told.headers["Content-Length"]
        stored, target = base / "stored", f"{url.path}?{url.query}"
        return LimitMount(place, base, stored, "fetch", str(url.hostname), str(url.port), target, size, stored)

    def mount_held(self, place: Place, held: Path) -> LimitMount:
        return LimitMount(place, place.fresh_folder(), held, "held", held)


# -- those that fetch ------------------------------------------------------------------------


def url_of(place: Place, repo: str, name: str) -> str:
    return f"{place.hub.endpoint}/{repo}/resolve/main/{name}"


class Curl(Fetcher):
    """One connection, into a file."""

    key = "curl"
    get = "apt-get install curl"
    variable = "BENCH_CURL"

    def fetch(self, place: Place, repo: str, names: list[str], target: Path) -> Cost:
        many = [word for name in names for word in ("-o", target / name, url_of(place, repo, name))]
        return run([self.find(), "-sfL", *many], FETCH_SECONDS, clean_env())


class CurlHashed(Curl):
    """The least that fetches and verifies; it keeps nothing."""

    key = "curl | sha256sum"
    program = "curl"

    def fetch(self, place: Place, repo: str, names: list[str], target: Path) -> Cost:
        script = 'set -o pipefail; "$1" -sfL "$2" | sha256sum'
        costs = [run(["bash", "-c", script, "-", self.find(), url_of(place, repo, name)], FETCH_SECONDS, clean_env())
                 for name in names]
        return Cost(sum(c.seconds for c in costs), sum(c.cpu for c in costs), max(c.rss for c in costs))


class Aria2(Fetcher):
    key = "aria2c"
    get = "apt-get install aria2"
    variable = "BENCH_ARIA2C"

    def fetch(self, place: Place, repo: str, names: list[str], target: Path) -> Cost:
        listing = target / "urls"
        listing.write_text("".join(f"{url_of(place, repo, name)}\n out={name}\n" for name in names))
        return run([self.find(), "-q", "-x16", "-s16", "-k1M", "--file-allocation=none", "-d", target, "-i", listing],
                   FETCH_SECONDS, clean_env(HOME=target))


class HfDownload(Fetcher):
    key = "hf download"
    program = "hf"
    get = "pip install huggingface_hub (or tools/install-clients hub, and its folder in WEIGHTFS_TEST_CACHE)"
    variable = "BENCH_HF"
    version_words = ["version"]

    def find(self) -> Path | None:
        def number(path: Path) -> list[int]:
            return [int(part) for part in path.parents[1].name.removeprefix("hub-").split(".")]

        cached = sorted(CLIENTS.glob("hub-*/bin/hf"), key=number)
        return super().find() or (cached[-1] if cached else None)

    @staticmethod
    def environment(endpoint: str, home: Path) -> dict[str, str]:
        return clean_env(HF_ENDPOINT=endpoint, HF_HOME=home, HF_HUB_DISABLE_TELEMETRY=1, HF_HUB_DISABLE_UPDATE_CHECK=1,
                         HF_HUB_DISABLE_PROGRESS_BARS=1)

    def fetch(self, place: Place, repo: str, names: list[str], target: Path) -> Cost:
        return run([self.find(), "download", repo, *names], FETCH_SECONDS, self.environment(place.hub.endpoint, target))


OURS, LIMIT = Ours(), Limit()
CURL, CURL_HASHED, ARIA2, HF_DOWNLOAD = Curl(), CurlHashed(), Aria2(), HfDownload()
FETCHERS: list[Fetcher] = [CURL, CURL_HASHED, ARIA2, HF_DOWNLOAD]
PEER_MOUNTS: list[Mounter] = [HfMount(), Rclone(), Httpdirfs()]
PEERS: list[Contender] = [*FETCHERS, *PEER_MOUNTS]


def describe(chosen: list[Contender]) -> dict[str, Any]:
    return {c.key: c.version() for c in chosen if c.key != CURL_HASHED.key}

"""What the end-to-end tests stand on: a weightfs daemon on a mount, and clients run against it.

Nothing here may hang the test run: a file system whose daemon is stuck leaves its users in
uninterruptible sleep. Every mount is registered with a watchdog, which aborts its FUSE connection
when a test runs past its limit; what was stuck then fails with ECONNABORTED.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import signal
import socket
import sqlite3
import stat
import struct
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Any


def for_all_users(path: Path) -> Path:
    """A path under which others reach it too: itself, or a bind mount where a folder above is closed (/root)."""
    if os.geteuid() != 0 or all(p.stat().st_mode & 0o001 for p in path.parents):
        return path
    open_folder = Path(tempfile.mkdtemp(prefix="weightfs-tests-"))
    target = open_folder / path.name
    target.mkdir()
    open_folder.chmod(0o755)
    subprocess.run(["mount", "--bind", str(path), str(target)], check=True)
    atexit.register(_release, open_folder, target)
    return target


def _release(open_folder: Path, target: Path) -> None:
    if subprocess.run(["umount", "-l", str(target)], check=False).returncode == 0:
        target.rmdir()
        open_folder.rmdir()


ROOT = for_all_users(Path(__file__).resolve().parents[2])
BINARY = Path(os.environ.get("WEIGHTFS_BIN", ROOT / "build/dev/cli/weightfs"))
CLIENTS = (for_all_users(Path(os.environ["WEIGHTFS_TEST_CACHE"]).resolve()) if "WEIGHTFS_TEST_CACHE" in os.environ
           else ROOT / "build/clients")
CLIENT_PROGRAMS = ROOT / "tests/clients"

@functools.cache
def is_sanitized() -> bool:
    """Built with a sanitizer: most of its memory is that one's."""
    return any(word in BINARY.read_bytes() for word in (b"__asan_init", b"__tsan_init"))


# Variables of whoever runs the tests must not change what they see.
FOREIGN = ("HF_", "HUGGINGFACE", "TRANSFORMERS_", "WEIGHTFS_", "http_proxy", "https_proxy", "all_proxy")


def open_to_others(tmp_path: Path) -> None:
    """Containers and other users come by: pytest's folders are 0700. The upper one may be /tmp with --basetemp:
    nothing is taken away."""
    for folder in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        folder.chmod(stat.S_IMODE(folder.stat().st_mode) | 0o055)


def clean_env(**extra: str | Path) -> dict[str, str]:
    keep = ("WEIGHTFS_BIN", "WEIGHTFS_TEST_CACHE")
    env = {k: v for k, v in os.environ.items() if k in keep or not k.lower().startswith(tuple(f.lower() for f in FOREIGN))}
    env.update({k: str(v) for k, v in extra.items()})
    return env


def edit_catalogue(path: Path, sql: str) -> int:
    """Changes a catalogue that nobody has open; rows changed. Its pages are sealed again (index/catalog_vfs.c)."""
    db = sqlite3.connect(path)
    with db:
        count = db.execute(sql).rowcount
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    data = bytearray(path.read_bytes())
    mask = (1 << 64) - 1
    for at in range(0, len(data), 4096) if data[20] == 8 else ():
        a, b = at ^ 0x9E3779B97F4A7C15, 1
        for word in struct.unpack_from("<511Q", data, at):
            a = (a + word) & mask
            b = (b + a) & mask
        struct.pack_into("<Q", data, at + 4088, a ^ ((b << 32 | b >> 32) & mask))
    path.write_bytes(data)
    return count


def mount_device(mountpoint: Path) -> int | None:
    """The number of the FUSE connection mounted there, from mountinfo: a stat could hang."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split()
        if fields[4] == str(mountpoint) and " - fuse" in line:
            return int(fields[2].split(":")[1])
    return None


class Watchdog:
    """Aborts the FUSE connections of a test that takes too long."""

    def __init__(self, seconds: float) -> None:
        self.mounts: list[Path] = []
        self.fired = False
        self._timer = threading.Timer(seconds, self._bite)
        self._timer.daemon = True
        self._timer.start()

    def _bite(self) -> None:
        self.fired = True
        for mountpoint in self.mounts:
            abort(mountpoint)

    def done(self) -> None:
        self._timer.cancel()


def abort(mountpoint: Path) -> None:
    number = mount_device(mountpoint)
    control = Path(f"/sys/fs/fuse/connections/{number}/abort")
    if number is not None and not control.exists():
        subprocess.run(["mount", "-t", "fusectl", "none", "/sys/fs/fuse/connections"], check=False)
    if number is not None and control.exists():
        control.write_text("1")


class Weightfs:
    """One daemon, in front of us, with folders of its own. Start and stop it as often as you like."""

    def __init__(self, base: Path, endpoint: str | None, watchdog: Watchdog) -> None:
        self.store = base / "store"
        self.state = base / "state"
        self.mnt = base / "mnt"
        self.log = base / "weightfs.log"
        self.endpoint = endpoint
        self.mnt.mkdir(parents=True, exist_ok=True)
        self.process: subprocess.Popen[bytes] | None = None
        self.watchdog = watchdog
        watchdog.mounts.append(self.mnt)

    def command(self, *args: str | Path, timeout: float = 60, env: dict[str, str] | None = None,
                check: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs a subcommand and returns what it printed."""
        done = subprocess.run([str(BINARY), *map(str, args)], capture_output=True, text=True, timeout=timeout,
                              env=env or clean_env(), check=False)
        if check and done.returncode != 0:
            raise AssertionError(f"weightfs {' '.join(map(str, args))} ended with {done.returncode}:\n"
                                 f"{done.stdout}{done.stderr}")
        return done

    def mount_args(self, *options: str) -> list[str]:
        args = ["mount", "-f", "-v", "--store", str(self.store), "--state", str(self.state)]
        if self.endpoint:
            args += ["--endpoint", self.endpoint]
        if os.geteuid() == 0:
            args += ["-o", "allow_other"]
        return [*args, *options, str(self.mnt)]

    def start(self, *options: str, env: dict[str, str] | None = None, wrapper: list[str] | None = None,
              seconds: float = 20) -> "Weightfs":
        assert self.process is None, "already started"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([*(wrapper or []), str(BINARY), *self.mount_args(*options)],
                                            stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                                            env=env or clean_env())
        limit = time.monotonic() + seconds
        while not self.ready():
            if self.process.poll() is not None:
                code, self.process = self.process.returncode, None
                raise AssertionError(f"weightfs mount ended with {code}:\n{self.log.read_text()}")
            assert time.monotonic() < limit, f"not mounted after {seconds} s:\n{self.log.read_text()}"
            time.sleep(0.02)
        return self

    def ready(self) -> bool:
        """Mounted, and commands are heard: a socket that is only there may be of one that was killed."""
        if mount_device(self.mnt) is None:
            return False
        try:
            folder = os.open(self.state, os.O_PATH)
        except OSError:
            return False
        try:
            with socket.socket(socket.AF_UNIX) as s:
                s.connect(f"/proc/self/fd/{folder}/control.sock")  # its own path may be too long for an address
            return True
        except OSError:
            return False
        finally:
            os.close(folder)

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def offline(self, *options: str, **kwargs: Any) -> "Weightfs":
        """Starts it offline, for good."""
        return self.start("--offline", *options, **kwargs)

    def stop(self, seconds: float = 20) -> None:
        """SIGTERM, as systemd does; the mount must be gone afterwards."""
        if self.process is None:
            return
        process, self.process = self.process, None
        process.terminate()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            stacks = threads_of(process.pid)
            self._tear_down(process)
            raise AssertionError(f"weightfs did not end within {seconds} s; its threads:\n{stacks}") from None
        if mount_device(self.mnt) is not None:
            self._tear_down(process)
            raise AssertionError(f"the mount outlived its daemon:\n{self.log.read_text()[-3000:]}")
        assert process.returncode == 0, f"ended with {process.returncode}:\n{self.log.read_text()[-3000:]}"

    def kill(self) -> None:
        """SIGKILL, and the dead mount taken away."""
        assert self.process is not None
        process, self.process = self.process, None
        process.kill()
        process.wait()
        self._tear_down(process)

    def _tear_down(self, process: subprocess.Popen[bytes]) -> None:
        abort(self.mnt)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait(10)
        while mount_device(self.mnt) is not None:
            subprocess.run(["umount", "-l", "-i", str(self.mnt)], check=False, timeout=20)

    def clean_up(self) -> None:
        if self.process is not None:
            process, self.process = self.process, None
            self._tear_down(process)
        elif mount_device(self.mnt) is not None:
            subprocess.run(["umount", "-l", "-i", str(self.mnt)], check=False, timeout=20)

    # -- what it says ----------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        return json.loads(self.command("status", "--json", self.mnt).stdout)

    def rss_anon_kb(self) -> int:
        """Memory of its own; 0 where a sanitizer's would count."""
        if is_sanitized():
            return 0
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1])
        raise AssertionError("no RssAnon")

    # -- where things are ------------------------------------------------------------------

    @property
    def hub_cache(self) -> Path:
        return self.mnt / "hub"

    def repo(self, id_: str, type_: str = "models") -> Path:
        return self.hub_cache / f"{type_}--{id_.replace('/', '--')}"

    def stored(self, id_: str, type_: str = "models") -> Path:
        return self.store / "hub" / f"{type_}--{id_.replace('/', '--')}"

    def snapshot(self, id_: str, ref: str = "main", type_: str = "models") -> Path:
        """The folder of a revision, found as clients find it."""
        repo = self.repo(id_, type_)
        return repo / "snapshots" / (repo / "refs" / ref).read_text()


def threads_of(pid: int) -> str:
    lines = []
    for task in sorted(Path(f"/proc/{pid}/task").glob("*")):
        try:
            lines.append(f"{(task / 'comm').read_text().strip()}: {(task / 'wchan').read_text()}\n"
                         f"{(task / 'stack').read_text()}")
        except OSError:
            continue
    return "\n".join(lines)


def client_python(name: str) -> Path | None:
    """The interpreter of a client's environment (tools/install-clients), if it is there."""
    python = CLIENTS / name / "bin/python"
    return python if python.exists() else None


def run_client(name: str, program: str, *args: str, timeout: float = 180, user: int | None = None,
               check: bool = True, **env: str | Path) -> dict[str, Any]:
    """Runs tests/clients/PROGRAM with the client NAME and returns its JSON line."""
    python = client_python(name)
    assert python is not None, f"client {name} is not installed: run tools/install-clients {name}"
    home = env.pop("HOME", None)
    command = [str(python), str(CLIENT_PROGRAMS / program), *args]
    if user is not None:
        command = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--", *command]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False,
                          env=clean_env(**env, HOME=home or "/nonexistent", PYTHONDONTWRITEBYTECODE="1",
                                        HF_HUB_DISABLE_TELEMETRY="1", TOKENIZERS_PARALLELISM="false"))
    try:
        result = json.loads(done.stdout)
    except ValueError:
        raise AssertionError(f"{program} printed no JSON:\n{done.stdout}\n{done.stderr[-4000:]}") from None
    if check and "error" in result:
        raise AssertionError(f"{program} {' '.join(args)} with {name}: {result}\n{done.stderr[-4000:]}")
    return result

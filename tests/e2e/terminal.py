"""A person at a terminal: runs weightfs as one would, and looks at what it says."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from fcntl import ioctl
from pathlib import Path

from harness import BINARY, Weightfs, clean_env, mount_device

Done = subprocess.CompletedProcess


class Terminal:
    """Commands with a home of their own; what they mounted in the background is taken away at the end."""

    def __init__(self, wfs: Weightfs, base: Path) -> None:
        self.wfs = wfs
        self.home = base / "home"
        self.home.mkdir()
        self.store = ["--store", str(wfs.store), "--state", str(wfs.state)]
        self.hub = ["--endpoint", str(wfs.endpoint)]

    def env(self, **env: str | Path) -> dict[str, str]:
        return clean_env(**{"HOME": self.home, "TERM": "dumb", **env})

    def __call__(self, *args: str | Path, cwd: Path | None = None, user: int | None = None, timeout: float = 60,
                 program: str | Path = BINARY, **env: str | Path) -> Done[str]:
        command = [str(program), *map(str, args)]
        if user is not None:
            command = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--", *command]
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False, cwd=cwd,
                              env=self.env(**env), errors="surrogateescape")

    def mount(self, *options: str | Path, ok: bool = True, **env: str | Path) -> Done[str]:
        """In the background, as a person does."""
        done = self("mount", *self.store, *self.hub, *options, self.wfs.mnt, **env)
        assert not ok or done.returncode == 0, done
        return done

    def pull(self, *args: str | Path, **env: str | Path) -> Done[str]:
        return self("pull", *self.store, *self.hub, *args, **env)

    def unmount(self, *args: str | Path) -> Done[str]:
        done = self("unmount", *args, self.wfs.mnt)
        assert done.returncode == 0, done
        return done

    def popen(self, *args: str | Path, **env: str | Path) -> subprocess.Popen[str]:
        return subprocess.Popen([str(BINARY), *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                text=True, env=self.env(**env))

    def screen(self, *args: str | Path, columns: int = 100, **env: str | Path) -> tuple[int, str]:
        """Runs it on a pseudo-terminal; returns the exit code and all that came."""
        master, slave = pty.openpty()
        ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        process = subprocess.Popen([str(BINARY), *map(str, args)], stdin=slave, stdout=slave, stderr=slave,
                                   env=self.env(**{"TERM": "xterm", **env}))
        os.close(slave)
        text = b""
        limit = time.monotonic() + 60
        try:
            while time.monotonic() < limit:
                if select.select([master], [], [], 0.2)[0]:
                    try:
                        text += os.read(master, 1 << 16)
                    except OSError:  # EIO: nobody has the other end any more
                        break
        finally:
            os.close(master)
            if process.poll() is None and time.monotonic() >= limit:
                process.kill()
        return process.wait(10), text.decode()

    @property
    def daemon(self) -> int:
        """The pid of the daemon in the background."""
        return int(self.wfs.status()["pid"])

    def gone(self) -> bool:
        """Neither a mount nor a daemon's socket."""
        return mount_device(self.wfs.mnt) is None and not (self.wfs.state / "control.sock").exists()


def says(done: Done[str], code: int, *parts: str) -> str:
    """An error: the exit code, one sentence on stderr that holds all parts, nothing on stdout."""
    assert done.returncode == code, done
    assert done.stdout == "", done
    assert re.fullmatch(r"weightfs: [^\n]+\n", done.stderr), done.stderr
    for part in parts:
        assert part in done.stderr, f"{part!r} is not said in: {done.stderr}"
    return done.stderr


def alive(pid: int) -> bool:
    """True until its last thread has ended: until then it holds what it had open. A zombie does not live."""
    try:
        tasks = os.listdir(f"/proc/{pid}/task")
        return any(Path(f"/proc/{pid}/task/{t}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
                   for t in tasks)
    except OSError:
        return Path(f"/proc/{pid}").exists() and alive(pid)


def kill(pid: int, sig: int = signal.SIGKILL) -> None:
    os.kill(pid, sig)
    limit = time.monotonic() + 10
    while sig == signal.SIGKILL and alive(pid):
        assert time.monotonic() < limit
        time.sleep(0.02)

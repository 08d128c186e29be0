"""Runs programs under a time limit and says what they cost; looks at what daemons cost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
SAMPLE_SECONDS = 0.05


class Failed(Exception):
    """What was measured did not do its work; the text goes into the report."""


@dataclass
class Cost:
    """What a program took. Memory in bytes, the highest that samples saw."""

    seconds: float
    cpu: float
    rss: int = 0
    anon: int = 0
    output: str = field(default="", repr=False)
    count: int = 0  # of what a program that measures itself has counted: bytes, or entries


def status_bytes(pid: int, *names: str) -> list[int]:
    """Fields of /proc/PID/status in bytes, 0 for a process that is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return [0] * len(names)
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    return [int(fields[n].split()[0]) * 1024 if n in fields else 0 for n in names]


def cpu_of(pid: int) -> float:
    """CPU seconds of a process and of its children that ended."""
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(v) for v in stat[11:15]) / TICKS


class Sampler:
    """The most memory of a process from now on: all that is resident, and what is its own (RssAnon)."""

    def __init__(self, pid: int) -> None:
        self.rss = self.anon = 0
        self._pid = pid
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self.look()
        while not self._over.wait(SAMPLE_SECONDS):
            self.look()

    def look(self) -> None:
        rss, anon = status_bytes(self._pid, "VmHWM", "RssAnon")
        self.rss, self.anon = max(self.rss, rss), max(self.anon, anon)

    def stop(self) -> None:
        self._over.set()
        self._thread.join()


def run(
    command: list[str | Path],
    timeout: float,
    env: Mapping[str, str] | None = None,
    on_timeout: Callable[[], object] | None = None,
) -> Cost:
    """Runs `command` to its end; Failed where it does not succeed or is not done after `timeout` seconds.

    `on_timeout` frees what it may be stuck in (a mount whose daemon is dead) before it is killed.
    """
    late = threading.Event()
    began = time.perf_counter()
    process = subprocess.Popen([str(c) for c in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, env=env, start_new_session=True)

    def bite() -> None:
        late.set()
        if on_timeout:
            on_timeout()
        os.killpg(process.pid, signal.SIGKILL)

    timer = threading.Timer(timeout, bite)
    timer.start()
    sampler = Sampler(process.pid)
    assert process.stdout
    try:
        output = process.stdout.read().decode(errors="replace")
        _, code, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
    finally:
        timer.cancel()
        process.stdout.close()
        sampler.stop()
    process.returncode = os.waitstatus_to_exitcode(code)
    if late.is_set():
        raise Failed(f"not done after {timeout:.0f} s")
    if process.returncode != 0:
        last = output.strip().splitlines()[-1:] or ["no output"]
        raise Failed(f"{Path(str(command[0])).name} ended with {process.returncode}: {last[0][:160]}")
    return Cost(seconds, usage.ru_utime + usage.ru_stime, sampler.rss, sampler.anon, output)


def run_json(
    command: list[str | Path],
    timeout: float,
    env: Mapping[str, str] | None = None,
    on_timeout: Callable[[], object] | None = None,
) -> Cost:
    """run() for a program that measures itself: the Cost is what it says."""
    done = run(command, timeout, env, on_timeout)
    said = json.loads(done.output.strip().splitlines()[-1])
    return Cost(said["seconds"], said.get("cpu", done.cpu), done.rss, done.anon, done.output, said["count"])

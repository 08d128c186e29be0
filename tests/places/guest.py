"""Checks that run in a guest one after the other. Standard library only: the guest has no more.

A guest script registers its checks with @check and ends with main(). The host imports the script
too, for the names; it boots the guest once and reports each check as a test of its own.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

checks: list[Callable[[], None]] = []
RESULT = re.compile(r"^== (?P<name>\w+): (?P<verdict>passed|failed).*\n", re.M)
CHECK_SECONDS = 200  # what hangs ends; a busy machine takes ten times what another does


def check(function: Callable[[], None]) -> Callable[[], None]:
    checks.append(function)
    return function


def main() -> int:
    """Runs every check, whatever became of those before, and says so in lines that the host reads."""

    def bite(*_: object) -> None:
        raise TimeoutError(f"not done after {CHECK_SECONDS} s")

    signal.signal(signal.SIGALRM, bite)
    failed = 0
    for function in checks:
        started = time.monotonic()
        signal.alarm(CHECK_SECONDS)
        try:
            function()
            verdict = "passed"
        except BaseException:  # noqa: BLE001 - every failure is a result here
            traceback.print_exc()
            verdict = "failed"
            failed += 1
        signal.alarm(0)
        print(f"== {function.__name__}: {verdict} ({time.monotonic() - started:.1f} s)", flush=True)
    return 1 if failed else 0


def results(output: str) -> dict[str, tuple[str, str]]:
    """The verdict of each check, and what it printed."""
    found, end = {}, 0
    for match in RESULT.finditer(output):
        found[match["name"]] = (match["verdict"], output[end : match.end()])
        end = match.end()
    return found


def sh(command: str, code: int | None = 0, seconds: float = 120) -> str:
    """Runs a shell command; returns what it printed on either stream."""
    done = subprocess.run(["bash", "-c", command], text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=seconds, check=False)
    assert code is None or done.returncode == code, f"{command}: {done.returncode}\n{done.stdout}"
    return done.stdout


def wait_for(condition: Callable[[], object], what: str, seconds: float = 60) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, f"not within {seconds} s: {what}"
        time.sleep(0.05)


def mounts_at(point: str, pid: int | str = "self") -> list[str]:
    """What is mounted there, from the table: a stat could hang."""
    with open(f"/proc/{pid}/mountinfo") as table:
        return [line for line in table if line.split()[4] == point]


@contextmanager
def raises(*errnos: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        assert error.errno in errnos, f"{error!r}, not one of {[os.strerror(e) for e in errnos]}"
    else:
        raise AssertionError(f"no error, not one of {[os.strerror(e) for e in errnos]}")

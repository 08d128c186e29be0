"""Who does ordinary things while the hub fails: reads other files, held files, and lists what is known.

A process of its own, so that what it measures is not this interpreter's. On stdin one JSON object:
fresh: [[path, sha256]] files that have to come from the hub, one after the other; held: the same of files
that are complete; walk: folders of which everything is listed, and looked at but for refs. It goes round until
stdin closes, then prints one JSON object: rounds, fresh (how many), slowest {what: [seconds, path]}, errors.
"""

from __future__ import annotations

import hashlib
import json
import os
import select
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

PAUSE = 0.3
WALK_EVERY = 6  # rounds: what a listing teaches the kernel is forgotten after a second, then held files are looked up

slowest: dict[str, tuple[float, str]] = {}
errors: list[str] = []


@contextmanager
def timed(what: str, path: str) -> Iterator[None]:
    began = time.monotonic()
    try:
        yield
    except OSError as e:
        errors.append(f"{what} {path}: {e}")
    slowest[what] = max(slowest.get(what, (0.0, "")), (time.monotonic() - began, path))


def read(what: str, path: str, sha256: str) -> None:
    with timed(what, path), open(path, "rb") as f:
        if hashlib.file_digest(f, "sha256").hexdigest() != sha256:
            errors.append(f"{what} {path}: wrong bytes")


def walk(folder: str) -> None:
    """As `ls -lR` does; of refs/ the names only: looking at one may ask the hub whether it moved."""
    with timed("list", folder):
        names = os.listdir(folder)
    for name in names:
        path = f"{folder}/{name}"
        if name == "refs":
            with timed("list", path):
                os.listdir(path)
            continue
        is_folder = False
        with timed("look", path):
            is_folder = os.lstat(path).st_mode & 0o170000 == 0o040000
        if is_folder:
            walk(path)


def main() -> None:
    job: dict[str, Any] = json.loads(sys.stdin.readline())
    fresh = iter(job["fresh"])
    rounds = came = 0
    while not select.select([sys.stdin], [], [], PAUSE)[0]:
        rounds += 1
        if (one := next(fresh, None)) is not None:
            read("fresh", *one)
            came += 1
        for path, sha256 in job["held"]:
            read("held", path, sha256)
        for folder in job["walk"] if rounds % WALK_EVERY == 0 else []:
            walk(folder)
    print(json.dumps({"rounds": rounds, "fresh": came, "slowest": slowest, "errors": errors}))


main()

"""Reads files of a mount here and there through mmap, for ever, and compares: python3 reader.py HUB EXPECTED SEED

EXPECTED/commits.json says {repo folder: {commit: {path: etag}}}, EXPECTED/<etag> is the content. A daemon that was
killed ends this program, by an error or a signal; a wrong byte ends it with "WRONG" on its output.
"""

import json
import mmap
import os
import random
import sys
from pathlib import Path

PIECE = 64 << 10


def look(hub: Path, expected: Path, rng: random.Random) -> None:
    commits = json.loads((expected / "commits.json").read_text())
    repo = rng.choice(sorted(commits))
    sha = (hub / repo / "refs/main").read_text()
    if rng.random() < 0.6:
        sha = rng.choice(sorted(commits[repo]))  # any, the newest too, which the daemon has not heard of
    files = commits[repo].get(sha)
    if files is None:
        return  # it has moved since the list was written
    path = rng.choice(sorted(files))
    with (hub / repo / "snapshots" / sha / path).open("rb") as f, (expected / files[path]).open("rb") as right:
        size = os.fstat(f.fileno()).st_size
        if size != os.fstat(right.fileno()).st_size:
            print(f"WRONG size {size}: {repo} {sha} {path}", flush=True)
        if size == 0:
            return
        with mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ) as seen, mmap.mmap(right.fileno(), 0, prot=mmap.PROT_READ) as r:
            whole = rng.random() < 0.3
            for at in range(0, size, PIECE) if whole else [rng.randrange(size) for _ in range(8)]:
                if seen[at : at + PIECE] != r[at : at + PIECE]:
                    print(f"WRONG bytes at {at}: {repo} {sha} {path}", flush=True)


def main() -> None:
    hub, expected, rng = Path(sys.argv[1]), Path(sys.argv[2]), random.Random(int(sys.argv[3]))
    failures = 0
    while failures < 20:
        try:
            look(hub, expected, rng)
            failures = 0
        except OSError:
            failures += 1  # the daemon is gone, or the hub has just moved a name


main()

"""Names and sizes only: a repo of 5,000 files, and one of 100,000."""

from __future__ import annotations

from functools import partial

from .contenders import OURS, Mounter
from .place import Place
from .rows import Group, Row, interleave

FILES = 5_000
MANY_FILES = 100_000
PAGE = 1_000  # entries on a page of the hub's listing


def walk_rows() -> list[Row]:
    return [
        Row("walk-cold", f"status of {FILES:,} files, first time", "s", "hf-mount", "the hub's pages of 1,000 entries; a lookup each",
            plot="Status of 5,000 files, first time"),
        Row("walk-requests", "the same: requests to the server", "", "pages", "a page for each 1,000 entries, and the repo's own"),
        Row("walk-warm", f"status of {FILES:,} files, second time", "s", "native", "system calls: the kernel has the names"),
    ]


def walk(place: Place, rows: dict[str, Row]) -> None:
    repo = place.many(FILES)
    source = place.source / repo

    def take(mounter: Mounter) -> None:
        server = place.hub if mounter.uses_hub else place.static
        server.reset_counters()
        mounted = mounter.mount(place, repo)
        try:
            cold = place.read("walk", mounted.path(repo), mounted=mounted)
            requests = server.counters()["requests"]
            warm = place.read("walk", mounted.path(repo), mounted=mounted)
        finally:
            mounted.stop()
        for name, value in {"walk-cold": cold.seconds, "walk-requests": requests, "walk-warm": warm.seconds}.items():
            if name in rows:
                rows[name].add(mounter.key, value)

    def native() -> None:
        if "walk-warm" in rows:
            rows["walk-warm"].add("native", place.read("walk", source).seconds)

    if "walk-requests" in rows:
        rows["walk-requests"].add("pages", FILES / PAGE)
    place.read("walk", source)
    interleave(place, rows, {"native": native} | {m.key: partial(take, m) for m in [OURS, *place.peer_mounts()]})


def tree_rows() -> list[Row]:
    return [
        Row("tree-first", f"status of one file among {MANY_FILES:,}, first time", "s", "hf-mount", "the 100 pages of the whole listing; hf-mount lists one folder"),
        Row("tree-walk", f"status of all {MANY_FILES:,} then", "s", "hf-mount", "a lookup each"),
    ]


def tree(place: Place, rows: dict[str, Row]) -> None:
    repo = place.huge(MANY_FILES)

    def take(mounter: Mounter) -> None:
        mounted = mounter.mount(place, repo)
        try:
            first = place.read("walk", mounted.path(repo, "data/0500/050000.txt"), mounted=mounted)
            if "tree-first" in rows:
                rows["tree-first"].add(mounter.key, first.seconds)
            if "tree-walk" in rows:
                rows["tree-walk"].add(mounter.key, place.read("walk", mounted.path(repo), mounted=mounted).seconds)
        finally:
            mounted.stop()

    interleave(place, rows, {m.key: partial(take, m) for m in [OURS, *place.peer_mounts("hf-mount")]}, 1)


GROUPS = [Group("walk", walk_rows, walk), Group("tree", tree_rows, tree)]

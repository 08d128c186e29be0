"""Nothing is held yet: a whole file through a mount or by a fetcher, near and far; what that costs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from .contenders import LIMIT, OURS, Fetcher, Mounter
from .place import FILE, RATE, RTT, Place
from .processes import Cost
from .rows import Group, Row, interleave

GIB = 1 << 30
NET = f"{RTT * 1000:.0f} ms, {RATE / 1e6:.0f} MB/s a connection"


def cold_rows() -> list[Row]:
    return [
        Row("cold-read", "whole file, read for the first time", "MB/s", "curl",
            "CPU: server, daemon and reader share the cores; then the disk", more=True,
            plot="Whole file, read for the first time"),
        Row("cold-cpu", "the same: CPU time of daemon and reader", "s/GiB", "curl", "sockets, copies, and SHA-256 where it is verified",
            plot="First read: CPU time of daemon and reader"),
        Row("cold-rss", "the same: peak memory of the daemon", "MiB", "hf-mount", "file pages that are mapped count too"),
        Row("cold-anon", "the same: peak memory of its own (RssAnon)", "MiB", "hf-mount", "buffers"),
    ]


def note(rows: dict[str, Row], key: str, size: int, cost: Cost) -> None:
    values = {"cold-read": size / 1e6 / cost.seconds, "cold-cpu": cost.cpu / (size / GIB), "cold-rss": cost.rss / (1 << 20),
              "cold-anon": cost.anon / (1 << 20)}
    for name, value in values.items():
        if name in rows:
            rows[name].add(key, value)


def read_through(place: Place, mounter: Mounter, repo: str) -> Cost:
    """A fresh mount, the whole file through it, and what daemon and reader took for that."""
    mounted = mounter.mount(place, repo)
    try:
        before = mounted.cpu()
        read = place.read("whole", mounted.path(repo, FILE), mounted=mounted)
        mounted.settle(repo, FILE)
        memory = mounted.memory()
        return Cost(read.seconds, read.cpu + mounted.cpu() - before, memory.rss, memory.anon)
    finally:
        mounted.stop()


def cold(place: Place, rows: dict[str, Row]) -> None:
    repo, size = place.model(), place.size << 20
    place.warm_source(repo)

    def by_mount(mounter: Mounter) -> None:
        note(rows, mounter.key, size, read_through(place, mounter, repo))

    def by_fetch(fetcher: Fetcher) -> None:
        note(rows, fetcher.key, size, fetcher.fetch(place, repo, [FILE], place.fresh_folder()))

    mounters = [OURS, *([LIMIT] if place.limit else []), *place.peer_mounts()]
    each: dict[str, Callable[[], None]] = {m.key: partial(by_mount, m) for m in mounters}
    each |= {f.key: partial(by_fetch, f) for f in place.fetchers("curl", "aria2c", "hf download")}
    interleave(place, rows, each)


def pull_rows() -> list[Row]:
    return [
        Row("pull-speed", "whole file, fetched and verified", "MB/s", "curl | sha256sum",
            "one core's SHA-256, and the server; the peers verify nothing", more=True),
        Row("pull-cpu", "the same: CPU time", "s/GiB", "curl | sha256sum", "SHA-256 and the copy out of the socket"),
    ]


def pull(place: Place, rows: dict[str, Row]) -> None:
    repo, size = place.model(), place.size << 20
    place.warm_source(repo)

    def take(fetcher: Fetcher) -> None:
        cost = fetcher.fetch(place, repo, [FILE], place.fresh_folder())
        for name, value in {"pull-speed": size / 1e6 / cost.seconds, "pull-cpu": cost.cpu / (size / GIB)}.items():
            if name in rows:
                rows[name].add(fetcher.key, value)

    fetchers = [OURS, *place.fetchers("curl | sha256sum", "aria2c", "hf download")]
    interleave(place, rows, {f.key: partial(take, f) for f in fetchers})


def far_rows() -> list[Row]:
    return [
        Row("far-read", f"whole file from a far hub, read for the first time ({NET})", "MB/s", "curl",
            "connections × their rate, then as cold-read", more=True,
            plot=f"Whole file from a far hub: {NET}"),
        Row("far-pull", f"whole file from a far hub, fetched ({NET})", "MB/s", "curl", "connections × their rate, then as pull", more=True),
    ]


def far(place: Place, rows: dict[str, Row]) -> None:
    repo, size = place.model(), place.size << 20
    place.warm_source(repo)

    def by_mount(mounter: Mounter) -> None:
        rows["far-read"].add(mounter.key, size / 1e6 / read_through(place, mounter, repo).seconds)

    def by_fetch(fetcher: Fetcher) -> None:
        speed = size / 1e6 / fetcher.fetch(place, repo, [FILE], place.fresh_folder()).seconds
        for name in ("far-read", "far-pull"):
            if name in rows and not (fetcher is OURS and name == "far-read"):
                rows[name].add(fetcher.key, speed)

    each: dict[str, Callable[[], None]] = {}
    if "far-read" in rows:
        each |= {m.key: partial(by_mount, m) for m in [OURS, *place.peer_mounts()]}
    if "far-pull" in rows:
        each["weightfs pull"] = partial(by_fetch, OURS)
    each |= {f.key: partial(by_fetch, f) for f in place.fetchers("curl", "aria2c", "hf download")}
    with place.far():
        interleave(place, rows, each)


GROUPS = [Group("cold", cold_rows, cold), Group("pull", pull_rows, pull), Group("far", far_rows, far)]

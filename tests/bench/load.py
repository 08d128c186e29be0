"""A sharded model, nothing held: loading it through a mount beside downloading it and loading it then."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from .contenders import OURS, Fetcher, Mounter
from .place import RATE, RTT, SHARD_NAMES, Place
from .rows import Group, Row, interleave


def load_rows() -> list[Row]:
    what = "safetensors model of 4 shards, loaded (mmap); others fetch it, then load"
    return [
        Row("load-near", what, "s", "hf download", "as cold-read, one fault after the other",
            plot="Model of 4 safetensors shards, nothing held, loaded"),
        Row("load-far", f"the same from a far hub ({RTT * 1000:.0f} ms, {RATE / 1e6:.0f} MB/s a connection)", "s", "hf download",
            "connections × their rate", plot="Those shards from a far hub"),
    ]


def loads(place: Place, row: Row) -> None:
    repo = place.shards()
    place.warm_source(repo)

    def by_mount(mounter: Mounter) -> None:
        mounted = mounter.mount(place, repo)
        try:
            row.add(mounter.key, place.load([mounted.path(repo, name) for name in SHARD_NAMES], mounted).seconds)
        finally:
            mounted.stop()

    def by_fetch(fetcher: Fetcher) -> None:
        folder = place.fresh_folder()
        fetched = fetcher.fetch(place, repo, SHARD_NAMES, folder)
        row.add(fetcher.key, fetched.seconds + place.load(found(folder)).seconds)

    each: dict[str, Callable[[], None]] = {m.key: partial(by_mount, m) for m in [OURS, *place.peer_mounts()]}
    each |= {f.key: partial(by_fetch, f) for f in place.fetchers("hf download", "aria2c", "curl")}
    interleave(place, {row.name: row}, each)


def found(folder: Path) -> list[Path]:
    """The shards, wherever below its folder a fetcher put them; a cache has links to them."""
    return [next(p for p in folder.rglob(name)) for name in SHARD_NAMES]


def load(place: Place, rows: dict[str, Row]) -> None:
    if row := rows.get("load-near"):
        loads(place, row)
    if row := rows.get("load-far"):
        with place.far():
            loads(place, row)


GROUPS = [Group("load", load_rows, load)]

"""A part of a file that is not held yet: how soon the first byte comes, and how much comes with it."""

from __future__ import annotations

import random
from functools import partial

from .contenders import OURS, Fetcher, Mounter, url_of
from .place import FILE, MIB, PART_MIB, PART_NAMES, RTT, Place
from .processes import run
from .rows import Group, Row, interleave

ROUND_TRIPS = "2 round trips"
HEAD_BYTES = 100_000  # what a reader of a safetensors header asks for
RANDOM_READS = 1000


def first_rows() -> list[Row]:
    return [
        Row("first-byte", "first byte of a file, anywhere in it, with connections open", "ms", "curl", "two requests: resolve, range"),
        Row("first-byte-far", f"the same from a far hub ({RTT * 1000:.0f} ms)", "ms", ROUND_TRIPS, "two round trips",
            plot="First byte of a file on a far hub"),
    ]


def first_bytes(place: Place, rows: dict[str, Row], row: Row) -> None:
    """One sample for each file but the first, which is there to open connections."""
    repo = place.parts()
    place.warm_source(repo)
    rng = random.Random(1)
    # httpdirfs 1.2.5 dies when a file is closed whose last 8 MiB were the first to be read.
    offsets = [rng.randrange(PART_MIB * MIB * 7 // 8) for _ in PART_NAMES]

    def by_mount(mounter: Mounter) -> None:
        mounted = mounter.mount(place, repo, *(["--complete", "never"] if mounter is OURS else []))
        try:
            for i, (name, offset) in enumerate(zip(PART_NAMES, offsets)):
                cost = place.read("byte", mounted.path(repo, name), offset, mounted=mounted)
                if i > 0:
                    row.add(mounter.key, cost.seconds * 1000)
                mounted.rest()
        finally:
            mounted.stop()

    def by_curl(curl: Fetcher) -> None:
        """A new process and new connections each time, as there is nothing that keeps them."""
        for name, offset in list(zip(PART_NAMES, offsets))[1:]:
            cost = run([curl.find(), "-sfL", "-r", f"{offset}-{offset}", "-o", "/dev/null", url_of(place, repo, name)], 60)
            row.add("curl", cost.seconds * 1000)

    each = {m.key: partial(by_mount, m) for m in [OURS, *place.peer_mounts()]}
    each |= {f.key: partial(by_curl, f) for f in place.fetchers("curl")}
    interleave(place, {row.name: row}, each, 1)


def first(place: Place, rows: dict[str, Row]) -> None:
    if row := rows.get("first-byte"):
        first_bytes(place, rows, row)
    if row := rows.get("first-byte-far"):
        row.add(ROUND_TRIPS, 2 * RTT * 1000)
        with place.far():
            first_bytes(place, rows, row)


def part_rows() -> list[Row]:
    return [
        Row("peek-bytes", f"header of a big file ({HEAD_BYTES:,} bytes): bytes over the wire", "MiB", "asked for", "the least that is fetched"),
        Row("random-bytes", f"{RANDOM_READS:,} random reads of 4 KiB: bytes over the wire", "MiB", "asked for", "the least that is fetched, 1,000 times",
            plot="1,000 random reads of 4 KiB: bytes over the wire"),
        Row("random-time", "the same: time", "s", "curl", "a round trip each, one after the other; curl fetches all"),
    ]


def part(place: Place, rows: dict[str, Row]) -> None:
    repo = place.model()
    place.warm_source(repo)

    def take(mounter: Mounter) -> None:
        options = ["--complete", "never"] if mounter is OURS else []
        server = place.hub if mounter.uses_hub else place.static
        for verb, number, size_row, time_row in (("head", HEAD_BYTES, "peek-bytes", None),
                                                 ("random", RANDOM_READS, "random-bytes", "random-time")):
            if not {size_row, time_row} & set(rows):
                continue
            mounted = mounter.mount(place, repo, *options)
            try:
                path = mounted.path(repo, FILE)
                path.stat()
                server.reset_counters()
                cost = place.read(verb, path, number, mounted=mounted)
                mounted.rest()
            finally:
                mounted.stop()
            if size_row in rows:
                rows[size_row].add(mounter.key, server.counters()["content_bytes"] / MIB)
            if time_row in rows:
                rows[time_row].add(mounter.key, cost.seconds)

    def by_curl(curl: Fetcher) -> None:
        cost = curl.fetch(place, repo, [FILE], place.fresh_folder())
        rows["random-time"].add("curl", cost.seconds)

    for name, asked in (("peek-bytes", HEAD_BYTES), ("random-bytes", RANDOM_READS * 4096)):
        if name in rows:
            rows[name].add("asked for", asked / MIB)
    each = {m.key: partial(take, m) for m in [OURS, *place.peer_mounts()]}
    if "random-time" in rows:
        each |= {f.key: partial(by_curl, f) for f in place.fetchers("curl")}
    interleave(place, rows, each)


GROUPS = [Group("first", first_rows, first), Group("part", part_rows, part)]

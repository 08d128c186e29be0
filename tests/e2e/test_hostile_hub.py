"""A hub that means harm: whatever it answers is refused with a documented errno or served harmlessly. Nothing is
written outside the store, memory stays bounded, and the same daemon serves an honest repo meanwhile."""

from __future__ import annotations

import errno
import gzip
import hashlib
import itertools
import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import Weightfs
from hub.content import Synthetic
from hub.hub import Hub
from hub.wire import Request
from test_lazy import MIB, sha256, wait_for

KIB = 1 << 10
EVIL = "model:org/evil"
# A page may have 64 MiB and is held once; the rest is what the daemon has anyway.
MEMORY_KB = 220 * KIB
OK_JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"

GOOD = Synthetic(MIB, 1)
BIG = {n: Synthetic(MIB, 2 + n) for n in range(32)}

Make = Callable[[Request], Iterable[bytes]]


def surroundings(wfs: Weightfs) -> dict[str, tuple[int, int, int]]:
    """All that lies beside store, state and mount: names, modes, sizes, times."""
    seen = {}
    base = wfs.store.parent
    for path in base.rglob("*") if not wfs.mnt.is_mount() else (p for d in sorted(base.iterdir()) if d != wfs.mnt
                                                                 for p in [d, *d.rglob("*")]):
        if not path.is_relative_to(wfs.mnt) and not path.is_relative_to(wfs.store) \
                and not path.is_relative_to(wfs.state) and path != wfs.log:
            st = path.lstat()
            seen[str(path)] = (st.st_mode, st.st_size, st.st_mtime_ns if not path.is_dir() else 0)
    return seen


class Memory:
    """The most that the daemon had of memory of its own, sampled."""

    def __init__(self, wfs: Weightfs) -> None:
        self.wfs, self.most, self._stop = wfs, 0, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._stop.wait(0.005):
            self.most = max(self.most, self.wfs.rss_anon_kb())

    def __enter__(self) -> "Memory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


@pytest.fixture
def evil(wfs: Weightfs, hub: Hub) -> Iterator[Weightfs]:
    """A daemon, an honest repo, and org/evil; the end looks for what must never be there."""
    hub.add_repo("model", "org/good").commit({"config.json": "{}", "model.safetensors": GOOD})
    hub.add_repo("model", "org/evil").commit({"config.json": "{}"} | {f"{n}.bin": c for n, c in BIG.items()})
    outside = wfs.store.parent / "outside"
    outside.mkdir()
    (outside / "secret").write_text("not for containers")
    wfs.start("--lookup-deadline", "3", "--read-deadline", "4")
    before = surroundings(wfs)
    with Memory(wfs) as memory:
        yield wfs
        hub.faults.clear()
        assert (wfs.snapshot("org/good") / "config.json").read_text() == "{}"
        assert sha256(wfs.snapshot("org/good") / "model.safetensors") == GOOD.sha256
    assert memory.most < MEMORY_KB, f"{memory.most >> 10} MiB"
    assert surroundings(wfs) == before, "something was written outside the store"
    wfs.stop()
    inside = wfs.store.resolve()
    for path in wfs.store.rglob("*"):
        assert path.resolve().is_relative_to(inside), path
        if path.parent.name == "blobs":
            assert named_by_its_content(path), path


def named_by_its_content(path: Path) -> bool:
    data = path.read_bytes()
    return path.name in (hashlib.sha256(data).hexdigest(), hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest())


def look(wfs: Weightfs, id_: str = "org/evil") -> str | int:
    """The commit that is shown, or the errno."""
    try:
        return (wfs.repo(id_) / "refs/main").read_text()
    except OSError as e:
        return e.errno or 0


def read_all(wfs: Weightfs, hub: Hub, faults: dict[str, dict[str, Any]]) -> dict[str, int | str]:
    """Reads one file for each fault, all at once: what came of it, the hash or the errno."""
    snapshot = wfs.snapshot("org/evil")

    def read(n: int) -> int | str:
        try:
            return sha256(snapshot / f"{n}.bin")
        except OSError as e:
            return e.errno or 0

    for n, fault in enumerate(faults.values()):
        hub.fault(repo=EVIL, path=f"{n}.bin", **fault)
    with ThreadPoolExecutor(len(faults)) as pool:
        return dict(zip(faults, pool.map(read, range(len(faults))), strict=True))


def recovered(wfs: Weightfs, hub: Hub) -> None:
    """Without faults the same files can be read, soon."""
    hub.faults.clear()
    for n in (0, 1):
        path = wfs.snapshot("org/evil") / f"{n}.bin"

        def reads(path: Path = path, n: int = n) -> bool:
            try:
                return sha256(path) == BIG[n].sha256
            except OSError:
                return False
        wait_for(reads, 60)


# -- answers about names --------------------------------------------------------------------------------------


def endless(head: bytes, part: bytes) -> Make:
    def make(_: Request) -> Iterator[bytes]:
        yield head
        yield from itertools.repeat(part)
    return make


def whole(body: bytes, headers: bytes = b"") -> Make:
    return lambda _: [OK_JSON + headers + b"Content-Length: %d\r\n\r\n" % len(body), body]


def pages(entries: Callable[[int], list[dict[str, Any]]], link: Callable[[int, Request], str]) -> Make:
    """A listing, page after page, of what `entries` says, with the link that `link` says."""
    count = itertools.count()

    def make(request: Request) -> Iterator[bytes]:
        n = next(count)
        body = json.dumps(entries(n)).encode()
        yield OK_JSON + f'Link: <{link(n, request)}>; rel="next"\r\nContent-Length: {len(body)}\r\n\r\n'.encode() + body
    return make


def entry(path: str, size: Any = 1, oid: str = "ab" * 20) -> dict[str, Any]:
    return {"type": "file", "path": path, "size": size, "oid": oid}


BOMB = gzip.compress(bytes(16 * MIB), 9)  # 16 KiB each

BODIES: dict[str, Make] = {
    "endless text": endless(OK_JSON + b'\r\n[{"type":"file","path":"', b"x" * MIB),
    "endless arrays": endless(OK_JSON + b"\r\n[", b"[]," * (MIB // 3)),
    "endless depth": endless(OK_JSON + b"\r\n", b"[" * MIB),
    "endless chunks": endless(OK_JSON + b"Transfer-Encoding: chunked\r\n\r\n", b"%x\r\n" % MIB + b" " * MIB + b"\r\n"),
    "arrays, 60 MiB": whole(b"[" + b"[]," * (20 * MIB) + b"[]]"),
    "objects, 60 MiB": whole(b"[" + b"{}," * (20 * MIB) + b"{}]"),
    "one entry of 60 MiB": whole(b'[{"type":"file","x":[' + b"0," * (30 * MIB) + b"0]}]"),
    "a key of 60 MiB": whole(b'{"' + b"k" * (60 * MIB) + b'":1}'),
    "wanted members of 60 MiB": whole(b'{"sha":[' + b"[]," * (20 * MIB) + b'[]],"branches":[{"name":['
                                      + b"[]," * (MIB // 3) + b"[]]}]}"),
    "no HTTP": lambda _: [b"SSH-2.0-OpenSSH_9.2\r\n"],
    "HTTP/0.9": lambda _: [b"[]"],
    "a negative length": lambda _: [OK_JSON + b"Content-Length: -1\r\n\r\n[]"],
    "an absurd length": lambda _: [OK_JSON + b"Content-Length: 9223372036854775808\r\n\r\n[]"],
    "two lengths": lambda _: [OK_JSON + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n[]"],
    "an endless header": endless(b"HTTP/1.1 200 OK\r\n", b"".join(b"X-%d: %s\r\n" % (i, b"y" * 1000) for i in range(99))),
    "a header line of 10 MiB": lambda _: [b"HTTP/1.1 200 OK\r\nLink: <", b"x" * (10 * MIB), b">\r\n\r\n[]"],
    "interim answers for ever": endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
    "compressed": lambda _: itertools.chain([OK_JSON + b"Content-Encoding: gzip\r\n\r\n"],
                                            itertools.repeat(BOMB, 500)),
    "transfer compressed": lambda _: itertools.chain(
        [OK_JSON + b"Transfer-Encoding: gzip, chunked\r\n\r\n"],
        itertools.repeat(b"%x\r\n" % len(BOMB) + BOMB + b"\r\n", 500)),
    "a status of four digits": lambda _: [b"HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\n[]"],
    "NUL in a header": lambda _: [b"HTTP/1.1 200 OK\r\nETag: \"\0\"\r\nContent-Length: 2\r\n\r\n[]"],
}


@pytest.mark.parametrize("on", ["info", "tree"])
def test_bodies(evil: Weightfs, hub: Hub, on: str) -> None:
    for name, make in BODIES.items():
        if on == "info" and "60 MiB" not in name and "depth" not in name:
            continue  # that is the same code
        with hub.fault("raw", on, repo=EVIL, make=make) as fault:
            assert look(evil) == errno.EIO, name
            assert fault.hits > 0, name
    hub.faults.clear()
    assert look(evil) == evil.snapshot("org/evil").name, "nothing of it is remembered"


def test_references(evil: Weightfs, hub: Hub) -> None:
    """They are asked for where a revision is not known."""
    for name in ("arrays, 60 MiB", "wanted members of 60 MiB", "endless depth", "an endless header"):
        with hub.fault("raw", "refs", repo=EVIL, make=BODIES[name]) as fault, pytest.raises(OSError) as e:
            os.stat(evil.repo("org/evil") / "refs" / name.replace(" ", "-").replace(",", ""))
        assert e.value.errno == errno.EIO, name
        assert fault.hits > 0


SHAS = ["../../../../etc", "a" * 41, "A" * 40, "g" * 40, "a" * 39 + "/", "", "a" * 300, 5, None, ["a" * 40], "a" * 39 + "\0"]


def test_commits_that_are_none(evil: Weightfs, hub: Hub) -> None:
    for sha in SHAS:
        body = json.dumps({"id": "org/evil", "sha": sha}).encode()
        with hub.fault("raw", "info", repo=EVIL, make=whole(body)):
            assert look(evil) == errno.EIO, sha
    for id_ in ("../../x", "a/b/c", "x" * 300, "/etc", "org/evil\0", "", "..", "a/.."):
        body = json.dumps({"id": id_, "sha": "a" * 40}).encode()
        with hub.fault("raw", "info", repo=EVIL, make=whole(body)):
            assert look(evil) == errno.EIO, id_
    with hub.fault("headers", "any", repo=EVIL, set={"X-Repo-Commit": "../../../x"}):
        assert look(evil) == evil.snapshot("org/evil").name, "it is not looked at"


LINKS: dict[str, Callable[[int, Request], str]] = {
    "the same page": lambda n, r: r.target,
    "two in turn": lambda n, r: f"{r.target.split('&')[0]}&cursor={n % 2}",
    "another host": lambda n, r: "http://127.0.0.2:1/api/x",
    "another port": lambda n, r: "http://127.0.0.1:22/",
    "a file": lambda n, r: "file:///etc/passwd",
    "gopher": lambda n, r: "gopher://127.0.0.1/x",
    "with a user": lambda n, r: f"http://user:secret@{r.headers['host']}/api/x",
    "nothing": lambda n, r: "",
    "nothing, page after page": lambda n, r: f"?cursor={n}",
}


def test_links_to_other_pages(evil: Weightfs, hub: Hub) -> None:
    for name, link in LINKS.items():
        def entries(n: int, name: str = name) -> list[dict[str, Any]]:
            return [] if name.startswith("nothing") else [entry(f"file{n}")]
        with hub.fault("raw", "tree", repo=EVIL, make=pages(entries, link)) as fault:
            assert look(evil) in (errno.EIO, errno.ENOENT), name
            assert fault.hits < 100, name
    assert hub.log.leaks() == []


def test_pages_for_ever(evil: Weightfs, hub: Hub) -> None:
    """As long as something comes it goes on, but who waits can be ended, and others are served."""
    make = pages(lambda n: [entry(f"file{n}-{i}") for i in range(100)], lambda n, r: f"?cursor={n}")
    with hub.fault("raw", "tree", repo=EVIL, make=make) as fault:
        asker = threading.Thread(target=look, args=(evil,), daemon=True)
        asker.start()
        limit = time.monotonic() + 60
        while fault.hits < 50:
            assert time.monotonic() < limit
            time.sleep(0.05)
        assert (evil.snapshot("org/good") / "config.json").read_text() == "{}"
    hub.faults.clear()  # the next page is an honest one, and that is the end of it
    asker.join(60)
    assert not asker.is_alive()


# -- listings ---------------------------------------------------------------------------------------------------


def listing(evil: Weightfs, hub: Hub, rows: list[dict[str, Any]]) -> str | int:
    hub.add_repo("model", "org/evil").commit({"config.json": json.dumps(rows[:1])})
    with hub.fault("entries", "tree", repo=EVIL, add=rows, replace=True):
        return look(evil)


SIZES = [-1, 1 << 62, (1 << 63) - 1, 1 << 63, 1e30, 1.5, "12", None, True, [], 10**400]


@pytest.mark.parametrize("size", SIZES, ids=[str(s)[:20] for s in SIZES])
def test_sizes(evil: Weightfs, hub: Hub, size: Any) -> None:
    assert listing(evil, hub, [entry("config.json", size)]) == errno.EIO


def test_files_larger_than_any_disk(evil: Weightfs, hub: Hub) -> None:
    huge = (1 << 62) - 1
    rows = [entry("a.bin", huge, "a" * 40), entry("c.bin", 10**15, "c" * 40)]
    assert listing(evil, hub, rows) not in (0, errno.EIO)
    snapshot = evil.snapshot("org/evil")
    assert (snapshot / "a.bin").stat().st_size == huge
    for name in ("a.bin", "c.bin"):
        with pytest.raises(OSError) as e, (snapshot / name).open("rb") as f:
            os.pread(f.fileno(), 100, 5)
        assert e.value.errno in (errno.ENOSPC, errno.ENOENT, errno.EIO, errno.EFBIG), e.value
    evil.status()


def test_sums_larger_than_any_number(evil: Weightfs, hub: Hub) -> None:
    rows = [entry(f"{i}.bin", (1 << 62) - 1, f"{i:040x}") for i in range(3)]
    assert listing(evil, hub, rows) == errno.EIO
    assert listing(evil, hub, rows[:2]) != errno.EIO
    evil.command("ls", "--store", evil.store, "--state", evil.state)


def test_names_that_clash(evil: Weightfs, hub: Hub) -> None:
    names = ["README.md", "readme.md", "ReadMe.MD", "stra\u00dfe", "STRASSE", "\u00e9", "e\u0301", "con", "a.", "a ", " a"]
    assert listing(evil, hub, [entry(n, 1, f"{i:040x}") for i, n in enumerate(names)]) not in (errno.EIO, 0)
    assert sorted(os.listdir(evil.snapshot("org/evil"))) == sorted(names)


def test_a_file_that_is_a_folder_too(evil: Weightfs, hub: Hub) -> None:
    found = listing(evil, hub, [entry("a"), entry("a/b"), entry("x/y"), entry("x"), entry("c")])
    if found != errno.EIO:
        list(evil.snapshot("org/evil").rglob("*"))


def test_deep_nesting(evil: Weightfs, hub: Hub) -> None:
    deep = "/".join("d" for _ in range(510))  # the most that a path may have: 1024 bytes
    assert listing(evil, hub, [entry(f"{deep}/x"), entry("/".join("d" * 1000)), entry("ok")]) not in (errno.EIO, 0)
    snapshot = evil.snapshot("org/evil")
    assert (snapshot / deep / "x").stat().st_size == 1
    assert sorted(os.listdir(snapshot)) == ["d", "ok"]


@pytest.mark.limit(240)
def test_100000_entries_in_one_folder(evil: Weightfs, hub: Hub) -> None:
    rows = [entry(f"f{i:06}", i, f"{i:040x}") for i in range(100_000)]
    assert listing(evil, hub, rows) not in (errno.EIO, 0)
    assert len(os.listdir(evil.snapshot("org/evil"))) == 100_000
    assert (evil.snapshot("org/evil") / "f099999").stat().st_size == 99_999


# -- where the bytes are -------------------------------------------------------------------------------------------


ETAGS = ['"../../../../etc/passwd"', '"a/b"', '""', "", '".."', '"' + "a" * 300 + '"', '"' + "A" * 64 + '"', 'W/"', "a" * 63,
         '"' + "ab" * 20 + '"', '"' + "cd" * 32 + '"']


def test_etags(evil: Weightfs, hub: Hub) -> None:
    """What the listing says is the blob's name; another that the hub says with the bytes is not believed."""
    got = read_all(evil, hub, {e: {"kind": "headers", "on": "resolve", "set": {"X-Linked-ETag": e, "ETag": e}}
                               for e in ETAGS})
    assert got == dict.fromkeys(ETAGS, errno.EIO)
    assert not list(evil.stored("org/evil").rglob("blobs/*"))
    recovered(evil, hub)


LENGTHS = ["-1", "9223372036854775808", "1e30", "0", "1048577", "4611686018427387904", "18446744073709551617"]


def test_sizes_of_blobs(evil: Weightfs, hub: Hub) -> None:
    got = read_all(evil, hub, {n: {"kind": "headers", "on": "resolve", "set": {"X-Linked-Size": n}} for n in LENGTHS})
    assert got == dict.fromkeys(LENGTHS, errno.EIO)
    recovered(evil, hub)


def test_a_blob_of_another_size(evil: Weightfs, hub: Hub) -> None:
    """An etag that an honest repo has too, with another size: each repo has what it lists, and no other's bytes."""
    good = GOOD
    assert sha256(evil.snapshot("org/good") / "model.safetensors") == good.sha256
    rows = [{"type": "file", "path": "model.safetensors", "oid": "ab" * 20, "size": 130,
             "lfs": {"oid": good.sha256, "size": size, "pointerSize": 130}} for size in (MIB + 1,)]
    assert listing(evil, hub, rows) not in (errno.EIO, 0)
    with pytest.raises(OSError) as e:
        (evil.snapshot("org/evil") / "model.safetensors").read_bytes()
    assert e.value.errno in (errno.EIO, errno.ENOENT)
    assert sha256(evil.snapshot("org/good") / "model.safetensors") == good.sha256


LOCATIONS = ["file:///etc/passwd", "FILE:/etc/passwd", "gopher://127.0.0.1:1/x", "dict://127.0.0.1:1/x", "ftp://127.0.0.1/x",
             "tftp://127.0.0.1/x", "ldap://127.0.0.1/x", "smb://127.0.0.1/x", "telnet://127.0.0.1:1", "scp://127.0.0.1/x",
             "javascript:alert(1)", "data:text/plain,x", "unix:///run/x", "http://", "http://[", "http://a b/", "", "//",
             "http://user:secret@127.0.0.2/x", "http://127.0.0.1:99999/", "http://127.0.0.1:22/", "http://x" + "y" * 20000,
             "http://169.254.169.254/latest/meta-data/", "http://[fe80::1]/", "http://[::ffff:169.254.169.254]/",
             "http://2852039166/", "http://0xa9fea9fe/"]


def test_locations(evil: Weightfs, hub: Hub) -> None:
    """Never another scheme than http and https, and nothing next to this machine where the hub is not."""
    got = read_all(evil, hub, {to: {"kind": "headers", "on": "resolve", "set": {"Location": to}} for to in LOCATIONS})
    assert got == dict.fromkeys(LOCATIONS, errno.EIO)
    assert "secret" not in json.dumps(evil.status()) + evil.log.read_text()
    recovered(evil, hub)


RANGES: dict[str, Make] = {
    "an endless header": BODIES["an endless header"],
    "interim answers for ever": BODIES["interim answers for ever"],
    "an endless body": endless(b"HTTP/1.1 200 OK\r\n\r\n", bytes(MIB)),
    "endless chunks": endless(b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-1048575/1048576\r\n"
                              b"Transfer-Encoding: chunked\r\n\r\n", b"%x\r\n" % MIB + bytes(MIB) + b"\r\n"),
    "compressed": lambda _: [b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-1048575/1048576\r\n"
                             b"Content-Encoding: gzip\r\n\r\n", BOMB],
    "transfer compressed": lambda _: itertools.chain(
        [b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-1048575/1048576\r\n"
         b"Transfer-Encoding: gzip, chunked\r\n\r\n"], itertools.repeat(b"%x\r\n" % len(BOMB) + BOMB + b"\r\n", 50)),
    "no HTTP": lambda _: [b"SSH-2.0-OpenSSH_9.2\r\n"],
}


def test_ranges(evil: Weightfs, hub: Hub) -> None:
    got = read_all(evil, hub, {name: {"kind": "raw", "on": "cdn", "make": make} for name, make in RANGES.items()})
    wrong = hashlib.sha256(bytes(MIB)).hexdigest()  # a read is answered while the rest comes: only the whole is verified
    assert {name: r for name, r in got.items() if r not in (errno.EIO, wrong)} == {}
    assert [f for f in hub.faults.all() if f.hits == 0] == []
    recovered(evil, hub)

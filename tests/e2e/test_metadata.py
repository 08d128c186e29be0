"""Names and listings: few requests, kept by the kernel where they cannot change, never stale where they can."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import Weightfs
from hub import models
from hub.content import Synthetic
from hub.hub import Hub
from hub.repos import Repo
from test_lazy import wait_for

FILES = 5000


def kernel_requests(w: Weightfs) -> int:
    return int(w.status()["mount"]["requests"])


def requests_for(w: Weightfs, action: Callable[[], object]) -> int:
    before = kernel_requests(w)
    action()
    return kernel_requests(w) - before


def listed(folder: Path) -> set[str]:
    return set(os.listdir(folder))


def soon(condition: Callable[[], bool]) -> bool:
    """Whether it comes true within what the kernel may remember, and a little more."""
    end = time.monotonic() + 3
    while True:
        is_over = time.monotonic() > end  # before the last look: this process may have stood still after it
        if condition():
            return True
        if is_over:
            return False
        time.sleep(0.05)


@pytest.fixture
def repo(hub: Hub) -> Repo:
    r = hub.add_repo("model", "meta/data", lfs_over=100_000)
    r.commit({"config.json": "{}", "a/b.json": "{}", "a/big.bin": Synthetic(3_000_000, 7)}, title="First")
    return r


# ---- few requests -------------------------------------------------------------------------


def test_a_walk_asks_the_hub_once_per_page(wfs: Weightfs, hub: Hub) -> None:
    models.many(hub, count=FILES)
    wfs.start()
    folder = wfs.snapshot("many/files", type_="datasets")
    out = subprocess.run(["ls", "-lR", str(folder)], capture_output=True, text=True, check=True).stdout
    assert out.count(" -> ") == FILES
    asked = hub.log.records()
    assert len([r for r in asked if r.kind == "tree"]) == FILES // 1000 + 1  # the folders have entries too
    assert len(asked) <= 9, [r.target for r in asked]


def test_pages_of_another_size(wfs: Weightfs, hub: Hub) -> None:
    hub.page_size = 7
    models.many(hub, count=100, per_folder=10)
    wfs.start()
    folder = wfs.snapshot("many/files", type_="datasets")
    assert sum(len(names) for _, _, names in os.walk(folder)) == 100
    assert len(hub.log.records(kind="tree")) == (100 + 11 + 6) // 7


def test_a_second_walk_is_the_kernels_own(wfs: Weightfs, hub: Hub) -> None:
    models.many(hub, count=FILES)
    wfs.start()
    folder = wfs.snapshot("many/files", type_="datasets")

    def walk(at: Path = folder) -> list[tuple[str, str]]:
        found = []
        with os.scandir(at) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    found += [(entry.name, ""), *walk(Path(entry.path))]
                else:
                    found.append((entry.name, os.readlink(entry.path)))
        return found

    first = walk()
    folders = sum(target == "" for _, target in first)
    assert len(first) - folders == FILES
    walks: list[object] = []
    sent: list[int] = []
    while len(sent) < 5 and (not sent or min(sent) > folders + 20):  # the kernel may reclaim pages it kept
        time.sleep(1.5)  # what it keeps for a moment only
        sent.append(requests_for(wfs, lambda: walks.append(walk())))
    assert walks == [first] * len(sent)
    assert min(sent) <= folders + 20, "each folder is opened; nothing is looked up, listed or read again"


def test_absent_names_are_remembered(wfs: Weightfs, hub: Hub, repo: Repo) -> None:
    wfs.start()
    snapshot = wfs.snapshot("meta/data")
    missing = [snapshot / f"missing-{i}" for i in range(200)]
    assert not any(p.exists() for p in missing)
    # the folders on the way are looked up again after a second
    assert requests_for(wfs, lambda: [p.exists() for p in missing]) < 100


# ---- never stale --------------------------------------------------------------------------


def test_listings_change_when_something_appears(wfs: Weightfs, hub: Hub, repo: Repo) -> None:
    """Each folder is listed before and right after, so that a listing kept meanwhile would show."""
    wfs.start()
    wfs.snapshot("meta/data")
    at = wfs.repo("meta/data")
    for _ in range(2):  # the second is what the kernel would keep
        assert listed(wfs.hub_cache) == {".locks", "models--meta--data"}
        assert listed(wfs.hub_cache / ".locks") == {"models--meta--data"}
        assert listed(wfs.mnt / "models") == {"meta"}
        assert listed(wfs.mnt / "models/meta") == {"data"}
        assert len(listed(at / "snapshots")) == len(listed(at / "trees")) == 1
        assert listed(at / "refs") == {"main"}
        assert len(listed(at / "blobs")) == 2

    # a repo
    other = hub.add_repo("model", "meta/other")
    other.commit({"x.txt": "x"})
    (wfs.repo("meta/other") / "refs/main").read_text()
    assert "models--meta--other" in listed(wfs.hub_cache)
    assert "models--meta--other" in listed(wfs.hub_cache / ".locks")
    assert listed(wfs.mnt / "models/meta") == {"data", "other"}

    # a commit, by its id alone: no ref moves
    second = repo.commit({"new.json": '{"n": 1}'}, ref="side")
    (at / "snapshots" / second).stat()
    assert second in listed(at / "snapshots")
    assert f"{second}.json" in listed(at / "trees")
    assert len(listed(at / "blobs")) == 3

    # refs, right in refs/ and in folders that were listed before
    assert (at / "refs/side").read_text() == second
    assert listed(at / "refs") == {"main", "side"}
    repo.set_ref("refs/pr/1", "side")
    repo.set_ref("refs/pr/2", "main")
    (at / "refs/refs/pr/1").read_text()
    assert listed(at / "refs") == {"main", "side", "refs"}
    assert listed(at / "refs/refs/pr") == {"1"}
    (at / "refs/refs/pr/2").read_text()
    assert listed(at / "refs/refs/pr") == {"1", "2"}


def test_folders_are_dated_by_what_appears(wfs: Weightfs, hub: Hub, repo: Repo) -> None:
    """Clients over NFS keep a listing until the folder's date changes; a pull looks nothing up in the mount."""
    wfs.start()
    at = wfs.repo("meta/data")
    wfs.command("pull", "--state", wfs.state, "meta/data")
    folders = [wfs.hub_cache, wfs.mnt / "models", at / "snapshots", at / "trees", at / "refs"]

    def dates() -> list[int]:
        return [folder.stat().st_mtime_ns for folder in folders]

    def pull_changes_all(*what: str) -> bool:
        time.sleep(1.2)  # what the kernel keeps for a moment
        before = dates()
        wfs.command("pull", "--state", wfs.state, *what)
        return soon(lambda: all(new > old for new, old in zip(dates(), before, strict=True)))

    hub.add_repo("model", "meta/other").commit({"x.txt": ""})
    assert pull_changes_all("meta/other")
    same = repo.commit({"config.json": "{}"}, ref="side")
    assert pull_changes_all(f"meta/data@{same}"), "nothing was fetched and no ref moved"
    time.sleep(1.2)
    before = dates()
    assert same in listed(at / "snapshots")
    time.sleep(1.2)
    assert dates() == before, "nothing is new"


def adopt_refs(w: Weightfs, names: list[str]) -> Path:
    """A daemon that finds the names in its store, as another program might have left them; refs/ of the repo."""
    w.start()
    sha = w.snapshot("meta/data").name
    w.stop()
    for file in w.state.glob("catalogue.sqlite*"):
        file.unlink()
    for name in names:
        ref = w.stored("meta/data") / "refs" / name
        ref.parent.mkdir(parents=True, exist_ok=True)
        ref.write_text(sha)
    w.start()
    at = w.repo("meta/data") / "refs"
    assert (at / "main").read_text() == sha
    return at


def test_refs_are_each_listed_once(wfs: Weightfs, hub: Hub, repo: Repo) -> None:
    at = adopt_refs(wfs, [f"v{i}" for i in range(300)] + [f"refs/pr/{i}" for i in range(300)]
                    + [f"dev/{i}/x" for i in range(20)])
    assert sorted(os.listdir(at)) == sorted([f"v{i}" for i in range(300)] + ["main", "refs", "dev"])
    assert sorted(os.listdir(at / "refs")) == ["pr"]
    assert sorted(os.listdir(at / "refs/pr")) == sorted(str(i) for i in range(300))
    assert sorted(os.listdir(at / "dev")) == sorted(str(i) for i in range(20))
    assert os.listdir(at / "dev/7") == ["x"]


def test_a_ref_that_comes_during_a_listing_moves_no_other(wfs: Weightfs, hub: Hub, repo: Repo) -> None:
    before = [f"m{i:04d}" + "x" * 150 for i in range(2000)]  # far more than one READDIR holds
    repo.set_ref("a-first", "main")
    at = adopt_refs(wfs, before)
    with os.scandir(at) as entries:
        seen = [next(entries).name for _ in range(10)]
        (at / "a-first").read_text()  # before all others by its name
        seen += [e.name for e in entries]
    assert sorted(n for n in seen if n != "a-first") == [*before, "main"]


def held_files(w: Weightfs) -> int:
    """Complete blobs of the one repo, in the catalogue: what is shown offline follows from it."""
    files = json.loads(w.command("ls", "--json", "--store", w.store, "--state", w.state, "meta/data").stdout)["files"]
    return sum(f["state"] == "complete" for f in files)


def test_offline_listings_do_not_stay(wfs: Weightfs, hub: Hub, repo: Repo) -> None:
    """Runtime offline hides what is not held; a listing kept from before, or from then, would be wrong."""
    wfs.start("--complete", "never")
    snapshot = wfs.snapshot("meta/data")
    assert (snapshot / "config.json").read_text() == "{}"
    assert (snapshot / "a/b.json").read_text() == "{}"
    whole, held = {"b.json", "big.bin"}, {"b.json"}
    wait_for(lambda: held_files(wfs) == 2)
    for _ in range(2):
        for _ in range(2):
            assert listed(snapshot / "a") == whole
            assert (snapshot / "a/big.bin").is_symlink()
        with os.scandir(snapshot / "a") as opened:
            wfs.command("offline", "on", wfs.mnt)
            assert {e.name for e in opened} == whole  # it was opened before
        assert listed(snapshot / "a") == held
        assert soon(lambda: not (snapshot / "a/big.bin").is_symlink())
        assert listed(snapshot / "a") == held
        wfs.command("offline", "off", wfs.mnt)
        assert listed(snapshot / "a") == whole
        assert soon(lambda: (snapshot / "a/big.bin").is_symlink())


def test_a_blob_that_completes_keeps_every_name(wfs: Weightfs, hub: Hub, repo: Repo) -> None:
    wfs.start()
    snapshot = wfs.snapshot("meta/data")
    plain = wfs.mnt / "models/meta/data/a"
    link = snapshot / "a/big.bin"
    assert listed(plain) == {"b.json", "big.bin"} and listed(snapshot / "a") == {"b.json", "big.bin"}
    before = link.stat()
    data = link.read_bytes()
    assert soon(lambda: wfs.status()["mount"]["requests"] > 0 and (plain / "big.bin").read_bytes() == data)
    after = link.stat()
    assert (before.st_ino, before.st_size) == (after.st_ino, after.st_size)
    assert listed(plain) == {"b.json", "big.bin"} and listed(snapshot / "a") == {"b.json", "big.bin"}

"""The tree that a container sees: each name changes what a real client computes (README, "What is shown")."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path

import pytest
from harness import Weightfs
from hub import models
from hub.hub import Hub
from hub.models import Corners

NEVER = "f" * 40


@pytest.fixture
def corners(hub: Hub) -> Corners:
    return models.corner_cases(hub)


def errno_of(action, *args) -> int:
    with pytest.raises(OSError) as info:
        action(*args)
    return info.value.errno


def test_the_cache_layout(wfs: Weightfs, hub: Hub, corners: Corners) -> None:
    wfs.start()
    repo = wfs.repo("corner/cases")
    sha = corners.model.resolve("main").oid
    ref = repo / "refs/main"
    assert ref.read_bytes() == sha.encode()  # clients compare it raw: no newline
    assert ref.stat().st_size == 40
    assert os.listdir(repo / "snapshots") == [sha]
    config = repo / "snapshots" / sha / "config.json"
    assert os.readlink(config).startswith("../../blobs/")
    assert config.read_text() == '{"version": 3}'
    nested = repo / "snapshots" / sha / "nested/deep/er/file.json"
    assert os.readlink(nested).startswith("../../../../../blobs/")
    assert nested.read_text() == "{}"
    assert len(os.readlink(nested)) == nested.lstat().st_size
    etag = os.path.basename(os.readlink(config))
    assert etag in os.listdir(repo / "blobs")
    assert set(os.listdir(repo)) == {"blobs", "refs", "snapshots", "trees"}


def test_every_file_of_a_listing_reads_exactly(wfs: Weightfs, hub: Hub, corners: Corners) -> None:
    wfs.start()
    snapshot = wfs.snapshot("corner/cases")
    expected = corners.model.resolve("main").files
    found = {p.relative_to(snapshot).as_posix() for p in snapshot.rglob("*") if p.is_symlink()}
    assert found == set(expected)
    for path, entry in expected.items():
        assert (snapshot / path).read_bytes() == entry.content.read(), path


def test_modes_and_dates(wfs: Weightfs, hub: Hub, corners: Corners) -> None:
    wfs.start("--uid", "1234", "--gid", "4321")
    snapshot = wfs.snapshot("corner/cases")
    folder, link, blob = snapshot.stat(), (snapshot / "config.json").lstat(), (snapshot / "config.json").stat()
    assert stat.S_IMODE(folder.st_mode) == 0o555
    assert stat.S_IMODE(link.st_mode) == 0o777
    assert stat.S_IMODE(blob.st_mode) == 0o444
    assert (blob.st_uid, blob.st_gid) == (1234, 4321)
    when = int(corners.model.resolve("main").date.timestamp())
    assert folder.st_mtime == link.st_mtime == when


def test_writing_is_erofs(wfs: Weightfs, hub: Hub, corners: Corners) -> None:
    wfs.start()
    snapshot = wfs.snapshot("corner/cases")
    assert errno_of((wfs.mnt / "x").write_text, "x") == errno.EROFS
    assert errno_of((snapshot / "config.json").write_text, "x") == errno.EROFS
    assert errno_of(os.mkdir, wfs.hub_cache / "models--a--b") == errno.EROFS
    assert errno_of(os.unlink, snapshot / "config.json") == errno.EROFS
    assert errno_of(os.symlink, "a", snapshot / "b") == errno.EROFS
    assert errno_of((wfs.hub_cache / ".locks/models--corner--cases/x.lock").touch) == errno.EROFS


def test_locks_exist_for_repos_that_resolve(wfs: Weightfs, hub: Hub, corners: Corners) -> None:
    wfs.start()
    locks = wfs.hub_cache / ".locks"
    assert os.listdir(locks / "models--corner--cases") == []
    assert errno_of(os.listdir, locks / "models--nobody--nothing") == errno.ENOENT


def test_refs_nested_and_by_commit(wfs: Weightfs, hub: Hub, corners: Corners) -> None:
    wfs.start()
    refs = wfs.repo("corner/cases") / "refs"
    for name in ("v1.0", "refs/pr/1", "feature/x", "main"):
        assert (refs / name).read_text() == corners.model.resolve(name).oid, name
    assert set(os.listdir(refs)) == {"main", "v1.0", "refs", "feature"}
    assert os.listdir(refs / "refs/pr") == ["1"]
    assert os.listdir(refs / "feature") == ["x"]
    sha = corners.model.resolve("main").oid
    assert (refs / sha).read_text() == sha
    assert sha not in os.listdir(refs)
    dataset = wfs.repo("corner/cases", "datasets") / "refs/refs/convert/parquet"
    assert dataset.read_text() == corners.dataset.resolve("refs/convert/parquet").oid
    for name in ("nothing", "refs/pr/99", "feature/y", NEVER):
        assert errno_of((refs / name).read_text) == errno.ENOENT, name


def test_no_exist_says_what_a_whole_listing_lacks(wfs: Weightfs, hub: Hub, corners: Corners) -> None:
    wfs.start()
    repo = wfs.repo("corner/cases")
    sha = (repo / "refs/main").read_text()
    lacking = repo / ".no_exist" / sha
    assert (lacking / "adapter_config.json").read_bytes() == b""
    assert (lacking / "nested/none.json").read_bytes() == b""
    assert (lacking / "nowhere/at/all.json").read_bytes() == b""
    assert not (lacking / "config.json").exists()
    assert not (lacking / "nested/other.txt").exists()
    assert not (repo / ".no_exist" / NEVER).exists()


def test_trees_as_new_clients_keep_them(wfs: Weightfs, hub: Hub, corners: Corners) -> None:
    wfs.start()
    repo = wfs.repo("corner/cases")
    sha = (repo / "refs/main").read_text()
    tree = json.loads((repo / "trees" / f"{sha}.json").read_text())
    files = corners.model.resolve("main").files
    assert tree["format_version"] == 1
    assert set(tree["files"]) == set(files)
    twin = tree["files"]["twin-a.bin"]
    assert twin["lfs_sha256"] == files["twin-a.bin"].content.sha256
    assert twin["size"] == files["twin-a.bin"].content.size


def test_equal_blobs_are_one(wfs: Weightfs, hub: Hub, corners: Corners) -> None:
    wfs.start()
    snapshot = wfs.snapshot("corner/cases")
    assert (snapshot / "twin-a.bin").stat().st_ino == (snapshot / "sub/twin-b.bin").stat().st_ino
    (snapshot / "twin-a.bin").read_bytes()
    (snapshot / "sub/twin-b.bin").read_bytes()
    hub.log.settle()  # who has read the last byte is an instant before its count
    assert hub.log.content_bytes(path="*twin*") == 200_000


def test_other_kinds_of_repos(wfs: Weightfs, hub: Hub, corners: Corners) -> None:
    wfs.start()
    assert (wfs.snapshot("tiny-canonical") / "config.json").read_text() == "{}"
    assert (wfs.snapshot("corner/cases", type_="datasets") / "README.md").read_text() == "data\n"
    assert (wfs.snapshot("corner/app", type_="spaces") / "app.py").read_text() == "print('hello')\n"
    assert (wfs.mnt / "models/tiny-canonical/config.json").read_text() == "{}"
    assert (wfs.mnt / "datasets/corner/cases/data/train.csv").read_text() == "a,b\n1,2\n"
    assert (wfs.mnt / "spaces/corner/app/README.md").exists()
    assert (wfs.mnt / "models/corner/cases@v1.0/config.json").read_text() == '{"version": 1}'
    assert (wfs.mnt / "models/corner/cases@refs%2Fpr%2F1/added.txt").read_text() == "by a PR\n"
    sha = corners.model.resolve("v1.0").oid
    assert (wfs.mnt / f"models/corner/cases@{sha}/config.json").read_text() == '{"version": 1}'
    assert set(os.listdir(wfs.mnt)) == {"hub", "models", "datasets", "spaces"}
    assert set(os.listdir(wfs.mnt / "models")) == {"corner", "tiny-canonical"}


def test_a_listing_shows_what_is_known_or_declared(wfs: Weightfs, hub: Hub, corners: Corners) -> None:
    wfs.start("--declare", "corner/empty", "--declare", "datasets/corner/cases")
    before = set(os.listdir(wfs.hub_cache))
    assert before == {".locks", "models--corner--empty", "datasets--corner--cases"}
    wfs.snapshot("corner/cases")
    assert set(os.listdir(wfs.hub_cache)) == before | {"models--corner--cases"}


def test_a_renamed_repo_answers_to_both_names(wfs: Weightfs, hub: Hub, corners: Corners) -> None:
    wfs.start()
    old = wfs.snapshot("corner/old-name") / "model.safetensors"
    new = wfs.snapshot("corner/new-name") / "model.safetensors"
    assert old.read_bytes() == new.read_bytes()
    assert os.readlink(wfs.store / "hub/models--corner--old-name") == "models--corner--new-name"


def test_gated_private_and_disabled(wfs: Weightfs, hub: Hub, corners: Corners) -> None:
    wfs.start()
    assert errno_of(os.listdir, wfs.repo("corner/private")) == errno.ENOENT  # the hub says: no such repo
    gated = wfs.repo("corner/gated")
    assert errno_of(_first_file, gated) == errno.EACCES
    assert errno_of(_first_file, wfs.repo("corner/disabled")) == errno.EACCES


def _first_file(repo: Path) -> bytes:
    sha = (repo / "refs/main").read_text()
    return (repo / "snapshots" / sha / "model.safetensors").read_bytes()


def test_a_token_opens_gated_and_private(wfs: Weightfs, hub: Hub, corners: Corners, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(models.TOKEN_ALL + "\n")
    token.chmod(0o600)
    wfs.start("--token-file", str(token))
    assert _first_file(wfs.repo("corner/gated"))
    assert _first_file(wfs.repo("corner/private"))
    assert hub.log.leaks() == []
    assert models.TOKEN_ALL not in wfs.log.read_text()


@pytest.mark.parametrize(
    "name",
    ["models--a--..", "models--..--b", "models--a--b.git", "models--" + "a" * 97 + "--b", "models--a--b--c--d",
     "models--", "models", "token", "kernels--a--b", "models--a b--c", "version.txt", "models--a--b\n"],
)
def test_what_is_no_repo_id_never_reaches_the_hub(wfs: Weightfs, hub: Hub, name: str) -> None:
    wfs.start()
    assert errno_of(os.stat, wfs.hub_cache / name) == errno.ENOENT
    assert hub.log.count() == 0


def test_long_names_and_unknown_repos(wfs: Weightfs, hub: Hub) -> None:
    wfs.start()
    assert errno_of(os.stat, wfs.hub_cache / ("x" * 300)) == errno.ENAMETOOLONG
    for _ in range(5):
        assert errno_of(os.stat, wfs.repo("nobody/nothing")) == errno.ENOENT
    assert hub.log.count(kind="info") == 1, "an absence is remembered for a while"


def test_policy_hides_and_never_asks(wfs: Weightfs, hub: Hub, corners: Corners) -> None:
    wfs.start("--allow", "corner/*", "--deny", "corner/gated")
    assert wfs.snapshot("corner/cases").exists()
    assert errno_of(os.stat, wfs.repo("corner/gated")) == errno.ENOENT
    assert errno_of(os.stat, wfs.repo("tiny-canonical")) == errno.ENOENT
    assert hub.log.count(repo="*gated*") == hub.log.count(repo="*canonical*") == 0


def test_hostile_names_are_left_out(wfs: Weightfs, hub: Hub) -> None:
    hub.add_repo("model", "org/hostile").commit({"config.json": "{}"})
    unsafe = [e for e in models.HOSTILE_ENTRIES
              if e.get("size") == 1 and e.get("oid") == "ab" * 20 and "lfs" not in e
              and not str(e["path"]).startswith(("file-and-folder", "twice"))
              and "\0" not in e["path"] and e["path"].isprintable() | ("\x01" in e["path"])]
    assert len(unsafe) > 10
    hub.fault("entries", on="tree", add=unsafe)
    wfs.start()
    snapshot = wfs.snapshot("org/hostile")
    shown = {p.relative_to(snapshot).as_posix() for p in snapshot.rglob("*")}
    assert shown == {"config.json"}
    assert (snapshot / "config.json").read_text() == "{}"
    assert not [p for p in wfs.store.rglob("*") if "escape" in p.name or len(p.name) > 255]


@pytest.mark.parametrize("index", range(len(models.HOSTILE_ENTRIES)))
def test_no_hostile_entry_does_harm(wfs: Weightfs, hub: Hub, index: int) -> None:
    hub.add_repo("model", "org/hostile").commit({"config.json": "{}"})
    hub.add_repo("model", "org/good").commit({"config.json": "{}"})
    hub.fault("entries", on="tree", repo="model:org/hostile", add=[models.HOSTILE_ENTRIES[index]])
    wfs.start()
    try:
        snapshot = wfs.snapshot("org/hostile")
        assert (snapshot / "config.json").read_text() == "{}"
    except OSError as e:
        assert e.errno == errno.EIO, "refused as a listing that cannot be believed"
    assert (wfs.snapshot("org/good") / "config.json").read_text() == "{}"

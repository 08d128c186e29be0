"""Wrong bytes: noticed, told with their readers, fetched again, and never served once they are known."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from harness import BINARY, Weightfs, clean_env
from hub.content import Synthetic
from hub.hub import Hub
from test_lazy import MIB, sha256, wait_for

SIZE = 24 * MIB
AT = 5000  # of the wrong byte

READER = """
import os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
os.read(fd, 4096)
print("begun", flush=True)
while os.read(fd, 1 << 20):
    pass
print("read", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def content(hub: Hub) -> Synthetic:
    content = Synthetic(SIZE, 3)
    hub.add_repo("model", "org/model").commit({"config.json": "{}", "model.safetensors": content})
    return content


def open_errno(path: str | Path) -> int:
    try:
        os.close(os.open(path, os.O_RDONLY))
    except OSError as e:
        return e.errno
    return 0


def comm(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def verdicts(wfs: Weightfs) -> list[dict[str, Any]]:
    return wfs.status()["verdicts"]


def outcomes(wfs: Weightfs) -> list[str]:
    return [verdict["outcome"] for verdict in verdicts(wfs)]


def test_wrong_once_is_replaced_and_told(wfs: Weightfs, hub: Hub, content: Synthetic) -> None:
    hub.fault("corrupt", on="content", path="model.safetensors", at=AT, times=1)
    rest = hub.fault("gate", on="content", path="model.safetensors", range_from=MIB)  # comes once both have read
    wfs.start()
    path = wfs.snapshot("org/model") / "model.safetensors"
    with subprocess.Popen([sys.executable, "-c", READER, str(path)], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as reader:
        fd = os.open(path, os.O_RDONLY)
        try:
            assert os.pread(fd, 1, AT) != content.read(AT, AT + 1), "the hub sends a wrong byte"
            assert reader.stdout and reader.stdout.readline() == b"begun\n"
            wait_for(lambda: rest.hits)
            rest.remove()
            wait_for(lambda: "fetched once more" in wfs.log.read_text(), 60)
            # What the kernel holds of the wrong ones is not opened again: by no name, nor as it is open here.
            with path.open("rb") as f:
                assert f.read(2 * AT) == content.read(0, 2 * AT)
            assert open_errno(f"/proc/self/fd/{fd}") == errno.ESTALE
            assert reader.stdout.readline() == b"read\n"
        finally:
            os.close(fd)
            reader.communicate()
    wait_for((wfs.stored("org/model") / "blobs" / content.sha256).exists, 60)
    wait_for(lambda: outcomes(wfs) == ["mended"])
    assert sha256(path) == content.sha256
    (verdict,) = verdicts(wfs)
    assert (verdict["repo"], verdict["path"]) == ("models/org/model", "model.safetensors")
    assert verdict["etag"] == content.sha256 != verdict["got"]
    assert verdict["differed"] == 1
    assert {reader.pid, os.getpid()} <= {who["pid"] for who in verdict["readers"]}
    assert all(who["uid"] == os.getuid() and who["name"] for who in verdict["readers"])
    log = wfs.log.read_text()
    assert f"[{reader.pid}] (uid {os.getuid()})" in log
    assert f"1 bytes had been wrong, at {AT}-{AT}" in log
    lookups = [r for r in hub.log.records() if r.kind == "resolve" and r.path == "model.safetensors"]
    assert "no-cache" in lookups[-1].headers.get("cache-control", ""), "asked anew"
    assert not [r for r in lookups[:-1] if "cache-control" in r.headers]
    assert "wrong bytes since the start" in wfs.command("status", wfs.mnt).stdout


def test_wrong_twice_is_refused_until_pulled(wfs: Weightfs, hub: Hub, content: Synthetic) -> None:
    fault = hub.fault("corrupt", on="content", path="model.safetensors", at=AT)
    wfs.start("--complete", "touched")
    path = wfs.snapshot("org/model") / "model.safetensors"
    fd = os.open(path, os.O_RDONLY)
    try:
        os.pread(fd, 4096, 0)
        wait_for(lambda: outcomes(wfs) == ["quarantined"], 60)
    finally:
        os.close(fd)
    assert open_errno(path) == errno.EIO
    assert wfs.status()["quarantined"]
    (verdict,) = verdicts(wfs)
    assert os.getpid() in {who["pid"] for who in verdict["readers"]}
    (line,) = [text for text in wfs.log.read_text().splitlines() if "wrong twice" in text]
    for part in ("models/org/model: model.safetensors", content.sha256, verdict["got"], f"[{os.getpid()}]"):
        assert part in line
    assert [p.name.split(".")[0] for p in (wfs.store / "quarantine").iterdir()] == [content.sha256]
    assert not (wfs.stored("org/model") / "blobs" / content.sha256).exists()
    wfs.stop()
    wfs.start()
    (listed,) = wfs.status()["quarantined"]
    assert (listed["repo"], listed["path"], listed["etag"]) == ("models/org/model", "model.safetensors", content.sha256)
    assert open_errno(path) == errno.EIO, "a restart does not forgive it"
    fault.remove()
    wfs.command("pull", "--state", wfs.state, "org/model")
    assert sha256(path) == content.sha256
    assert not wfs.status()["quarantined"]


def test_an_adopted_file_that_is_wrong_is_told(wfs: Weightfs, hub: Hub, content: Synthetic) -> None:
    adopted(wfs, content, damaged=True)
    wfs.start()
    path = wfs.snapshot("org/model") / "model.safetensors"
    open_errno(path)
    wait_for(lambda: verdicts(wfs), 60)
    (verdict,) = verdicts(wfs)
    assert verdict["outcome"] == "rejected"
    assert list((wfs.store / "quarantine").iterdir())
    wait_for(lambda: sha256(path) == content.sha256)


def adopted(wfs: Weightfs, content: Synthetic, damaged: bool) -> Path:
    """The store as another cache would be: there, and never verified by us."""
    wfs.start()
    wfs.command("pull", "--state", wfs.state, "org/model")
    wfs.stop()
    stored = wfs.stored("org/model") / "blobs" / content.sha256
    if damaged:
        damage(stored, content)
    for file in wfs.state.glob("catalogue.sqlite*"):  # what was verified is not known any longer
        file.unlink()
    return stored


def damage(stored: Path, content: Synthetic) -> None:
    """As a disk does it: the file's times do not tell."""
    before = stored.stat()
    overwrite(stored, content)
    os.utime(stored, ns=(before.st_atime_ns, before.st_mtime_ns))


def overwrite(stored: Path, content: Synthetic) -> None:
    with stored.open("r+b") as f:
        f.seek(AT)
        f.write(bytes([content.read(AT, AT + 1)[0] ^ 1]))


@pytest.mark.parametrize("while_it_runs", [False, True])
@pytest.mark.parametrize("mode", ["background", "strict"])
def test_what_was_written_to_is_hashed_anew(
    wfs: Weightfs, content: Synthetic, mode: str, while_it_runs: bool
) -> None:
    """A complete file that somebody else changed is not believed, without a run of verify."""
    wfs.start(f"--verify={mode}")
    wfs.command("pull", "--state", wfs.state, "org/model")
    path = wfs.snapshot("org/model") / "model.safetensors"
    assert sha256(path) == content.sha256
    stored = wfs.stored("org/model") / "blobs" / content.sha256
    if not while_it_runs:
        wfs.stop()
    time.sleep(1.1)  # times are compared by seconds
    overwrite(stored, content)
    if not while_it_runs:
        wfs.start(f"--verify={mode}")
    if mode == "background":
        with path.open("rb") as f:
            f.read(1)
        wait_for(lambda: sha256(path) == content.sha256)
    assert sha256(path) == content.sha256
    assert "its file was written to after it was verified" in wfs.log.read_text()
    (verdict,) = verdicts(wfs)
    assert verdict["outcome"] == "rejected"


def test_a_file_that_was_only_touched_is_kept(wfs: Weightfs, hub: Hub, content: Synthetic) -> None:
    wfs.start()
    wfs.command("pull", "--state", wfs.state, "org/model")
    wfs.stop()
    stored = wfs.stored("org/model") / "blobs" / content.sha256
    time.sleep(1.1)
    stored.touch()
    hub.down()
    wfs.offline()
    path = wfs.snapshot("org/model") / "model.safetensors"
    for _ in range(2):
        assert sha256(path) == content.sha256
        time.sleep(1.1)
        wfs.stop()
        wfs.offline()
    assert sha256(path) == content.sha256
    assert wfs.log.read_text().count("its file was written to after it was verified") == 1, "hashed once"
    assert verdicts(wfs) == []


# ---- --verify=strict ----


def first_bytes(path: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "import sys; f = open(sys.argv[1], 'rb', buffering=0);"
                             "sys.stdout.buffer.write(f.read(4096))", str(path)], stdout=subprocess.PIPE)


def held(wfs: Weightfs) -> int:
    return sum(f["held"] for f in wfs.status()["fills"] if f["path"] == "model.safetensors")


def test_strict_gives_no_byte_before_the_verdict(wfs: Weightfs, hub: Hub, content: Synthetic) -> None:
    hub.fault("corrupt", on="content", path="model.safetensors", at=100, times=1)  # of what is held and waited for
    stall = hub.fault("stall", on="content", path="model.safetensors", at=MIB // 4)
    wfs.start("--verify=strict", "--complete", "never")
    assert wfs.status()["store"]["verify"] == "strict"
    path = wfs.snapshot("org/model") / "model.safetensors"
    with first_bytes(path) as reader:
        wait_for(lambda: held(wfs) >= MIB // 4, 60)
        with pytest.raises(subprocess.TimeoutExpired):
            reader.wait(0.5)
        stall.remove()
        out, _ = reader.communicate(timeout=90)
    assert out == content.read(0, 4096)
    (verdict,) = verdicts(wfs)
    assert verdict["outcome"] == "mended"
    assert verdict["readers"] == [], "nobody had got any of them"
    assert sha256(path) == content.sha256


def test_strict_never_gives_wrong_bytes(wfs: Weightfs, hub: Hub, content: Synthetic) -> None:
    hub.fault("corrupt", on="content", path="model.safetensors", at=AT)
    wfs.start("--verify=strict")
    path = wfs.snapshot("org/model") / "model.safetensors"
    with path.open("rb", buffering=0) as f:
        with pytest.raises(OSError) as info:
            f.read(4096)
        assert info.value.errno == errno.EIO
    assert open_errno(path) == errno.EIO
    assert verdicts(wfs)[0]["outcome"] == "quarantined"
    assert verdicts(wfs)[0]["readers"] == []


def test_strict_readers_of_several_files_wait_for_each_other(wfs: Weightfs, hub: Hub) -> None:
    """One file comes after the other: who waits for his turn has more time than his deadline."""
    files = {f"{i}.bin": Synthetic(8 * MIB + i, 70 + i) for i in range(4)}
    hub.add_repo("model", "org/series").commit(dict(files))
    hub.fault("bandwidth", rate=1e6)
    wfs.start("--verify=strict", "--read-deadline", "3", "--connections", "4")
    snapshot = wfs.snapshot("org/series")
    readers = [subprocess.Popen(["head", "-c", "4096", str(snapshot / name)], stdout=subprocess.PIPE) for name in files]
    for reader, content in zip(readers, files.values(), strict=True):
        assert reader.communicate(timeout=60)[0] == content.read(0, 4096)
        assert reader.returncode == 0


def test_strict_waits_can_be_killed(wfs: Weightfs, hub: Hub, content: Synthetic) -> None:
    hub.fault("stall", on="content", path="model.safetensors", at=MIB // 4)
    wfs.start("--verify=strict")
    path = wfs.snapshot("org/model") / "model.safetensors"
    with first_bytes(path) as reader:
        wait_for(lambda: held(wfs) >= MIB // 4, 60)
        reader.kill()
        assert reader.wait(10) < 0


def test_strict_hashes_an_adopted_file_at_its_open(wfs: Weightfs, hub: Hub, content: Synthetic) -> None:
    adopted(wfs, content, damaged=False)
    wfs.offline("--verify=strict")
    path = wfs.snapshot("org/model") / "model.safetensors"
    assert path.stat().st_size == SIZE
    states = lambda: {f["path"]: f["state"] for f in  # noqa: E731
                      json.loads(wfs.command("ls", "--json", "--state", wfs.state, "org/model").stdout)["files"]}
    assert "complete" not in states()["model.safetensors"]
    assert sha256(path) == content.sha256
    assert states()["model.safetensors"] == "complete"


@pytest.mark.parametrize("offline", [True, False])
def test_strict_refuses_an_adopted_file_that_is_wrong(
    wfs: Weightfs, hub: Hub, content: Synthetic, offline: bool
) -> None:
    stored = adopted(wfs, content, damaged=True)
    wfs.start("--verify=strict", *(["--offline"] if offline else []))
    path = wfs.snapshot("org/model") / "model.safetensors"
    if offline:
        assert open_errno(path) == errno.ENOENT
        assert not stored.exists()
    else:
        assert sha256(path) == content.sha256
        wait_for(stored.exists)
    assert verdicts(wfs)[0]["outcome"] == "rejected"
    assert [p.name.split(".")[0] for p in (wfs.store / "quarantine").iterdir()] == [content.sha256]


# ---- weightfs verify ----


FILES = {f"f{i:02}.bin": Synthetic(MIB + i, 50 + i) for i in range(8)}


@pytest.fixture
def held_repos(wfs: Weightfs, hub: Hub, content: Synthetic) -> Weightfs:
    """Two repos in the store, verified; no daemon runs."""
    hub.add_repo("model", "org/many").commit({**FILES, "model.safetensors": content})
    wfs.start()
    for repo in ("org/model", "org/many"):
        wfs.command("pull", "--state", wfs.state, repo)
    wfs.stop()
    return wfs


def run_verify(wfs: Weightfs, *args: str, check: bool = False) -> tuple[int, dict[str, Any]]:
    done = wfs.command("verify", "--json", "--store", wfs.store, "--state", wfs.state, "--endpoint",
                       wfs.endpoint or "", *args, check=check, timeout=120)
    assert done.stdout, done.stderr
    assert re.search(r'"seconds": \d+\.\d{1,3},', done.stdout), "milliseconds are all that was measured"
    return done.returncode, json.loads(done.stdout)


def blob(wfs: Weightfs, content: Synthetic, repo: str = "org/many") -> Path:
    return wfs.stored(repo) / "blobs" / content.sha256


def replace(path: Path, data: bytes) -> None:
    """Another file under the name, as a tool that writes anew leaves it: not through the hard link."""
    path.unlink()
    path.write_bytes(data)


def damage_many(wfs: Weightfs) -> dict[str, str]:
    """Every kind of foreign damage; what each file should be called."""
    files = [blob(wfs, c) for c in FILES.values()]
    damage(files[0], FILES["f00.bin"])
    os.truncate(files[1], MIB - 5)
    os.truncate(files[2], 2 * MIB)
    files[3].unlink()
    target = wfs.store.parent / "elsewhere"
    target.write_bytes(FILES["f04.bin"].read(0, MIB + 4))
    files[4].unlink()
    files[4].symlink_to(target)
    files[5].unlink()
    files[5].mkdir()
    files[6].chmod(0o666)
    return {"f00.bin": "changed", "f01.bin": "cut", "f02.bin": "grown", "f03.bin": "missing", "f04.bin": "link",
            "f05.bin": "no file", "f06.bin": "mode"}


def test_verify_finds_nothing_where_nothing_is_wrong(held_repos: Weightfs) -> None:
    code, result = run_verify(held_repos)
    assert (code, result["damaged"], result["left"]) == (0, [], 0)
    assert result["files"] == 11  # the large one is listed twice, and read once
    assert result["size"] == sum(MIB + i for i in range(8)) + SIZE + len("{}")
    done = held_repos.command("verify", "--store", held_repos.store, "--state", held_repos.state, "org/model")
    assert ": all right" in done.stdout


@pytest.mark.parametrize("daemon", [False, True])
def test_verify_finds_all_foreign_damage_and_repairs_it(held_repos: Weightfs, daemon: bool) -> None:
    wfs = held_repos
    expected = damage_many(wfs)
    if daemon:
        wfs.start()
    code, result = run_verify(wfs, "org/many")
    assert code == 1
    assert {d["path"]: d["what"] for d in result["damaged"]} == expected
    assert result["left"] == len(expected)
    assert not list((wfs.store / "quarantine").iterdir()), "nothing is touched without --repair"
    code, result = run_verify(wfs, "--repair")
    assert (code, result["left"]) == (0, 0), result
    assert {d["path"]: d["what"] for d in result["damaged"]} == expected
    assert {d["note"] for d in result["damaged"]} == {"fetched again", "mode set to 0644"}
    for content in FILES.values():
        assert sha256(blob(wfs, content)) == content.sha256
        assert not blob(wfs, content).is_symlink()
        assert blob(wfs, content).stat().st_mode & 0o777 == 0o644
    assert (wfs.store.parent / "elsewhere").exists(), "what a link led to is not ours"
    assert run_verify(wfs)[0] == 0


def test_verify_offline_says_what_is_missing(held_repos: Weightfs, content: Synthetic) -> None:
    wfs = held_repos
    damage(blob(wfs, content), content)
    code, result = run_verify(wfs, "--repair", "--offline")
    assert code == 1
    assert {(d["repo"], d["what"], d["repaired"]) for d in result["damaged"]} == {
        ("models/org/model", "changed", False), ("models/org/many", "changed", False)}
    assert "weightfs pull models/org/" in result["damaged"][0]["note"]
    assert not blob(wfs, content).exists() and not blob(wfs, content, "org/model").exists()
    wfs.offline()
    assert open_errno(wfs.snapshot("org/model") / "model.safetensors") == errno.ENOENT
    wfs.stop()
    wfs.command("pull", "--store", wfs.store, "--state", wfs.state, "--endpoint", wfs.endpoint or "", "org/model")
    assert sha256(blob(wfs, content, "org/model")) == content.sha256


def test_a_good_copy_in_another_repo_is_taken(held_repos: Weightfs, hub: Hub, content: Synthetic) -> None:
    wfs = held_repos
    replace(blob(wfs, content), content.read(0, SIZE - 1) + b"x")
    hub.down()
    code, result = run_verify(wfs, "--repair")
    assert code == 0, result
    (found,) = result["damaged"]
    assert (found["repo"], found["note"]) == ("models/org/many", "taken from another repo")
    assert sha256(blob(wfs, content)) == content.sha256
    assert blob(wfs, content).samefile(blob(wfs, content, "org/model"))


def test_a_file_that_is_open_and_wrong_is_replaced_for_new_opens(held_repos: Weightfs, content: Synthetic) -> None:
    wfs = held_repos
    wfs.start()
    path = wfs.snapshot("org/model") / "model.safetensors"
    with path.open("rb", buffering=0) as f:
        assert f.read(10) == content.read(0, 10)
        damage(blob(wfs, content), content)
        code, result = run_verify(wfs, "--repair", "org/model")
        assert (code, result["left"]) == (0, 0), result
        with path.open("rb", buffering=0) as again:
            assert os.pread(again.fileno(), 100, AT) == content.read(AT, AT + 100)
        assert os.pread(f.fileno(), 1, AT) != content.read(AT, AT + 1), "who had it open goes on with the old one"
        assert open_errno(f"/proc/self/fd/{f.fileno()}") == errno.ESTALE
    assert sha256(path) == content.sha256
    assert verdicts(wfs)[0]["outcome"] == "rejected"


def test_who_opened_a_file_that_is_damaged_is_named(held_repos: Weightfs, content: Synthetic) -> None:
    """Complete files, read by the kernel alone: who opened them is known when a recheck finds one damaged."""
    wfs = held_repos
    wfs.start()
    path = wfs.snapshot("org/model") / "model.safetensors"
    with subprocess.Popen([sys.executable, "-c", READER, str(path)], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as reader:
        assert reader.stdout and [reader.stdout.readline() for _ in range(2)] == [b"begun\n", b"read\n"]
        for name in FILES:  # others do not push it out
            open_errno(wfs.snapshot("org/many") / name)
        damage(blob(wfs, content), content)
        for args, outcome in ([], "found"), ([], "found"), (["--repair"], "rejected"):
            _, result = run_verify(wfs, *args, "org/model")
            (found,) = result["damaged"]
            (verdict,) = verdicts(wfs)
            assert verdict["outcome"] == outcome
            assert verdict["etag"] == content.sha256 != verdict["got"] == found["got"]
            for readers in found["readers"], verdict["readers"]:
                (who,) = readers
                assert (who["pid"], who["uid"], who["name"]) == (reader.pid, os.getuid(), comm(reader.pid))
                assert time.time() - 300 < who["at"] <= time.time()
            line = f"{comm(reader.pid)}[{reader.pid}] (uid {os.getuid()})"
            assert f"; opened before that by {line}" in wfs.command("status", wfs.mnt).stdout
            said = "moved to the quarantine" if args else "'weightfs verify --repair' replaces it"
            assert f"{said}, opened before that by {line}" in wfs.log.read_text()
        reader.communicate()
    assert verdicts(wfs)[0]["outcome"] == "rejected"
    code, result = run_verify(wfs, "org/model")
    assert (code, result["damaged"]) == (0, [])


def test_verify_says_who_opened_what_is_damaged(held_repos: Weightfs, content: Synthetic) -> None:
    wfs = held_repos
    wfs.start()
    path = wfs.mnt / "models/org/many/f00.bin"
    open_errno(path)
    os.truncate(blob(wfs, FILES["f00.bin"]), 5)
    done = wfs.command("verify", "--state", wfs.state, "org/many", check=False)
    assert done.returncode == 1
    (line,) = [text for text in done.stdout.splitlines() if "f00.bin" in text]
    assert f"it is shorter than it should be; opened before that by {comm(os.getpid())}[{os.getpid()}]" in line


def damage_names(wfs: Weightfs) -> dict[str, str]:
    """What leads to files, in the store; what each should be called."""
    repo = wfs.stored("org/many")
    commit = (repo / "refs/main").read_text()
    links = repo / "snapshots" / commit
    (repo / "refs/main").write_text(commit[:-1])
    (repo / "refs/other").write_text("f" * 40)
    (links / "f00.bin").unlink()
    (links / "f01.bin").unlink()
    (links / "f01.bin").symlink_to((links / "f02.bin").readlink())
    listing = json.loads((repo / f"trees/{commit}.json").read_text())
    listing["files"]["f03.bin"]["size"] += 1
    listing["files"]["f03.bin"]["lfs_size"] += 1
    (repo / f"trees/{commit}.json").write_text(json.dumps(listing))
    return {"refs/main": "ref broken", "refs/other": "ref unknown", f"snapshots/{commit}/f00.bin": "link missing",
            f"snapshots/{commit}/f01.bin": "link wrong", f"trees/{commit}.json": "listing wrong"}


@pytest.mark.parametrize("daemon", [False, True])
def test_verify_looks_at_refs_links_and_listings(held_repos: Weightfs, content: Synthetic, daemon: bool) -> None:
    wfs = held_repos
    repo = wfs.stored("org/many")
    commit = (repo / "refs/main").read_text()
    listing = (repo / f"trees/{commit}.json").read_text()
    looked = run_verify(wfs)[1]["names"]
    assert looked == 2 * (1 + 1) + len(FILES) + 1 + 2  # refs, listings and links of both
    expected = damage_names(wfs)
    replace(blob(wfs, FILES["f05.bin"]), b"")  # and a file
    if daemon:
        wfs.start()
    code, result = run_verify(wfs)
    assert code == 1
    assert {d["path"]: d["what"] for d in result["damaged"]} == expected | {"f05.bin": "cut"}
    assert {d["repo"] for d in result["damaged"]} == {"models/org/many"}
    assert result["left"] == len(expected) + 1
    done = wfs.command("verify", "--store", wfs.store, "--state", wfs.state, "org/many", check=False)
    assert done.returncode == 1
    assert "models/org/many: refs/main: the ref does not hold the 40 digits of a commit" in done.stdout
    assert "6 of them still; 'weightfs verify --repair' repairs them" in done.stdout
    code, result = run_verify(wfs, "--repair")
    assert code == 1, "of one ref nobody knows what it should be"
    assert {d["path"]: d["note"] for d in result["damaged"] if d["repaired"]} == {
        path: "written anew" for path in expected if path != "refs/other"} | {"f05.bin": "fetched again"}
    (left,) = [d for d in result["damaged"] if not d["repaired"]]
    assert left["path"] == "refs/other" and "remove it" in left["note"]
    (repo / "refs/other").unlink()
    assert run_verify(wfs)[0] == 0
    assert (repo / "refs/main").read_text() == commit
    assert (repo / f"trees/{commit}.json").read_text() == listing, "to the byte, the pointers of LFS too"
    for name, file in FILES.items():
        assert sha256(repo / "snapshots" / commit / name) == file.sha256


def test_a_link_that_went_with_its_file_is_mended_by_the_fetch(held_repos: Weightfs) -> None:
    wfs = held_repos
    (link,) = wfs.stored("org/many").glob("snapshots/*/f00.bin")
    link.unlink()
    blob(wfs, FILES["f00.bin"]).unlink()
    code, result = run_verify(wfs, "--repair")
    assert (code, result["left"]) == (0, 0)
    assert {d["what"] for d in result["damaged"]} == {"missing", "link missing"}
    assert sha256(link) == FILES["f00.bin"].sha256


def test_verify_goes_on_after_an_interrupt(held_repos: Weightfs) -> None:
    """A run comes to a file that it cannot get to the end of: what it found right before is not read again."""
    wfs = held_repos
    endless = wfs.stored("org/last", "spaces") / "blobs" / ("0" * 64)  # spaces come after models
    endless.parent.mkdir(parents=True)
    (endless.parent.parent / "snapshots").mkdir()
    with endless.open("wb") as f:
        f.truncate(1 << 40)
    skipped, seconds = 0, 1.0
    while not skipped:
        assert seconds < 60, "nothing was found right in half a minute"
        with subprocess.Popen([str(BINARY), "verify", "--store", str(wfs.store), "--state", str(wfs.state)],
                              stderr=subprocess.PIPE, env=clean_env(), text=True) as run:
            assert run.stderr and "to read" in run.stderr.readline()
            time.sleep(seconds)
            run.send_signal(signal.SIGINT)
            _, err = run.communicate(timeout=60)
        assert run.returncode == 1 and "the same command goes on" in err, err
        code, result = run_verify(wfs, "org/many", "org/model")
        assert (code, result["left"]) == (0, 0)
        skipped = result["skipped"]
        seconds *= 2
    endless.unlink()
    code, result = run_verify(wfs)
    assert (code, result["size"]) == (0, 0), "all was found right before"
    assert run_verify(wfs)[1]["skipped"] == 0, "a run that ended is not gone on with"
    assert run_verify(wfs, "--all")[1]["size"] > SIZE


def test_verify_repairs_what_was_quarantined(wfs: Weightfs, hub: Hub, content: Synthetic) -> None:
    fault = hub.fault("corrupt", on="content", path="model.safetensors", at=AT)
    wfs.start()
    assert wfs.command("pull", "--state", wfs.state, "org/model", check=False).returncode == 1
    code, result = run_verify(wfs)
    assert (code, [d["what"] for d in result["damaged"]]) == (1, ["quarantined"])
    code, result = run_verify(wfs, "--repair")
    assert (code, result["left"]) == (1, 1), "the hub is as it was"
    fault.remove()
    code, result = run_verify(wfs, "--repair")
    assert (code, result["damaged"][0]["note"]) == (0, "fetched again")
    assert sha256(wfs.snapshot("org/model") / "model.safetensors") == content.sha256


def test_verify_looks_at_a_cache_that_nobody_looked_at(held_repos: Weightfs, content: Synthetic) -> None:
    wfs = held_repos
    damage(blob(wfs, content), content)
    os.truncate(blob(wfs, FILES["f01.bin"]), 5)
    stranger = blob(wfs, content).parent / ("0" * 64)
    stranger.write_bytes(b"of no listing")
    for file in wfs.state.glob("catalogue.sqlite*"):
        file.unlink()
    code, result = run_verify(wfs)
    assert code == 1
    assert {(d["repo"], d["path"], d["what"]) for d in result["damaged"]} == {
        ("models/org/many", "model.safetensors", "changed"),
        ("models/org/model", "model.safetensors", "changed"),
        ("models/org/many", "f01.bin", "cut"),
        ("models/org/many", "0" * 64, "changed"),
    }
    code, result = run_verify(wfs, "--repair")
    assert code == 0, result
    assert not stranger.exists()
    assert sha256(blob(wfs, content)) == content.sha256


def test_verify_says_what_is_not_known(held_repos: Weightfs) -> None:
    wfs = held_repos
    args = ("--store", wfs.store, "--state", wfs.state)
    done = wfs.command("verify", *args, "org/unknown", check=False)
    assert done.returncode == 1 and "org/unknown is not known here" in done.stderr
    done = wfs.command("verify", *args, "org/model@main", check=False)
    assert done.returncode == 2 and "without a revision" in done.stderr
    done = wfs.command("verify", "--store", wfs.store.parent / "none", check=False)
    assert done.returncode == 1 and "there is no store" in done.stderr

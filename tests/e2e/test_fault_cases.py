"""Faults that have a story: limits of the hub, a token that changes, a commit that changes while it is read."""

from __future__ import annotations

import concurrent.futures
import os
import time
from pathlib import Path

import pytest
from harness import Weightfs
from hub.content import Synthetic
from hub.hub import Hub
from matrix import ALL
from test_lazy import MIB, sha256, wait_for
from test_network import ended

PART = 4096
BIG = 24 * MIB


@pytest.fixture
def big(hub: Hub) -> Synthetic:
    content = Synthetic(BIG, 71)
    hub.add_repo("model", "org/a").commit({"config.json": "{}", "model.safetensors": content})
    hub.add_repo("model", "org/b").commit({"config.json": '{"b": 1}'})
    hub.add_repo("model", "org/held").commit({"config.json": '{"held": 1}', "x.bin": Synthetic(3 * MIB, 72)})
    return content


def hold(wfs: Weightfs) -> Path:
    """A folder of which all is held."""
    folder = wfs.snapshot("org/held")
    assert (folder / "config.json").read_text()
    wfs.command("pull", "--state", wfs.state, "org/held")
    return folder


# -- limits ----------------------------------------------------------------------------------------

WAYS = {  # how the hub says that it was asked too often, or that it is tired
    "429 Retry-After": {"status": 429, "retry_after": 3},
    "429 RateLimit": {"status": 429, "ratelimit_reset": 2},
    "503 Retry-After": {"status": 503, "retry_after": 3},
}
TELLING = [("info", "429 Retry-After"), ("resolve", "503 Retry-After"), ("cdn", "429 RateLimit")]


@pytest.mark.parametrize("kind,way", [(kind, way) for kind in ("info", "tree", "resolve", "cdn") for way in WAYS]
                         if ALL else TELLING)
def test_the_hub_is_not_asked_before_it_said(wfs: Weightfs, hub: Hub, big: Synthetic, kind: str, way: str) -> None:
    wfs.start("--complete", "never")
    held = hold(wfs)
    fault = hub.fault("status", on=kind, repo="model:org/a", times=1, **WAYS[way])
    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read_part, wfs, big)
        wait_for(lambda: fault.hits)
        (refused,) = (r for r in hub.log.records() if "status" in r.faults)
        while not reading.done():
            look = time.monotonic()
            assert (held / "config.json").read_text() and len(os.listdir(held)) == 2
            assert time.monotonic() - look < 2
            time.sleep(0.2)
        reading.result()
    assert time.monotonic() - began >= 2.9
    after = [r for r in hub.log.records(since=refused.number) if r.kind == kind]
    assert after and min(r.began for r in after) >= refused.began + 2.9, "it was asked earlier than it said"
    assert fault.hits == 1


def read_part(wfs: Weightfs, content: Synthetic) -> None:
    with (wfs.snapshot("org/a") / "model.safetensors").open("rb", buffering=0) as f:
        assert f.read(PART) == content.read(0, PART)


def test_a_wait_longer_than_the_deadline(wfs: Weightfs, hub: Hub, big: Synthetic) -> None:
    """The answer comes at once where waiting would be in vain; the hub has its peace; then it heals."""
    wfs.start("--complete", "never", "--lookup-deadline", "3")
    held = hold(wfs)
    fault = hub.fault("status", on="api", status=429, retry_after=10)  # more than what is looked at takes
    assert ended(os.stat, wfs.repo("org/a"))[0] == "EIO"
    told = hub.log.records()[-1].began
    fault.remove()
    for _ in range(5):
        code, seconds = ended(os.stat, wfs.repo("org/b"))
        assert code == "EIO" and seconds < 3 + 2
    assert (held / "config.json").read_text()
    assert hub.log.records()[-1].began == told, "it was asked although it had said when"
    assert wfs.status()["hub"]["paused_ms"] > 0
    time.sleep(max(0.0, told + 11 - time.time()))
    assert ended(os.stat, wfs.repo("org/b"))[0] == "ok"
    assert ended(os.stat, wfs.repo("org/a"))[0] == "ok"


# -- tokens ----------------------------------------------------------------------------------------


def test_a_token_that_changes(wfs: Weightfs, hub: Hub, tmp_path: Path) -> None:
    content = Synthetic(BIG, 73)
    hub.add_repo("model", "org/secret", private=True).commit(
        {"config.json": "{}", "notes.txt": "n" * 100_000, "model.safetensors": content})
    hub.add_token("hf_first", private=["*"])
    token = tmp_path / "token"
    token.write_text("hf_first")
    token.chmod(0o600)
    wfs.start("--complete", "never", "--token-file", str(token))
    snapshot = wfs.snapshot("org/secret")
    with (snapshot / "model.safetensors").open("rb", buffering=0) as f:
        assert f.read(PART) == content.read(0, PART)
        hub.drop_token("hf_first")
        hub.expire_urls()
        hub.add_token("hf_second", private=["*"])
        token.write_text("hf_second")
        f.seek(12 * MIB)
        assert f.read(PART) == content.read(12 * MIB, 12 * MIB + PART), "the new token is taken in mid-file"

        hub.drop_token("hf_second")  # and one that is gone without another
        hub.expire_urls()
        code, seconds = ended(os.pread, f.fileno(), PART, 20 * MIB)
        assert code == "EACCES" and seconds < 60
        assert ended((wfs.repo("org/secret") / "snapshots" / ("c" * 40)).stat)[0] == "EACCES"
        hub.add_token("hf_third", private=["*"])
        token.write_text("hf_third")
        assert os.pread(f.fileno(), PART, 20 * MIB) == content.read(20 * MIB, 20 * MIB + PART)
    assert (snapshot / "notes.txt").read_text() == "n" * 100_000
    assert hub.log.leaks() == []


# -- commits ---------------------------------------------------------------------------------------


def test_a_branch_that_moves_while_its_commit_is_read(wfs: Weightfs, hub: Hub, big: Synthetic) -> None:
    """Who reads a commit goes on with that commit; nobody gets half of one and half of the other."""
    repo = hub.find("model", "org/a")
    wfs.start("--complete", "never")
    old = wfs.snapshot("org/a")
    new_content = Synthetic(BIG, 74)
    with (old / "model.safetensors").open("rb", buffering=0) as f:
        assert f.read(PART) == big.read(0, PART)
        sha = repo.commit({"config.json": '{"new": 1}', "model.safetensors": new_content})
        hub.expire_urls()  # so that the file is asked for anew
        f.seek(0)
        assert f.readall() == big.read()
    new = wfs.repo("org/a") / "snapshots" / sha
    assert (new / "config.json").read_text() == '{"new": 1}'
    assert (old / "config.json").read_text() == "{}"
    assert sha256(new / "model.safetensors") == new_content.sha256


def test_a_commit_that_is_gone_while_it_is_read(wfs: Weightfs, hub: Hub, big: Synthetic) -> None:
    """The repository is removed from the hub: what is held reads on, the rest is said to be absent, soon."""
    wfs.start("--complete", "never")
    snapshot = wfs.snapshot("org/a")
    assert (snapshot / "config.json").read_text() == "{}"
    with (snapshot / "model.safetensors").open("rb", buffering=0) as f:
        assert f.read(PART) == big.read(0, PART)
        repo = hub.find("model", "org/a")
        hub.remove_repo(repo)
        hub.expire_urls()
        hub.unknown_code = "RepoNotFound"
        code, seconds = ended(os.pread, f.fileno(), PART, 12 * MIB)
        assert code == "ENOENT" and seconds < 60
        assert os.pread(f.fileno(), PART, 0) == big.read(0, PART)
    assert (snapshot / "config.json").read_text() == "{}"
    assert sorted(os.listdir(snapshot)) == ["config.json", "model.safetensors"]


def test_a_file_that_changes_behind_its_commit(wfs: Weightfs, hub: Hub, big: Synthetic) -> None:
    """A hub that contradicts its own listing: no byte of the other file is taken."""
    commit = hub.find("model", "org/a").resolve("main")
    wfs.start("--complete", "never")
    snapshot = wfs.snapshot("org/a")
    assert os.listdir(snapshot)
    entry = commit.files["model.safetensors"]
    faults = [hub.fault("headers", "resolve", path="model.safetensors",
                        set={"X-Linked-ETag": '"' + "e" * 64 + '"'}),
              hub.fault("headers", "resolve", path="config.json", set={"X-Linked-ETag": '"' + "d" * 40 + '"'})]
    for name in ("model.safetensors", "config.json"):
        code, seconds = ended((snapshot / name).open)
        assert code == "EIO" and seconds < 14
    for fault in faults:
        fault.remove()
    assert (snapshot / "config.json").read_text() == "{}"
    with (snapshot / "model.safetensors").open("rb", buffering=0) as f:
        assert f.read(PART) == entry.content.read(0, PART)

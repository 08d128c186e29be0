"""How many requests a file costs, and that what they say of it is believed only where it fits the listing."""

from __future__ import annotations

import errno
import time
from collections import Counter
from pathlib import Path

import pytest
from harness import Weightfs
from hub.content import Synthetic
from hub.hub import Hub
from hub.repos import Commit, Repo
from test_faults import LOOKUP_DEADLINE, SLACK, errno_and_seconds
from test_lazy import MIB, sha256

KIB = 1 << 10
SMALL = '{"hidden_size": 4096}\n' * 50
MIDDLE = "0123456789abcde\n" * (12 * KIB)  # 192 KiB, in the hub's own storage
TEXTS = {"config.json": SMALL, "vocab.txt": MIDDLE}
TOKEN = "hf_requests"


@pytest.fixture
def repo(hub: Hub) -> Repo:
    return hub.add_repo("model", "org/files")


@pytest.fixture
def commit(repo: Repo) -> Commit:
    repo.commit({
        "config.json": SMALL, "vocab.txt": MIDDLE, "empty.txt": "",
        "model.safetensors": Synthetic(40 * MIB, 3), "adapter.safetensors": Synthetic(20 * KIB, 4),
    })
    return repo.resolve("main")


def requests(hub: Hub, path: str) -> list[str]:
    assert hub.log.settle()
    return [f"{r.method} {r.kind} {r.status}" for r in hub.log.records(path=path)]


def resolve_cache(hub: Hub, commit: Commit, path: str) -> str:
    return f"{hub.endpoint}/api/resolve-cache/models/org/files/{commit.oid}/{path}?etag=x"


def test_a_small_file_costs_two_requests(wfs: Weightfs, hub: Hub, commit: Commit) -> None:
    wfs.start()
    assert (wfs.snapshot("org/files") / "config.json").read_text() == SMALL
    assert requests(hub, "config.json") == ["GET resolve 307", "GET resolve-cache 200"]
    assert (wfs.snapshot("org/files") / "empty.txt").read_text() == ""
    assert requests(hub, "empty.txt") == []


def test_and_one_where_the_hub_serves_it_directly(wfs: Weightfs, hub: Hub, commit: Commit, repo: Repo,
                                                  tmp_path: Path) -> None:
    repo.gated = "manual"
    hub.add_token(TOKEN, gated=["*"])
    token = tmp_path / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    wfs.start("--token-file", str(token))
    assert (wfs.snapshot("org/files") / "config.json").read_text() == SMALL
    assert requests(hub, "config.json") == ["GET resolve 200"]
    assert hub.log.leaks() == []


def test_a_middling_file_costs_two_requests(wfs: Weightfs, hub: Hub, commit: Commit) -> None:
    wfs.start("--complete", "never")
    assert (wfs.snapshot("org/files") / "vocab.txt").read_text() == MIDDLE
    assert requests(hub, "vocab.txt") == ["HEAD resolve 307", "GET resolve-cache 206"]


def test_a_small_file_that_lies_elsewhere(wfs: Weightfs, hub: Hub, commit: Commit, tmp_path: Path) -> None:
    hub.add_token(TOKEN)
    token = tmp_path / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    wfs.start("--token-file", str(token))
    path = wfs.snapshot("org/files") / "adapter.safetensors"
    assert path.read_bytes() == commit.files["adapter.safetensors"].content.read()
    assert requests(hub, "adapter.safetensors")[:2] == ["GET resolve 302", "GET cdn 206"]
    assert hub.log.count(path="adapter.safetensors", kind="resolve") == 1
    assert hub.log.leaks() == [], "the token goes to the hub only"


def test_a_big_file_is_resolved_once(wfs: Weightfs, hub: Hub, commit: Commit) -> None:
    wfs.start()
    path = wfs.snapshot("org/files") / "model.safetensors"
    with path.open("rb", buffering=0) as f:
        f.seek(30 * MIB)
        f.read(1)
    assert requests(hub, "model.safetensors")[:2] == ["HEAD resolve 302", "GET cdn 206"]
    assert sha256(path) == commit.files["model.safetensors"].etag
    assert Counter(r.kind for r in hub.log.records(path="model.safetensors"))["resolve"] == 1


def test_a_url_that_expired_is_resolved_once_more(wfs: Weightfs, hub: Hub, commit: Commit) -> None:
    wfs.start("--complete", "never")
    path = wfs.snapshot("org/files") / "model.safetensors"
    with path.open("rb", buffering=0) as f:
        f.read(1)
        hub.expire_urls()
        f.seek(30 * MIB)
        f.read(1)
    assert requests(hub, "model.safetensors") == [
        "HEAD resolve 302", "GET cdn 206", "GET cdn 403", "HEAD resolve 302", "GET cdn 206"]


def test_a_pull_of_small_files_stays_within_the_limits(wfs: Weightfs, hub: Hub, repo: Repo) -> None:
    repo.commit({f"{i % 7}/{i}.txt": f"file {i}\n" for i in range(200)})
    hub.limits["resolvers"] = (260, 260)  # the last 50 of them are spread out
    hub.enforce_limits = True
    began = time.monotonic()
    wfs.command("pull", "--store", wfs.store, "--state", wfs.state, "--endpoint", hub.endpoint, "org/files")
    assert time.monotonic() - began < 30, "it waited for the next window"
    assert hub.log.settle()
    assert Counter((r.method, r.kind, r.status) for r in hub.log.records()) == {
        ("GET", "info", 200): 1, ("GET", "tree", 200): 1, ("GET", "resolve", 307): 200,
        ("GET", "resolve-cache", 200): 200}


# -- other ways to answer ----------------------------------------------------------------------


@pytest.mark.parametrize("status", [302, 307])
@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("name", TEXTS)
def test_redirects_within_the_hub_are_followed(wfs: Weightfs, hub: Hub, commit: Commit, status: int, absolute: bool,
                                               name: str) -> None:
    location = resolve_cache(hub, commit, name)
    hub.fault("redirect", "resolve", path=name, status=status,
              location=location if absolute else location.removeprefix(hub.endpoint))
    wfs.start()
    assert (wfs.snapshot("org/files") / name).read_text() == TEXTS[name]


@pytest.mark.parametrize("name", TEXTS)
def test_a_hub_without_redirects(wfs: Weightfs, hub: Hub, commit: Commit, name: str) -> None:
    hub.redirect_small = False
    wfs.start()
    assert (wfs.snapshot("org/files") / name).read_text() == TEXTS[name]


def test_a_redirect_that_names_the_file_and_leads_to_another(wfs: Weightfs, hub: Hub, commit: Commit) -> None:
    target = f"/org/files/resolve/{commit.oid}/vocab.txt"
    first = {"path": "vocab.txt", "target": target}
    hub.fault("redirect", "resolve", status=307, location=f"{target}?hop=1", **first)
    hub.fault("headers", "resolve", set={"X-Linked-ETag": f'"{commit.files["vocab.txt"].etag}"'}, **first)
    wfs.start()
    assert (wfs.snapshot("org/files") / "vocab.txt").read_text() == MIDDLE
    assert "HEAD resolve-cache 200" in requests(hub, "vocab.txt"), "then it goes all the way"


@pytest.mark.parametrize("name", TEXTS)
def test_a_redirect_loop_ends(wfs: Weightfs, hub: Hub, commit: Commit, name: str) -> None:
    fault = hub.fault("redirect_loop", "resolve", path=name)
    wfs.start()
    path = wfs.snapshot("org/files") / name
    code, seconds = errno_and_seconds(path.read_text)
    assert code == errno.EIO and seconds < LOOKUP_DEADLINE + SLACK
    assert fault.hits < 20
    fault.remove()
    assert path.read_text() == TEXTS[name]


def test_another_file_is_not_taken(wfs: Weightfs, hub: Hub, commit: Commit) -> None:
    fault = hub.fault("redirect", "resolve", path="config.json", location=resolve_cache(hub, commit, "vocab.txt"))
    wfs.start()
    path = wfs.snapshot("org/files") / "config.json"
    assert errno_and_seconds(path.read_text)[0] == errno.EIO
    fault.remove()
    assert path.read_text() == SMALL


def test_another_size_is_not_taken(wfs: Weightfs, hub: Hub, commit: Commit, repo: Repo) -> None:
    repo.commit({"longer.json": SMALL + "\n"})
    longer = resolve_cache(hub, repo.resolve("main"), "longer.json")
    faults = [hub.fault("redirect", "resolve", path="config.json", location=longer),
              hub.fault("headers", "resolve-cache", path="longer.json",
                        set={"ETag": f'"{commit.files["config.json"].etag}"'})]
    wfs.start()
    path = wfs.snapshot("org/files") / "config.json"
    assert errno_and_seconds(path.read_text)[0] == errno.EIO
    assert f"has {len(SMALL) + 1} bytes" in wfs.log.read_text()
    for fault in faults:
        fault.remove()
    assert path.read_text() == SMALL


def test_a_page_without_an_etag_is_not_taken(wfs: Weightfs, hub: Hub, commit: Commit) -> None:
    faults = [hub.fault("headers", on, path="config.json", set={"ETag": None, "X-Linked-ETag": None})
              for on in ("resolve", "resolve-cache")]
    wfs.start()
    path = wfs.snapshot("org/files") / "config.json"
    assert errno_and_seconds(path.read_text)[0] == errno.EIO
    for fault in faults:
        fault.remove()
    assert path.read_text() == SMALL


# -- trouble -----------------------------------------------------------------------------------


def test_a_small_file_that_was_corrupted_is_fetched_again(wfs: Weightfs, hub: Hub, commit: Commit) -> None:
    fault = hub.fault("corrupt", "resolve-cache", path="config.json", at=5, times=1)
    wfs.command("pull", "--store", wfs.store, "--state", wfs.state, "--endpoint", hub.endpoint, "org/files")
    assert fault.hits == 1
    assert (wfs.stored("org/files") / "snapshots" / commit.oid / "config.json").read_text() == SMALL


def test_a_small_file_that_breaks_off_is_asked_for_again(wfs: Weightfs, hub: Hub, commit: Commit) -> None:
    faults = [hub.fault("truncate", "resolve-cache", path="config.json", at=100, times=1),
              hub.fault("status", "resolve", path="config.json", status=503, times=1)]
    wfs.start()
    assert (wfs.snapshot("org/files") / "config.json").read_text() == SMALL
    assert [fault.hits for fault in faults] == [1, 1]


def test_connections_that_were_closed_meanwhile(wfs: Weightfs, hub: Hub, commit: Commit) -> None:
    wfs.start("--complete", "never")
    snapshot = wfs.snapshot("org/files")
    assert (snapshot / "config.json").read_text() == SMALL
    hub.break_connections()
    assert (snapshot / "vocab.txt").read_text() == MIDDLE
    hub.break_connections()
    with (snapshot / "model.safetensors").open("rb", buffering=0) as f:
        assert f.read(4) == commit.files["model.safetensors"].content.read(0, 4)


def test_a_gated_small_file_is_refused(wfs: Weightfs, hub: Hub, commit: Commit, repo: Repo) -> None:
    repo.gated = "manual"
    wfs.start()
    path = wfs.snapshot("org/files") / "config.json"
    assert errno_and_seconds(path.read_text)[0] == errno.EACCES
    repo.gated = False
    assert path.read_text() == SMALL

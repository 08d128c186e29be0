"""@huggingface/hub of JavaScript, unmodified, with the mount as its cache."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from harness import CLIENT_PROGRAMS, CLIENTS, Weightfs, clean_env
from hub.content import Synthetic
from hub.hub import Hub
from hub.repos import Commit

MIB = 1 << 20
RUN = CLIENTS / "js/run"
WEIGHTS = Synthetic(3 * MIB, 21)
FILES = {"config.json": b'{"js": true}', "nested/tokenizer.json": b"{}", "model.safetensors": WEIGHTS}

pytestmark = pytest.mark.skipif(not RUN.exists(), reason="client js is not installed: tools/install-clients js")


@pytest.fixture
def commit(hub: Hub) -> Commit:
    repo = hub.add_repo("model", "org/js")
    repo.commit(FILES)
    repo.tag("v1")
    return repo.resolve("main")


def js(wfs: Weightfs, *args: str, cache: Path | None = None, **env: str) -> dict[str, Any]:
    done = subprocess.run([str(RUN), str(CLIENT_PROGRAMS / "js/client.mjs"), *args], capture_output=True, text=True,
                          timeout=60, check=False,
                          env=clean_env(HF_HUB_CACHE=cache or wfs.hub_cache, HF_ENDPOINT=str(wfs.endpoint),
                                        HOME="/nonexistent", **env))
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


def digest(name: str) -> str:
    content = FILES[name]
    return content.sha256 if isinstance(content, Synthetic) else hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("name", sorted(FILES))
def test_download_by_commit(wfs: Weightfs, commit: Commit, name: str) -> None:
    wfs.start()
    got = js(wfs, "download", "org/js", name, commit.oid)
    assert got.get("sha256") == digest(name), got
    assert got["path"] == str(wfs.repo("org/js") / "snapshots" / commit.oid / name)


@pytest.mark.parametrize("ref", ["main", "v1"])
def test_download_by_name(wfs: Weightfs, commit: Commit, hub: Hub, ref: str) -> None:
    """It asks the hub what a name means, and finds the file under the commit."""
    wfs.start()
    got = js(wfs, "download", "org/js", "model.safetensors", ref)
    assert got.get("sha256") == digest("model.safetensors"), got
    assert got["path"].startswith(str(wfs.mnt))


def test_offline_by_commit(wfs: Weightfs, commit: Commit, hub: Hub) -> None:
    wfs.start()
    wfs.command("pull", "--state", wfs.state, "org/js")
    wfs.stop()
    hub.down()
    wfs.offline()
    for name in FILES:
        assert js(wfs, "download", "org/js", name, commit.oid).get("sha256") == digest(name)
    wfs.stop()
    # and without weightfs: the store is a cache as any
    got = js(wfs, "download", "org/js", "model.safetensors", commit.oid, cache=wfs.store / "hub")
    assert got.get("sha256") == digest("model.safetensors"), got


def test_scan(wfs: Weightfs, commit: Commit) -> None:
    wfs.start()
    js(wfs, "download", "org/js", "model.safetensors", commit.oid)
    wfs.command("pull", "--state", wfs.state, "org/js")
    got = js(wfs, "scan")
    assert got["warnings"] == [], got
    (repo,) = got["repos"]
    (revision,) = repo["revisions"]
    assert (revision["commit"], revision["refs"]) == (commit.oid, ["main"])
    assert got["repos"] == js(wfs, "scan", cache=wfs.store / "hub")["repos"], "as of a cache of plain files"

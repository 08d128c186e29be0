"""Real, unmodified clients on the mount: what they compute is compared with what plain files give."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import CLIENTS, Weightfs, client_python, run_client
from hub import models
from hub.hub import Hub
from hub.models import MINILM_ID, MINILM_WEIGHTS_SHA256
from test_lazy import wait_for

HUB_CLIENTS = ["hub-0.20.3", "hub-0.26.5", "hub-0.36.2", "hub-1.24.0", "hub-1.33.0", "hub-2.4.0"]
# Known not to work online on any read-only cache (huggingface_hub <= 0.26: snapshot_download).
NO_SNAPSHOT_ONLINE = {"hub-0.20.3", "hub-0.26.5"}
pytestmark = pytest.mark.limit(300)


def need(name: str) -> str:
    if client_python(name) is None:
        pytest.skip(f"client {name} is not installed: tools/install-clients {name}")
    return name


@pytest.fixture
def minilm(hub: Hub) -> Hub:
    models.minilm(hub, CLIENTS / "data")
    return hub


@pytest.fixture(scope="module")
def plain_files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The model's files in a plain folder: what every other way is measured by."""
    yield models.fetch_minilm(CLIENTS / "data")


@pytest.fixture(scope="module")
def expected(plain_files: Path) -> dict[str, dict[str, Any]]:
    """The embedding that each ML client computes from the plain files."""
    return {
        name: run_client(name, "embed.py", str(plain_files), HF_HUB_OFFLINE="1", HF_HOME="/nonexistent")
        for name in ("ml", "ml-4")
        if client_python(name)
    }


def online(wfs: Weightfs, **env: Any) -> dict[str, Any]:
    return {"HF_HOME": wfs.mnt, "HF_ENDPOINT": wfs.endpoint, **env}


def offline(wfs: Weightfs, **env: Any) -> dict[str, Any]:
    return {"HF_HOME": wfs.mnt, "HF_HUB_OFFLINE": "1", **env}


@pytest.mark.parametrize("name", HUB_CLIENTS)
def test_hf_hub_download(name: str, wfs: Weightfs, minilm: Hub) -> None:
    wfs.start()
    for env in (online(wfs), offline(wfs)):
        got = run_client(need(name), "hub_download.py", MINILM_ID, "config.json", **env)
        assert got["size"] == 612
    got = run_client(name, "hub_download.py", MINILM_ID, "model.safetensors", **offline(wfs))
    assert got["sha256"] == MINILM_WEIGHTS_SHA256


@pytest.mark.parametrize("name", HUB_CLIENTS)
def test_snapshot_download(name: str, wfs: Weightfs, minilm: Hub, plain_files: Path) -> None:
    wfs.start()
    names = {p.relative_to(plain_files).as_posix() for p in plain_files.rglob("*") if p.is_file()}
    envs = [offline(wfs)] if name in NO_SNAPSHOT_ONLINE else [online(wfs), offline(wfs)]
    for env in envs:
        if name in NO_SNAPSHOT_ONLINE:  # offline, an unseen repo is looked up by its name all the same
            (wfs.repo(MINILM_ID) / "refs/main").read_text()
        got = run_client(need(name), "snapshot.py", MINILM_ID, **env)
        assert {f["path"] if isinstance(f, dict) else f[0] for f in got["files"]} == names


@pytest.mark.parametrize("name", HUB_CLIENTS)
def test_started_offline_and_without_weightfs(name: str, wfs: Weightfs, minilm: Hub) -> None:
    need(name)
    wfs.start()
    wfs.command("pull", "--state", wfs.state, MINILM_ID, timeout=120)
    wfs.stop()
    minilm.down()
    wfs.offline()
    with_mount = run_client(name, "snapshot.py", MINILM_ID, **offline(wfs))
    wfs.stop()
    without = run_client(name, "snapshot.py", MINILM_ID, HF_HOME="/nonexistent", HF_HUB_CACHE=wfs.store / "hub",
                         HF_HUB_OFFLINE="1")
    assert with_mount["files"] == without["files"]


@pytest.mark.parametrize("name", ["ml", "ml-4"])
def test_sentence_transformers_lazily_then_whole_then_offline(
    name: str, wfs: Weightfs, minilm: Hub, expected: dict[str, dict[str, Any]]
) -> None:
    want = expected[need(name)] if client_python(name) else None
    keys = ("sha256", "modules", "pooling")
    wfs.start()
    for env in (online(wfs), offline(wfs)):
        got = run_client(name, "embed.py", MINILM_ID, **env)
        assert [got[k] for k in keys] == [want[k] for k in keys]
    wfs.command("pull", "--state", wfs.state, MINILM_ID, timeout=120)
    wfs.command("unmount", wfs.mnt)
    wfs.process.wait(20)
    wfs.process = None
    minilm.down()
    wfs.offline()
    got = run_client(name, "embed.py", MINILM_ID, **offline(wfs))
    assert [got[k] for k in keys] == [want[k] for k in keys]
    wfs.stop()
    got = run_client(name, "embed.py", MINILM_ID, HF_HUB_CACHE=wfs.store / "hub", HF_HUB_OFFLINE="1",
                     HF_HOME="/nonexistent")
    assert [got[k] for k in keys] == [want[k] for k in keys]


def test_an_adopted_cache_with_the_same_answer(
    wfs: Weightfs, minilm: Hub, expected: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    need("ml")
    cache = tmp_path / "theirs"
    run_client("ml", "snapshot.py", MINILM_ID, HF_HOME=cache, HF_ENDPOINT=minilm.endpoint)
    minilm.down()
    wfs.store.mkdir()
    os.rename(cache / "hub", wfs.store / "hub")
    wfs.offline()
    got = run_client("ml", "embed.py", MINILM_ID, **offline(wfs))
    assert got["sha256"] == expected["ml"]["sha256"]
    if os.geteuid() == 0:
        with bound_read_only(wfs.mnt, tmp_path / "bound") as home:
            got = run_client("ml", "embed.py", MINILM_ID, user=1000, HF_HOME=home, HF_HUB_OFFLINE="1")
            assert got["sha256"] == expected["ml"]["sha256"]
    # In the background its blobs are hashed and become ours.
    wait_for(lambda: "adopted" not in wfs.command("ls", "--state", wfs.state, MINILM_ID).stdout, 60)


def test_automodel_reads_by_mmap(wfs: Weightfs, minilm: Hub, plain_files: Path) -> None:
    need("ml")
    wfs.start()
    want = run_client("ml", "automodel.py", str(plain_files), HF_HUB_OFFLINE="1", HF_HOME="/nonexistent")
    got = run_client("ml", "automodel.py", MINILM_ID, **online(wfs))
    assert {k: got[k] for k in got if "sha256" in k} == {k: want[k] for k in want if "sha256" in k}


def test_no_cache_tool_finds_fault(wfs: Weightfs, minilm: Hub) -> None:
    wfs.start()
    run_client(need("hub-2.4.0"), "hub_download.py", MINILM_ID, "config.json", **online(wfs))
    for name in ("hub-0.26.5", "hub-2.4.0"):
        got = run_client(need(name), "scan.py", **offline(wfs))
        assert not got["warnings"], got
        assert len(got["repos"]) == 1


@contextlib.contextmanager
def bound_read_only(source: Path, target: Path) -> Iterator[Path]:
    """What a container runtime does for -v SOURCE:TARGET:ro."""
    target.mkdir(exist_ok=True)
    subprocess.run(["mount", "--bind", str(source), str(target)], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(target)], check=True)
        yield target
    finally:
        subprocess.run(["umount", "-l", str(target)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become uid 1000")
def test_as_uid_1000_behind_a_read_only_bind_mount(
    wfs: Weightfs, minilm: Hub, tmp_path: Path, expected: dict[str, dict[str, Any]]
) -> None:
    """Lazily online, then offline with a catalogue that was lost and made anew."""
    need("ml")
    wfs.start()
    with bound_read_only(wfs.mnt, tmp_path / "cache") as home:
        got = run_client("ml", "embed.py", MINILM_ID, user=1000, HF_HOME=home, HF_ENDPOINT=wfs.endpoint)
        assert got["sha256"] == expected["ml"]["sha256"]
    wfs.command("pull", "--state", wfs.state, MINILM_ID, timeout=120)
    wfs.stop()
    minilm.down()
    for file in wfs.state.glob("catalogue.sqlite*"):
        file.unlink()
    wfs.offline()
    with bound_read_only(wfs.mnt, tmp_path / "cache") as home:
        got = run_client("ml", "embed.py", MINILM_ID, user=1000, HF_HOME=home, HF_HUB_OFFLINE="1")
        assert got["sha256"] == expected["ml"]["sha256"]

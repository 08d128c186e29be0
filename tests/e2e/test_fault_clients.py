"""Clients on a mount whose hub fails: they compute the whole or nothing, never something else from a part.

A file that cannot be had must not look like one that is not there: without its modules.json a sentence
transformer is put together from defaults, without an error. With WEIGHTFS_TEST_FAULTS=all each file in turn.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import CLIENT_PROGRAMS, CLIENTS, Weightfs, clean_env, client_python, run_client
from hub import models
from hub.faults import Fault
from hub.hub import Hub
from hub.models import MINILM_ID
from matrix import ALL
from test_lazy import sha256

FILES = ["modules.json", "model.safetensors", "config.json", "1_Pooling/config.json", "tokenizer.json",
         "sentence_bert_config.json", "config_sentence_transformers.json", "tokenizer_config.json",
         "special_tokens_map.json", "vocab.txt", "README.md"]
KEYS = ("sha256", "modules", "pooling")
pytestmark = pytest.mark.limit(200)


def fail(hub: Hub, where: str) -> list[Fault]:
    if where in ("info", "tree"):
        return [hub.fault("status", on=where, status=503)]
    return [hub.fault("status", on=("resolve", "content"), path=where, status=503)]


def run(name: str, program: str, **env: Any) -> dict[str, Any] | None:
    """What the client printed; None where it died, as by SIGBUS of a page that cannot be had."""
    python = client_python(name)
    if python is None:
        pytest.skip(f"client {name} is not installed: tools/install-clients {name}")
    done = subprocess.run([str(python), str(CLIENT_PROGRAMS / program), MINILM_ID], capture_output=True, text=True,
                          timeout=120, check=False,
                          env=clean_env(**env, HOME="/nonexistent", PYTHONDONTWRITEBYTECODE="1",
                                        HF_HUB_DISABLE_TELEMETRY="1", TOKENIZERS_PARALLELISM="false"))
    return json.loads(done.stdout) if done.stdout.strip() else None


@pytest.fixture
def mounted(wfs: Weightfs, hub: Hub) -> Iterator[Weightfs]:
    models.minilm(hub, CLIENTS / "data")
    wfs.start("--complete", "never", "--lookup-deadline", "3", "--read-deadline", "5")
    yield wfs


def plain_files() -> dict[str, Path]:
    folder = models.fetch_minilm(CLIENTS / "data")
    return {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    """What each client makes of the plain files."""
    folder = models.fetch_minilm(CLIENTS / "data")
    return {name: run_client(name, "embed.py", str(folder), HF_HUB_OFFLINE="1", HF_HOME="/nonexistent")
            for name in ("ml", "ml-4") if client_python(name)}


def cases() -> list[tuple[str, str]]:
    if ALL:
        return [(name, where) for name in ("ml", "ml-4") for where in (*FILES, "info", "tree")]
    return [("ml", "modules.json")]


@pytest.mark.parametrize("name,where", cases())
def test_an_embedding_is_of_the_whole_model_or_none(mounted: Weightfs, hub: Hub, request: pytest.FixtureRequest,
                                                    name: str, where: str) -> None:
    faults = fail(hub, where)
    env = {"HF_HOME": mounted.mnt, "HF_HUB_OFFLINE": "1"}  # so that all it knows comes through the mount
    got = run(name, "embed.py", **env)
    if got and "error" not in got:
        expected = request.getfixturevalue("expected")
        assert [got[k] for k in KEYS] == [expected[name][k] for k in KEYS], "computed from a part"
        assert where != "modules.json" and where != "model.safetensors", "computed without what it needs"
    for fault in faults:
        fault.remove()
    for path, plain in plain_files().items():
        assert sha256(mounted.snapshot(MINILM_ID) / path) == sha256(plain), "it did not heal"


SNAPSHOTS = ["hub-0.20.3", "hub-0.36.2", "hub-2.4.0"]


@pytest.mark.parametrize("name", SNAPSHOTS if ALL else SNAPSHOTS[-1:])
@pytest.mark.parametrize("where", ["info", "tree", "modules.json", "model.safetensors"] if ALL
                         else ["modules.json"])
def test_a_snapshot_is_whole_or_an_error(mounted: Weightfs, hub: Hub, name: str, where: str) -> None:
    faults = fail(hub, where)
    env = {"HF_HOME": mounted.mnt, "HF_HUB_OFFLINE": "1"}
    got = run(name, "snapshot.py", **env)
    assert sum(f.hits for f in faults)
    assert got and "error" in got, f"what cannot be had went unnoticed: {got}"
    for fault in faults:
        fault.remove()
    got = run(name, "snapshot.py", **env)
    assert got and {f[0] for f in got.get("files", [])} == set(plain_files()), f"it did not heal: {got}"

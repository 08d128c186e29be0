"""The hub against real clients.

HUB_TEST_PYTHONS: interpreters with huggingface_hub, separated by colons (default: this one, where it
has it). HUB_TEST_CACHE: folder for downloads; without it the test that needs PyPI is skipped.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from . import Hub, models

CHECKS = Path(__file__).with_name("client_checks.py")
HERE = [sys.executable] if importlib.util.find_spec("huggingface_hub") else []
PYTHONS = [p for p in os.environ.get("HUB_TEST_PYTHONS", "").split(":") if p] or HERE


def environment(hub: Hub, home: Path) -> dict[str, str]:
    kept = {
        k: v
        for k, v in os.environ.items()
        if not k.startswith(("HF_", "HUGGING")) and "proxy" not in k.lower()
    }
    extra = {
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return kept | extra | {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(home)}


@pytest.mark.skipif(not PYTHONS, reason="no huggingface_hub here, and HUB_TEST_PYTHONS is not set")
@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("prefix", ["", "/mirror"])
def test_huggingface_hub(python: str, prefix: str, tmp_path: Path) -> None:
    with Hub(prefix=prefix) as hub:
        models.corner_cases(hub)
        models.many(hub, count=2500)
        hub.unknown_code = "RepoNotFound"  # over http the clients tell a bare 401 from nothing else
        hub.gzip = bool(prefix)
        command = [python, str(CHECKS), hub.endpoint]
        done = subprocess.run(
            command, env=environment(hub, tmp_path), capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout.splitlines()[-1])["failed"] == {}
        assert hub.log.leaks() == []


@pytest.mark.skipif("HUB_TEST_CACHE" not in os.environ, reason="HUB_TEST_CACHE is not set")
def test_minilm() -> None:
    with Hub() as hub:
        repo = models.minilm(hub, Path(os.environ["HUB_TEST_CACHE"]))
        commit = repo.resolve("main")
        assert commit is not None and commit.files["model.safetensors"].lfs == models.MINILM_WEIGHTS_SHA256
        # The ids of these files in the hub's own repository.
        assert commit.files["vocab.txt"].oid == "fb140275c155a9c7c5a3b3e0e77a9e839594a938"
        assert {"modules.json", "1_Pooling/config.json", "tokenizer.json", "config.json"} <= set(commit.files)

"""A podman container as uid 1000, with the mount bound read-only at its cache."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import CLIENTS, ROOT, Weightfs, client_python
from hub import models
from hub.hub import Hub
from hub.models import MINILM_ID

USER = 1000
HOME = "/home/tester"
CACHE = f"{HOME}/.cache/huggingface"
pytestmark = [pytest.mark.in_ns, pytest.mark.limit(900)]


class Podman:
    def __init__(self, root: Path, folder: Path) -> None:
        self.root = root
        # Where clients write what is no model: HF_HOME/modules, HF_HOME/datasets, …
        self.hf_home = folder / "hf-home"
        (self.hf_home / "hub").mkdir(parents=True)
        os.chown(self.hf_home, USER, USER)

    def run(self, *command: str, options: tuple[str, ...] = (), timeout: float = 400,
            code: int | None = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [str(ROOT / "tools/podman-run"), str(self.root), "--user", f"{USER}:{USER}", "-e", f"HOME={HOME}",
             "-v", f"{self.hf_home}:{CACHE}", *options, "--", *command],
            capture_output=True, text=True, timeout=timeout, check=False)
        assert code is None or done.returncode == code, done.stdout + done.stderr[-4000:]
        return done

    def podman(self, *args: str) -> str:
        return subprocess.run([str(ROOT / "tools/podman-run"), "--podman", *args], capture_output=True, text=True,
                              timeout=200, check=True).stdout

    def embed(self, what: str, *options: str) -> dict[str, Any]:
        """Loads the model with sentence-transformers and returns every bit of some embeddings."""
        done = self.run("/clients/ml/bin/python", "/programs/embed.py", what, code=None, options=(
            "-v", f"{CLIENTS}:/clients:ro", "-v", f"{ROOT / 'tests/clients'}:/programs:ro",
            "-e", "PYTHONDONTWRITEBYTECODE=1", "-e", "HF_HUB_DISABLE_TELEMETRY=1", *options))
        assert done.returncode == 0, done.stdout + done.stderr[-4000:]
        result = json.loads(done.stdout)
        return {key: result[key] for key in ("sha256", "modules", "pooling", "embeddings")}


@pytest.fixture
def podman(container_root: Path, tmp_path: Path) -> Iterator[Podman]:
    yield Podman(container_root, tmp_path)


def bound(wfs: Weightfs) -> tuple[str, str]:
    return "-v", f"{wfs.hub_cache}:{CACHE}/hub:ro,rslave"


@pytest.mark.parametrize("client", ["asks the hub", "HF_HUB_OFFLINE=1"])
def test_loads_lazily_then_offline(client: str, wfs: Weightfs, hub: Hub, podman: Podman) -> None:
    if client_python("ml") is None:
        pytest.skip("client ml is not installed: tools/install-clients ml")
    models.minilm(hub, CLIENTS / "data")
    plain = podman.embed("/clients/minilm", "-e", "HF_HUB_OFFLINE=1")
    env = ("-e", client) if "=" in client else ("--network", "host", "-e", f"HF_ENDPOINT={hub.endpoint}")
    wfs.start()
    assert podman.embed(MINILM_ID, *bound(wfs), *env) == plain
    assert hub.log.content_bytes(path="model.safetensors") > 0, "its bytes came over the mount"
    wfs.command("pull", "--state", wfs.state, MINILM_ID, timeout=120)
    wfs.stop()
    hub.down()
    wfs.offline()
    assert podman.embed(MINILM_ID, *bound(wfs), "-e", "HF_HUB_OFFLINE=1") == plain


WRITES = """
import errno, os, sys
hub = sys.argv[1]
repo = hub + "/models--org--small"
commit = repo + "/snapshots/" + open(repo + "/refs/main").read()
assert open(commit + "/config.json").read() == '{"a": 1}'
def attempt(call, *args):
    try:
        call(*args)
    except OSError as error:
        return errno.errorcode[error.errno]
    return "no error"
for name, got in {
    "create": attempt(open, hub + "/x", "w"),
    "create in a repo": attempt(open, repo + "/refs/new", "w"),
    "open for writing": attempt(open, commit + "/config.json", "r+"),
    "mkdir": attempt(os.mkdir, hub + "/.locks/new"),
    "mkdir of a repo": attempt(os.mkdir, hub + "/models--org--new"),
    "unlink": attempt(os.unlink, commit + "/config.json"),
    "rename": attempt(os.rename, repo, hub + "/other"),
    "chmod": attempt(os.chmod, repo, 0o700),
    "utime": attempt(os.utime, repo),
    "symlink": attempt(os.symlink, "a", hub + "/b"),
}.items():
    assert got == "EROFS", (name, got)
open(os.path.dirname(hub) + "/token", "w").close()
print("all", "EROFS")
"""


def test_writes_get_erofs_and_hf_home_is_writable(wfs: Weightfs, hub: Hub, podman: Podman) -> None:
    hub.add_repo("model", "org/small").commit({"config.json": '{"a": 1}'})
    wfs.start()
    for options in ("ro,rslave", "rslave"):  # the mount itself is read-only, whatever the bind says
        said = podman.run("python3", "-c", WRITES, f"{CACHE}/hub",
                          options=("-v", f"{wfs.hub_cache}:{CACHE}/hub:{options}")).stdout
        assert said == "all EROFS\n"


def test_a_container_sees_mounts_come_and_go(wfs: Weightfs, hub: Hub, podman: Podman) -> None:
    """With the folder above bound rslave, a container may start first and heals after a remount."""
    hub.add_repo("model", "org/small").commit({"config.json": '{"a": 1}'})
    read = f"cat {CACHE}/up/mnt/models/org/small/config.json"
    (podman.hf_home / "up").mkdir()
    podman.run("sleep", "600", options=("-d", "--name", "c", "-v", f"{wfs.mnt.parent}:{CACHE}/up:ro,rslave"))
    try:
        assert podman.podman("exec", "c", "sh", "-c", f"{read} 2>/dev/null || echo nothing") == "nothing\n"
        for end in (wfs.stop, wfs.kill, wfs.stop):
            wfs.start()
            assert podman.podman("exec", "c", "sh", "-c", read) == '{"a": 1}'
            end()
    finally:
        podman.podman("rm", "-t", "0", "-f", "c")

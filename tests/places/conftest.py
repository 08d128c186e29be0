"""Fixtures of the tests in real places: containers, a booted systemd, NFS. They need root."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

E2E = Path(__file__).resolve().parents[1] / "e2e"
spec = importlib.util.spec_from_file_location("e2e_conftest", E2E / "conftest.py")
assert spec is not None and spec.loader is not None
e2e = importlib.util.module_from_spec(spec)
spec.loader.exec_module(e2e)
hub, watchdog, wfs = e2e.hub, e2e.watchdog, e2e.wfs
pytest_collection_modifyitems = e2e.pytest_collection_modifyitems

from harness import BINARY, CLIENTS, ROOT  # noqa: E402


def pytest_configure(config: pytest.Config) -> None:
    e2e.pytest_configure(config)
    config.addinivalue_line("markers", "in_ns: runs in tools/ns, whose mounts containers see")


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Runs a test marked in_ns a second time, in tools/ns, and takes that result for its own."""
    if not pyfuncitem.get_closest_marker("in_ns") or os.environ.get("WEIGHTFS_NS"):
        return None
    limit = pyfuncitem.get_closest_marker("limit")
    seconds = (limit.args[0] if limit else 120) + 60
    done = subprocess.run(
        ["timeout", "-k", "20", str(seconds), str(ROOT / "tools/ns"), sys.executable, "-m", "pytest", "-q", "-rs",
         "-p", "no:cacheprovider", f"{pyfuncitem.path}::{pyfuncitem.name}"],
        capture_output=True, text=True, check=False)
    print(done.stdout, done.stderr, sep="\n")
    assert done.returncode == 0, "it failed in tools/ns (output above)"
    if skipped := re.search(r"^SKIPPED .*?: (.*)", done.stdout, re.M):
        pytest.skip(skipped[1])
    return True


def need(program: str, group: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    if not shutil.which(program):
        pytest.skip(f"{program} is not installed: tools/install-deps {group}")


def root_tree(kind: str) -> Path:
    """A root tree; kept in the cache folder, where it is up to date most of the time."""
    tree = CLIENTS / "places" / kind
    done = subprocess.run([str(ROOT / "tools/make-rootfs"), kind, str(tree)], capture_output=True, text=True,
                          check=False, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    return tree


@pytest.fixture(scope="session")
def container_root() -> Path:
    need("podman", "containers")
    return root_tree("container")


@pytest.fixture(scope="session")
def systemd_root() -> Path:
    need("systemd-nspawn", "systemd")
    return root_tree("systemd")


@pytest.fixture(scope="session")
def uml_root() -> Path:
    need("linux.uml", "nfs")
    return root_tree("systemd")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a package would hold, as folders below /."""
    tree = tmp_path_factory.mktemp("installed") / "tree"
    subprocess.run(["cmake", "--install", str(BINARY.parents[1]), "--prefix", "/usr"], check=True,
                   capture_output=True, timeout=60, env={**os.environ, "DESTDIR": str(tree)})
    tree.chmod(0o755)
    return tree

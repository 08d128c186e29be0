"""The mount exported by the kernel's NFS server and read by its client, in a kernel of their own."""

from __future__ import annotations

import subprocess
from pathlib import Path

import guest
import pytest
from harness import ROOT

guest.checks.clear()
import guest_nfs  # noqa: E402, F401

NAMES = [function.__name__ for function in guest.checks]


@pytest.fixture(scope="module")
def results(uml_root: Path, installed: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, str]]:
    """Boots once and returns what became of each check."""
    kept = tmp_path_factory.mktemp("nfs")
    done = subprocess.run(
        [str(ROOT / "tools/boot-uml"), "--time-limit", "1200", "--keep", str(kept), "--memory", "768M",
         "--bind", f"{installed}:/mnt/installed", "--bind", f"{ROOT / 'tests'}:/mnt/tests", str(uml_root),
         str(ROOT / "tests/places/guest_nfs.py")],
        capture_output=True, text=True, check=False, timeout=1300)
    print(done.stdout, done.stderr, f"kept in {kept}", sep="\n")
    assert done.returncode in (0, 1), "the guest did not come to its end (output above)"
    return guest.results(done.stdout)


@pytest.mark.parametrize("name", NAMES)
def test_nfs(name: str, results: dict[str, tuple[str, str]]) -> None:
    verdict, output = results.get(name, ("did not run", ""))
    assert verdict == "passed", output

"""weightfs@NAME.service under a real systemd: started by the boot, stopped, killed, misconfigured."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import guest
import pytest
from harness import ROOT

guest.checks.clear()
import guest_systemd  # noqa: E402

NAMES = [function.__name__ for function in guest.checks]

CONFIG = f"""
[hub]
endpoint = http://127.0.0.1:{guest_systemd.PORT}
lookup_deadline = 5
[mount]
point = /models
"""
FSTAB = "weightfs /fstab weightfs nofail,_netdev,offline,store=/srv/adopted 0 0\n"


def fill_cache(hub: Path) -> None:
    """An ordinary cache with org/held in it, as a client leaves one behind."""
    files = {"config.json": b"{}", "model.safetensors": guest_systemd.HELD.read(0, guest_systemd.HELD.size)}
    commit = "5" * 40
    repo = hub / "models--org--held"
    for folder in ("blobs", "refs", f"snapshots/{commit}"):
        (repo / folder).mkdir(parents=True)
    (repo / "refs/main").write_text(commit)
    for name, data in files.items():
        sha = hashlib.sha256(data) if name.endswith(".safetensors") else hashlib.sha1(b"blob %d\0" % len(data) + data)
        (repo / "blobs" / sha.hexdigest()).write_bytes(data)
        (repo / "snapshots" / commit / name).symlink_to(f"../../blobs/{sha.hexdigest()}")


@pytest.fixture(scope="module")
def results(systemd_root: Path, installed: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, str]]:
    """Boots once, with weightfs installed and enabled, and returns what became of each check."""
    for folder in ("models", "fstab", "etc/weightfs"):
        (installed / folder).mkdir(parents=True)
    (installed / "etc/weightfs/boot.conf").write_text(CONFIG)
    (installed / "etc/fstab").write_text(FSTAB)
    fill_cache(installed / "var/lib/weightfs/hub")
    fill_cache(installed / "srv/adopted/hub")
    subprocess.run(["systemctl", f"--root={installed}", "enable", "-q", "weightfs@boot"], check=True, timeout=30)
    assert os.path.lexists(installed / "etc/systemd/system/multi-user.target.wants/weightfs@boot.service")
    kept = tmp_path_factory.mktemp("systemd")
    done = subprocess.run(
        [str(ROOT / "tools/boot-systemd"), "--time-limit", "1200", "--keep", str(kept), "--add", str(installed),
         "--bind", f"{ROOT / 'tests'}:/mnt/tests", str(systemd_root), str(ROOT / "tests/places/guest_systemd.py")],
        capture_output=True, text=True, check=False, timeout=1300)
    print(done.stdout, done.stderr, f"kept in {kept}", sep="\n")
    assert done.returncode in (0, 1), "the guest did not come to its end (output above)"
    return guest.results(done.stdout)


@pytest.mark.parametrize("name", NAMES)
def test_systemd(name: str, results: dict[str, tuple[str, str]]) -> None:
    verdict, output = results.get(name, ("did not run", ""))
    assert verdict == "passed", output

#!/usr/bin/python3
"""What is checked under a real systemd. weightfs@boot was started by the boot, without a hub."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

if __name__ == "__main__":
    sys.path[:0] = ["/mnt/tests", "/mnt/tests/places"]

from guest import check, main, mounts_at, raises, sh, wait_for  # noqa: E402
from hub.content import Synthetic  # noqa: E402
from hub.hub import Hub  # noqa: E402

PORT = 8801
MODELS = Path("/models")
UNIT = "weightfs@boot"
# A cache that somebody else filled lies in the store from the start: org/held.
HELD = Synthetic(3 << 20, seed=11)
BIG = Synthetic(8 << 20, seed=12)
hub = Hub(port=PORT)


def show(name: str, unit: str = UNIT) -> str:
    return sh(f"systemctl show --value -p {name} {unit}").strip()


def journal(unit: str = UNIT) -> str:
    sh("journalctl --sync")
    return sh(f"journalctl -b -o cat -u {unit}")


def repo(id_: str, mount: Path = MODELS) -> Path:
    return mount / "hub" / f"models--{id_.replace('/', '--')}"


def weights(id_: str, mount: Path = MODELS) -> Path:
    commit = (repo(id_, mount) / "refs/main").read_text()
    return repo(id_, mount) / "snapshots" / commit / "model.safetensors"


def sha256(path: Path) -> str:
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


@check
def started_at_boot() -> None:
    assert show("ActiveState") == "active", sh(f"systemctl status {UNIT}", None) + journal()
    assert show("Type") == "notify"
    assert show("NRestarts") == "0"
    assert show("UnitFileState") == "enabled"
    assert "Serving /models" in show("StatusText")


@check
def pid_1_sees_the_mount() -> None:
    (line,) = mounts_at("/models", 1)
    assert "fuse.weightfs" in line, line
    for option in ("ro", "nosuid", "nodev"):
        assert option in line.split()[5].split(","), line


@check
def nobody_finds_fault_with_the_unit() -> None:
    said = sh(f"systemd-analyze verify --man=no {UNIT}.service")
    assert "weightfs" not in said, said


@check
def fstab_mounted_at_boot() -> None:
    (line,) = mounts_at("/fstab", 1)
    assert "fuse.weightfs" in line, line
    assert show("ActiveState", "fstab.mount") == "active"
    assert sha256(weights("org/held", Path("/fstab"))) == HELD.sha256


@check
def without_a_hub_what_is_held_reads() -> None:
    assert sha256(weights("org/held")) == HELD.sha256


@check
def without_a_hub_the_rest_is_eio() -> None:
    with raises(errno.EIO):
        os.stat(repo("org/big"))


@check
def the_hub_comes_up() -> None:
    hub.start()
    hub.add_repo("model", "org/held").commit({"config.json": "{}", "model.safetensors": HELD})
    hub.add_repo("model", "org/big").commit({"config.json": "{}", "model.safetensors": BIG})
    wait_for(repo("org/big").exists, "org/big is there")
    assert sha256(weights("org/big")) == BIG.sha256


@check
def other_users_read_and_nobody_writes() -> None:
    user = "setpriv --reuid=1000 --regid=1000 --clear-groups --"
    assert BIG.sha256 in sh(f"{user} sha256sum {weights('org/big')}")
    for who in (user, ""):
        said = sh(f"{who} touch {MODELS}/hub/x", 1)
        assert "Read-only file system" in said, said


@check
def status_and_journal_are_of_use() -> None:
    status = sh(f"systemctl status --no-pager {UNIT}")
    for part in ("active (running)", "Serving /models", "Main PID"):
        assert part in status, status
    log = journal()
    assert "serving /models" in log and str(PORT) in log, log
    said = sh("weightfs status /models")
    assert "/models" in said and str(PORT) in said, said


@check
def ready_means_mounted_and_stop_unmounts() -> None:
    for _ in range(3):
        sh(f"systemctl stop {UNIT}")
        assert not mounts_at("/models", 1)
        assert show("Result") == "success", journal()[-2000:]
        sh(f"systemctl start {UNIT}")
        assert len(mounts_at("/models", 1)) == 1
        assert (repo("org/held") / "refs/main").read_text()


@check
def restart_under_a_reader() -> None:
    with weights("org/big").open("rb") as held:
        held.read(1)
        sh(f"systemctl restart {UNIT}")
        assert len(mounts_at("/models", 1)) == 1
        assert sha256(weights("org/big")) == BIG.sha256


@check
def killed_and_back() -> None:
    old = int(show("MainPID"))
    os.kill(old, signal.SIGKILL)
    wait_for(lambda: show("ActiveState") == "active" and int(show("MainPID")) not in (0, old), "it is back")
    assert len(mounts_at("/models", 1)) == 1
    assert sha256(weights("org/big")) == BIG.sha256
    assert show("NRestarts") != "0"


@check
def unmounted_by_hand_stays_so() -> None:
    sh("weightfs unmount /models")
    wait_for(lambda: show("ActiveState") == "inactive", "the service ended")
    assert show("Result") == "success"
    assert not mounts_at("/models", 1)
    sh(f"systemctl start {UNIT}")


@check
def a_bad_configuration_says_what_is_wrong() -> None:
    Path("/etc/weightfs/bad.conf").write_text("[hub]\nofline = yes\n[mount]\npoint = /bad\n")
    sh("systemctl start weightfs@bad", 1)
    time.sleep(2)
    assert show("NRestarts", "weightfs@bad") == "0", "what is written wrong stays wrong"
    log = journal("weightfs@bad")
    sh("systemctl stop weightfs@bad")
    assert "/etc/weightfs/bad.conf" in log and "ofline" in log, log
    sh("systemctl start weightfs@absent", 1)
    log = journal("weightfs@absent")
    sh("systemctl stop weightfs@absent")
    assert "/etc/weightfs/absent.conf" in log, log


@check
def mount_and_umount_by_name_of_type() -> None:
    for kind in ("weightfs", "fuse.weightfs"):
        point = Path("/mnt") / kind
        point.mkdir()
        with open("/etc/fstab", "a") as fstab:
            fstab.write(f"boot {point} {kind} noauto,_netdev,store=/weightfs/{kind} 0 0\n")
        sh(f"mount {point}")
        (line,) = mounts_at(str(point), 1)
        assert "fuse.weightfs" in line, line
        assert sha256(weights("org/big", point)) == BIG.sha256
        sh(f"umount {point}")
        wait_for(lambda p=point: sh(f"pgrep -f {p}$", None) == "", "its daemon ended")
    said = sh("mount -t weightfs nothing /mnt/weightfs", 32)
    assert "/etc/weightfs/nothing.conf" in said, said


@check
def a_mount_unit_starts_and_stops() -> None:
    sh("systemctl daemon-reload")
    sh("systemctl start mnt-weightfs.mount")
    assert sha256(weights("org/big", Path("/mnt/weightfs"))) == BIG.sha256
    sh("systemctl stop mnt-weightfs.mount")
    assert not mounts_at("/mnt/weightfs", 1)


@check
def held_on_disk_is_served_by_the_kernel_alone() -> None:
    config = "[hub]\noffline = yes\n[store]\npath = /weightfs/weightfs\n[mount]\npoint = /native\n"
    Path("/etc/weightfs/native.conf").write_text(config)
    Path("/native").mkdir()
    sh("systemctl start weightfs@native")
    assert "offline" in show("StatusText", "weightfs@native")
    mount = json.loads(sh("weightfs status --json /native"))["mount"]
    kernel = tuple(int(n) for n in os.uname().release.split("-")[0].split(".")[:2])
    assert mount["passthrough"] or kernel < (6, 9) or mount["passthrough_reason"] == "not built in", mount
    daemon = int(show("MainPID", "weightfs@native"))
    with weights("org/big", Path("/native")).open("rb") as held:
        if mount["passthrough"]:
            os.kill(daemon, signal.SIGSTOP)
        try:
            said = subprocess.run(["timeout", "-s", "KILL", "60", "sha256sum"], stdin=held, text=True,
                                  capture_output=True, check=True).stdout
        finally:
            os.kill(daemon, signal.SIGCONT)
    assert said.split()[0] == BIG.sha256
    sh("systemctl stop weightfs@native")


if __name__ == "__main__":
    status = main()
    print(journal()[-6000:] if status else "")
    hub.stop()
    sys.exit(status)

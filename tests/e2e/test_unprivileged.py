"""Without root: fusermount3 mounts and unmounts, the folders are the user's own, root is kept out.

Run by root, the tests become uid 1000, or nobody, in a mount namespace where /dev/fuse is open to all, as it is
on an ordinary machine; what they mount is seen only there, so every look goes through commands.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import BINARY, CLIENTS, CLIENT_PROGRAMS, clean_env, open_to_others
from hub import models
from hub.content import Synthetic
from hub.hub import Hub
from hub.models import Corners
from test_lazy import MIB, wait_for
from terminal import Done, alive, says



def ordinary_user() -> int:
    """fusermount3 wants a user that has a name; on a bare machine uid 1000 has none, but there is nobody."""
    try:
        return pwd.getpwuid(1000).pw_uid
    except KeyError:
        return pwd.getpwnam("nobody").pw_uid


UID = ordinary_user()
OPEN_FUSE = """
mkdir "$1/dev" && mount -t tmpfs none "$1/dev" && mknod -m 666 "$1/dev/fuse" c 10 229 &&
mount --bind "$1/dev/fuse" /dev/fuse && echo ready && exec sleep 1000000
"""


class User:
    """An ordinary user with a home, and a namespace for what is mounted."""

    def __init__(self, base: Path, endpoint: str) -> None:
        self.home = base / "home"
        self.home.mkdir(parents=True)
        self.mnt = self.home / "models"
        self.mnt.mkdir()
        self.endpoint = endpoint
        self.prefix: list[str] = []
        self.holder: subprocess.Popen[str] | None = None
        if os.geteuid() == 0:
            self._make_namespace(base)
        elif not os.access("/dev/fuse", os.R_OK | os.W_OK):
            pytest.skip("/dev/fuse is not open to this user")

    def _make_namespace(self, base: Path) -> None:
        self.holder = subprocess.Popen(["unshare", "--mount", "--propagation", "private", "sh", "-c", OPEN_FUSE, "sh",
                                        base], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.holder.stdout and self.holder.stderr
        if self.holder.stdout.readline() != "ready\n":
            pytest.skip(f"no namespace with an open /dev/fuse: {self.holder.stderr.read()}")
        for path in (self.home, self.mnt):
            os.chown(path, UID, UID)
        self.prefix = ["nsenter", f"--mount=/proc/{self.holder.pid}/ns/mnt", "--", "setpriv", f"--reuid={UID}",
                       f"--regid={UID}", "--clear-groups", "--"]

    def close(self) -> None:
        if subprocess.run([*self.prefix, "fusermount3", "-uzq", self.mnt], check=False, timeout=20).returncode:
            pass  # nothing was mounted any more
        if self.holder:
            self.holder.kill()
            self.holder.wait(10)

    def env(self, **env: str | Path) -> dict[str, str]:
        return clean_env(**{"HOME": self.home, "HF_ENDPOINT": self.endpoint, "XDG_DATA_HOME": self.home / "data",
                            "XDG_CONFIG_HOME": self.home / "config", **env})

    def run(self, *command: str | Path, **env: str | Path) -> Done[str]:
        return subprocess.run([*self.prefix, *map(str, command)], capture_output=True, text=True, timeout=60,
                              check=False, cwd="/", env=self.env(**env))

    def __call__(self, *args: str | Path, **env: str | Path) -> Done[str]:
        return self.run(BINARY, *args, **env)

    def mount(self, *options: str | Path, **env: str | Path) -> None:
        done = self("mount", *options, self.mnt, **env)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), done

    def read(self, path: Path | str) -> str:
        done = self.run("cat", path)
        assert done.returncode == 0, done
        return done.stdout

    @property
    def mounted(self) -> str | None:
        for line in self.run("cat", "/proc/self/mountinfo").stdout.splitlines():
            if line.split()[4] == str(self.mnt):
                return line
        return None

    @property
    def daemon(self) -> int:
        return int(json.loads(self("status", "--json").stdout)["pid"])


@pytest.fixture
def user(tmp_path: Path, hub: Hub) -> Iterator[User]:
    if shutil.which("fusermount3") is None:
        pytest.skip("fusermount3 is not installed")
    open_to_others(tmp_path)
    u = User(tmp_path, hub.endpoint)
    yield u
    u.close()


@pytest.fixture
def corners(hub: Hub) -> Corners:
    return models.corner_cases(hub)


def test_mount_read_and_unmount(user: User, corners: Corners) -> None:
    user.mount()
    line = user.mounted
    assert line and "- fuse.weightfs " in line
    for word in ("nosuid", "nodev", f"user_id={os.geteuid() or UID}"):
        assert word in line, line
    assert "allow_other" not in line
    pid = user.daemon
    sha = user.read(user.mnt / "hub/models--corner--cases/refs/main")
    assert sha == corners.model.resolve("main").oid
    snapshot = user.mnt / "hub/models--corner--cases/snapshots" / sha
    assert user.read(snapshot / "config.json") == '{"version": 3}'
    assert user.run("stat", "-c", "%u:%g %a", f"{snapshot}/../../blobs").stdout == f"{UID}:{UID} 555\n"
    store = user.home / "data/weightfs"
    assert (store / "hub/models--corner--cases/refs/main").read_text() == sha
    assert (store / "state/catalogue.sqlite").stat().st_uid == (os.geteuid() or UID)
    done = user("unmount")
    assert (done.returncode, done.stderr) == (0, ""), done
    assert not alive(pid)
    assert user.mounted is None


def test_fusermount3_ends_the_daemon(user: User) -> None:
    user.mount()
    pid = user.daemon
    assert user.run("fusermount3", "-u", user.mnt).returncode == 0
    wait_for(lambda: not alive(pid), 10)
    assert user.mounted is None


def test_sigterm(user: User) -> None:
    user.mount()
    pid = user.daemon
    assert user.run("kill", str(pid)).returncode == 0
    wait_for(lambda: not alive(pid), 10)
    assert user.mounted is None


def test_a_dead_daemon_is_cleared(user: User) -> None:
    user.mount()
    pid = user.daemon
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not alive(pid), 5)
    says(user("status"), 1, f"the daemon of the mount {user.mnt} is gone", f"weightfs unmount {user.mnt}")
    says(user("mount", user.mnt), 1, f"{user.mnt} is a dead weightfs mount")
    assert user("unmount", user.mnt).stderr == f"weightfs: the daemon of {user.mnt} was gone; the mount is cleared\n"
    assert user.mounted is None
    user.mount()


def test_busy_and_lazy(user: User) -> None:
    user.mount()
    holder = subprocess.Popen([*user.prefix, "sh", "-c", f"cd {user.mnt} && echo in && exec sleep 100"],
                              stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout and holder.stdout.readline() == "in\n"
        says(user("unmount"), 1, f"{user.mnt} is in use", "fuser -vm", f"weightfs unmount --lazy {user.mnt}")
        assert user.mounted
        done = user("unmount", "--lazy")
        assert done.returncode == 0, done
        assert user.mounted is None
    finally:
        holder.kill()
        holder.wait(10)


@pytest.mark.parametrize("how", ["unmount", "signal"])
def test_offline(user: User, hub: Hub, how: str) -> None:
    """Confined, the daemon has no right to run fusermount3's setuid bit: a helper does."""
    content = Synthetic(MIB, 1)
    hub.add_repo("model", "org/a").commit({"config.json": "{}", "model.safetensors": content})
    assert user("pull", "org/a").returncode == 0
    hub.down()
    user.mount("--offline")
    pid = user.daemon
    status = user.read(f"/proc/{pid}/status")
    assert re.search(r"^Seccomp:\s+2$", status, re.M)
    assert re.search(r"^NoNewPrivs:\s+1$", status, re.M)
    path = user.mnt / "models/org/a/model.safetensors"
    assert user.run("sha256sum", path).stdout.split()[0] == content.sha256
    assert user.run("stat", user.mnt / "hub/models--org--never").returncode != 0
    if how == "unmount":
        assert user("unmount").returncode == 0
    else:
        assert user.run("kill", str(pid)).returncode == 0
    wait_for(lambda: not alive(pid), 10)
    assert user.mounted is None


def test_allow_other_needs_the_machines_consent(user: User) -> None:
    if re.search(r"^\s*user_allow_other", Path("/etc/fuse.conf").read_text(), re.M):
        pytest.skip("/etc/fuse.conf allows it here")
    says(user("mount", "--allow-other", user.mnt), 1, "allow_other is for root", "user_allow_other", "/etc/fuse.conf")
    assert user.mounted is None


def test_a_mount_point_of_somebody_else(user: User) -> None:
    says(user("mount", "/opt"), 1, "the mount point /opt may not be written by you", "a folder of your own")


def test_the_users_own_configuration_file(user: User, hub: Hub) -> None:
    hub.add_repo("model", "org/a").commit({"config.json": "{}"})
    conf = user.home / "config/weightfs/weightfs.conf"
    conf.parent.mkdir(parents=True)
    conf.write_text(f"[mount]\npoint = ~/models\n[store]\npath = ~/elsewhere\n[hub]\nendpoint = {hub.endpoint}\n")
    done = user("mount", HF_ENDPOINT="")
    assert (done.returncode, done.stderr) == (0, ""), done
    assert user.read(user.mnt / "models/org/a/config.json") == "{}"
    assert (user.home / "elsewhere/hub/models--org--a").is_dir()
    assert not (user.home / "data").exists()
    conf.write_text("[hub]\nendpiont = x\n")
    says(user("status"), 2, f"{conf}:2:", "did you mean 'endpoint'?")


def test_a_client_in_the_same_session(user: User, corners: Corners) -> None:
    python = CLIENTS / "hub-2.4.0/bin/python"
    if not python.exists():
        pytest.skip("client hub-2.4.0 is not installed: tools/install-clients hub-2.4.0")
    if not os.access(os.path.realpath(python), os.X_OK) or (
            os.geteuid() == 0 and user.run(python, "-c", "0").returncode != 0):
        pytest.skip("another user cannot run this client")
    user.mount()
    done = user.run(python, CLIENT_PROGRAMS / "hub_download.py", "corner/cases", "config.json", HF_HOME=user.mnt,
                    HF_HUB_DISABLE_TELEMETRY="1", PYTHONDONTWRITEBYTECODE="1")
    got = json.loads(done.stdout)
    assert "error" not in got, got
    assert got["size"] == len('{"version": 3}')


def test_without_cap_sys_admin_the_daemon_reads(user: User, hub: Hub) -> None:
    """Passthrough is for root: others are served all the same, and `status` says why not natively."""
    content = Synthetic(4 << 20, 11)
    hub.add_repo("model", "org/some").commit({"model.safetensors": content})
    user.mount()
    done = user("pull", "org/some")
    assert done.returncode == 0, done
    sha = user.read(user.mnt / "hub/models--org--some/refs/main")
    path = user.mnt / "hub/models--org--some/snapshots" / sha / "model.safetensors"
    for _ in range(2):
        assert user.run("sha256sum", path).stdout.split()[0] == content.sha256
    mount = json.loads(user("status", "--json").stdout)["mount"]
    assert mount["passthrough"] is False
    kernel = tuple(int(part) for part in os.uname().release.split(".")[:2])
    assert ("CAP_SYS_ADMIN" if kernel >= (6, 9) else "Linux 6.9") in mount["passthrough_reason"]

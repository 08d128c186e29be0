"""What a daemon has given up once it serves, and where its token is: in requests to the hub's own origin alone."""

from __future__ import annotations

import concurrent.futures
import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Weightfs, clean_env
from hub.content import Synthetic
from hub.hub import Hub
from test_lazy import MIB, sha256, wait_for
from test_unprivileged import User, user  # noqa: F401 (fixture)

TOKEN = "hf_ThisIsTheSecretOfTheTests"
# SYS_ADMIN, DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER, CHOWN
KEPT = 1 << 21 | 1 << 1 | 1 << 2 | 1 << 3 | 1 << 0


def lines_of(status: str) -> dict[str, str]:
    return dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)


def confined(pid: int) -> None:
    """Every thread, those of libraries too."""
    looked_at = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            seen = lines_of((task / "status").read_text())
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has just ended
        looked_at += 1
        assert seen["NoNewPrivs"] == "1", seen["Name"]
        assert seen["Seccomp"] == "2", seen["Name"]
        for name in ("CapEff", "CapPrm", "CapInh", "CapAmb"):
            assert int(seen[name], 16) & ~KEPT == 0, (seen["Name"], name, seen[name])
        if seen["Uid"].startswith("0\t"):  # others cannot lower their bounds, and no_new_privs makes them void
            assert int(seen["CapBnd"], 16) & ~KEPT == 0, seen["Name"]
            assert int(seen["CapEff"], 16) & 1 << 21, "passthrough and unmounting need it"
    assert looked_at > 5
    assert re.search(r"^Max core file size +0 +0 ", Path(f"/proc/{pid}/limits").read_text(), re.M)


@pytest.mark.parametrize("offline", [False, True])
def test_what_the_daemon_gives_up(wfs: Weightfs, hub: Hub, offline: bool) -> None:
    content = Synthetic(MIB, 1)
    hub.add_repo("model", "org/a").commit({"config.json": "{}", "model.safetensors": content})
    # by a name, so that the resolver and what it loads run confined too
    wfs.endpoint = hub.endpoint.replace("127.0.0.1", "localhost")
    wfs.start()
    confined(wfs.pid)
    assert sha256(wfs.snapshot("org/a") / "model.safetensors") == content.sha256
    wfs.command("pull", "--state", wfs.state, "org/a")
    if offline:
        wfs.stop()
        wfs.offline()
        confined(wfs.pid)
        assert sha256(wfs.snapshot("org/a") / "model.safetensors") == content.sha256
    filters = lines_of(Path(f"/proc/{wfs.pid}/status").read_text()).get("Seccomp_filters", "?").strip()
    assert int(filters) - int(lines_of(Path("/proc/self/status").read_text())["Seccomp_filters"]) == 1 + offline
    wfs.command("unmount", wfs.mnt)
    assert wfs.process and wfs.process.wait(20) == 0
    wfs.process = None


@pytest.mark.parametrize("how", ["unmount", "signal", "detached"])
def test_an_ordinary_user_is_confined_online_too(user: User, hub: Hub, how: str) -> None:  # noqa: F811
    """fusermount3 needs its setuid bit, which the daemon gave up: its helper unmounts."""
    hub.add_repo("model", "org/a").commit({"config.json": "{}"})
    user.mount()
    pid = user.daemon
    confined(pid)
    assert user.read(user.mnt / "models/org/a/config.json") == "{}"
    helpers = [int(p) for t in Path(f"/proc/{pid}/task").iterdir() for p in (t / "children").read_text().split()]
    holder = None
    if how == "detached":
        holder = subprocess.Popen([*user.prefix, "sh", "-c", f"cd {user.mnt}/models && echo ready && exec sleep 1000"],
                                  stdout=subprocess.PIPE, text=True)
        assert holder.stdout and holder.stdout.readline() == "ready\n"
        assert user("unmount", "--lazy").returncode == 0
        holder.kill()
        holder.wait(10)
    elif how == "unmount":
        assert user("unmount").returncode == 0
    else:
        assert user.run("kill", str(pid)).returncode == 0
    wait_for(lambda: not any(Path(f"/proc/{p}").exists() for p in (pid, *helpers)))
    assert user.mounted is None


# -- the token ---------------------------------------------------------------------------------------------------


class Listener:
    """Another origin: it notes what it is asked, and answers 404."""

    def __init__(self, host: str) -> None:
        self.asked: list[bytes] = []
        self.sock = socket.create_server((host, 0))
        self.port = self.sock.getsockname()[1]
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                peer, _ = self.sock.accept()
            except OSError:
                return
            with peer:
                peer.settimeout(10)
                self.asked.append(peer.recv(1 << 16))
                peer.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


@pytest.fixture
def elsewhere() -> Iterator[list[Listener]]:
    """The hub's host by another port, by another name, and another host."""
    found = [Listener("127.0.0.1"), Listener("127.0.0.1"), Listener("127.0.0.3")]
    yield found
    for listener in found:
        listener.sock.close()


def holds(path: Path, what: bytes) -> bool:
    try:
        return what in path.read_bytes()
    except OSError:
        return False


@pytest.mark.parametrize("source", ["environment", "file"])
def test_where_the_token_goes(wfs: Weightfs, hub: Hub, tmp_path: Path, elsewhere: list[Listener], source: str) -> None:
    repo = hub.add_repo("model", "org/a", private=True)
    repo.commit({"config.json": "{}", "model.safetensors": Synthetic(MIB, 1)}
                | {f"{i}.bin": Synthetic(MIB, 2 + i) for i in range(3)})
    hub.add_token(TOKEN, private=["*"])
    token = tmp_path / "token"
    token.write_text(TOKEN + "\n")
    token.chmod(0o600)
    for i, (listener, name) in enumerate(zip(elsewhere, ("127.0.0.1", "localhost", "127.0.0.3"), strict=True)):
        hub.fault("headers", "resolve", path=f"{i}.bin",
                  set={"Location": f"http://{name}:{listener.port}/file?X-Signature=signed-url-of-{i}"})
    options = ["--log", "all", "--read-deadline", "6"]
    if source == "file":
        wfs.start(*options, "--token-file", str(token))
    else:
        wfs.start(*options, env=clean_env(HF_TOKEN=TOKEN))
    assert (wfs.snapshot("org/a") / "config.json").read_text() == "{}"
    sha256(wfs.snapshot("org/a") / "model.safetensors")

    def read(i: int) -> None:
        with pytest.raises(OSError), (wfs.snapshot("org/a") / f"{i}.bin").open("rb") as f:
            f.read(10)

    with concurrent.futures.ThreadPoolExecutor(3) as pool:  # each waits for its deadline
        list(pool.map(read, range(3)))
    with hub.fault("redirect", "info", location=f"http://127.0.0.1:{elsewhere[0].port}/api"), pytest.raises(OSError):
        os.stat(wfs.repo("org/b"))
    assert hub.log.settle()
    assert any(TOKEN in str(r.headers) for r in hub.log.records()), "the hub itself has it"
    assert hub.log.leaks() == []
    asked = [request for listener in elsewhere for request in listener.asked]
    assert len(asked) >= 3, "each was asked"
    for request in asked:
        assert b"uthorization" not in request and TOKEN.encode() not in request, request

    said = json.dumps(wfs.status()) + wfs.command("status", wfs.mnt).stdout
    said += wfs.command("ls", "--state", wfs.state, "--store", wfs.store).stdout
    said += wfs.command("pull", "--state", wfs.state, "org/none", check=False).stderr
    said += wfs.log.read_text()
    for name in ("environ", "cmdline"):
        said += Path(f"/proc/{wfs.pid}/{name}").read_bytes().decode(errors="replace")
    assert TOKEN not in said
    assert "signed-url-of" not in said
    for path in [*wfs.state.rglob("*"), *wfs.store.rglob("*")]:
        assert not (path.is_file() and not path.is_symlink() and holds(path, TOKEN.encode())), path


def test_a_token_in_memory_is_out_of_reach(user: User, hub: Hub) -> None:  # noqa: F811
    """Not even for processes of the same user: no core, no ptrace, no /proc/PID/mem, environ or fd."""
    hub.add_repo("model", "org/a").commit({"config.json": "{}"})
    hub.add_token(TOKEN)
    user.mount(HF_TOKEN=TOKEN)
    assert user.read(user.mnt / "models/org/a/config.json") == "{}"
    pid = user.daemon
    everyone = [pid, *(int(p) for t in Path(f"/proc/{pid}/task").iterdir() for p in (t / "children").read_text().split())]
    assert len(everyone) == 2, "the daemon, and who unmounts for it"
    for one in everyone:
        for name in ("mem", "environ", "maps", "fd/0"):
            assert user.run("cat", f"/proc/{one}/{name}").returncode != 0, (one, name)
        attach = user.run(sys.executable, "-c", f"import ctypes, sys; c = ctypes.CDLL(None, use_errno=True); "
                                                f"sys.exit(c.ptrace(16, {one}, 0, 0) == 0)")
        assert attach.returncode == 0, "a tracer of the same user"
        assert TOKEN not in Path(f"/proc/{one}/environ").read_text(errors="replace")
    assert user("unmount").returncode == 0


def test_a_token_that_changed_is_wiped(wfs: Weightfs, hub: Hub, tmp_path: Path) -> None:
    """Of the old one nothing stays with us: heap and stack are searched as root can. (libcurl's own buffers are
    those of connections: they are closed.)"""
    if os.geteuid() != 0:
        pytest.skip("needs root to read the daemon's memory")
    hub.add_repo("model", "org/a", private=True).commit({"config.json": "{}"})
    hub.add_token(TOKEN, private=["*"])
    hub.add_token("hf_AnotherOne", private=["*"])
    token = tmp_path / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    wfs.start("--token-file", str(token))
    assert (wfs.snapshot("org/a") / "config.json").read_text() == "{}"
    token.write_text("hf_AnotherOne")
    hub.drop_token(TOKEN)
    with pytest.raises(OSError):
        os.stat(wfs.repo("org/b"))
    wfs.command("offline", "on", wfs.mnt)
    wait_for(lambda: count_in_memory(wfs.pid, TOKEN.encode()) == 0)


def count_in_memory(pid: int, what: bytes) -> int:
    found = 0
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as mem:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            span, mode, _, _, inode, *_ = line.split()
            start, end = (int(part, 16) for part in span.split("-"))
            if mode.startswith("rw") and inode == "0" and end - start < 1 << 28:
                try:
                    mem.seek(start)
                    found += mem.read(end - start).count(what)
                except (OSError, OverflowError):
                    continue
    return found

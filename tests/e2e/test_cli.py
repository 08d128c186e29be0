"""The commands as a person uses them: what they do, what they say, and how they end."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
import time
from pathlib import Path

import pytest
from harness import BINARY, Weightfs, clean_env, mount_device
from hub import models
from hub.content import Synthetic
from hub.hub import Hub
from hub.models import TOKEN_ALL, Corners
from terminal import Terminal, alive, kill, says
from test_lazy import MIB, wait_for

COMMANDS = ["mount", "unmount", "pull", "ls", "verify", "status", "offline", "version", "help"]


@pytest.fixture
def term(wfs: Weightfs, tmp_path: Path) -> Terminal:
    return Terminal(wfs, tmp_path)


@pytest.fixture
def corners(hub: Hub) -> Corners:
    return models.corner_cases(hub)


@pytest.fixture
def slow(hub: Hub) -> Synthetic:
    """org/slow: a small file, and a big one that takes some seconds."""
    content = Synthetic(24 * MIB, 3)
    hub.add_repo("model", "org/slow").commit({"config.json": "{}", "model.safetensors": content})
    hub.fault("bandwidth", on="cdn", rate=1 * MIB)
    return content


def partial_bytes(wfs: Weightfs) -> int:
    """What lies in the store of blobs that are being filled."""
    return sum(p.stat().st_blocks * 512 for p in wfs.store.glob("partial/*/*"))


def mount_options(point: Path) -> str:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        if line.split()[4] == str(point):
            return line
    raise AssertionError(f"{point} is not mounted")


# -- help ---------------------------------------------------------------------------------------


def test_help(term: Terminal) -> None:
    bare = term()
    assert bare.returncode == 2
    assert bare.stderr == term("help").stdout == term("--help").stdout
    for command in COMMANDS:
        assert re.search(rf"^  {command} ", bare.stderr, re.M), command
        text = term("help", command).stdout
        assert text == term(command, "--help").stdout
        assert text.startswith(f"Usage: weightfs {command}")
        assert max(map(len, text.splitlines())) < 80, text
    for section in ("[hub]", "[store]", "[mount]", "[log]"):
        assert section in term("help", "config").stdout
    version = term("version")
    assert re.fullmatch(r"weightfs \d+\.\d+\.\d+\n", version.stdout)
    assert term("--version").stdout == version.stdout


# -- mount and unmount ----------------------------------------------------------------------------


def test_a_mount_in_the_background_is_ready_and_detached(term: Terminal, wfs: Weightfs, hub: Hub) -> None:
    hub.add_repo("model", "org/a").commit({"config.json": "{}"})
    reading, writing = os.pipe()
    done = subprocess.run([BINARY, "mount", *term.store, *term.hub, wfs.mnt], env=term.env(), pass_fds=[writing],
                          capture_output=True, text=True, timeout=30, check=False)
    os.close(writing)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert mount_device(wfs.mnt) is not None
    assert (wfs.snapshot("org/a") / "config.json").read_text() == "{}"
    os.set_blocking(reading, False)  # a BlockingIOError: it keeps a descriptor of the shell's open
    assert os.read(reading, 1) == b""
    os.close(reading)
    pid = term.daemon
    assert os.getsid(pid) == pid
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    done = term("unmount", wfs.mnt)
    assert (done.returncode, done.stderr) == (0, "")
    assert not alive(pid)
    assert term.gone()
    assert os.listdir(wfs.mnt) == []


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_unmounts(wfs: Weightfs, sig: signal.Signals) -> None:
    wfs.start()
    process, wfs.process = wfs.process, None
    process.send_signal(signal.SIGHUP)
    time.sleep(0.2)
    assert os.listdir(wfs.mnt), "it goes on after SIGHUP"
    process.send_signal(sig)
    assert process.wait(10) == 0
    assert mount_device(wfs.mnt) is None
    assert f"ending on {sig.name}" in wfs.log.read_text()


def test_sigterm_while_files_are_open(wfs: Weightfs, hub: Hub) -> None:
    hub.add_repo("model", "org/a").commit({"config.json": "{}"})
    wfs.start()
    with (wfs.snapshot("org/a") / "config.json").open("rb", buffering=0) as held:
        process, wfs.process = wfs.process, None
        process.terminate()
        wait_for(lambda: mount_device(wfs.mnt) is None)
        assert held.read() == b"{}", "who has a file open goes on"
        assert process.poll() is None
    assert process.wait(20) == 0
    assert "is in use and is detached" in wfs.log.read_text()


def test_sigterm_while_a_container_has_the_mount(wfs: Weightfs) -> None:
    """A mount namespace that was made meanwhile has a copy, which the daemon's own unmount does not reach."""
    wfs.start()
    with subprocess.Popen(["unshare", "--mount", "--propagation", "private", "sh", "-c", "echo; exec sleep 100"],
                          stdout=subprocess.PIPE) as other:
        try:
            assert other.stdout.read(1) == b"\n"
            process, wfs.process = wfs.process, None
            began = time.monotonic()
            process.terminate()
            time.sleep(7)
            process.terminate()  # as who is impatient does: it does not begin anew
            assert process.wait(40) == 0
            assert 9 < time.monotonic() - began < 16, "it had its time"
        finally:
            other.kill()
    assert "the mount is still in use, or a container has it" in wfs.log.read_text()


def test_a_second_signal_leaves_what_lies_below_the_mount(wfs: Weightfs, hub: Hub) -> None:
    """The mount point may be one already, of a disk; there may be another mount by now."""
    if os.geteuid() != 0:
        pytest.skip("only root mounts a file system")
    hub.add_repo("model", "org/a").commit({"config.json": "{}"})
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "below", wfs.mnt], check=True, timeout=20)
    try:
        (wfs.mnt / "hub").mkdir()
        wfs.start()
        with (wfs.snapshot("org/a") / "config.json").open("rb", buffering=0):
            process, wfs.process = wfs.process, None
            for _ in range(2):
                process.terminate()
                wait_for(lambda: os.listdir(wfs.mnt) == ["hub"])
                time.sleep(0.5)
            assert os.path.ismount(wfs.mnt)
        assert process.wait(20) == 0
    finally:
        subprocess.run(["umount", "-l", wfs.mnt], check=False, timeout=20)


def test_a_state_folder_knows_its_store(wfs: Weightfs, hub: Hub, tmp_path: Path) -> None:
    """Without a daemon, --state alone must not look at the usual store with this one's catalogue."""
    hub.add_repo("model", "org/a").commit({"config.json": "{}"})
    wfs.start()
    wfs.command("pull", "--state", wfs.state, "org/a")
    wfs.stop()
    env = clean_env(HOME=tmp_path / "home", XDG_DATA_HOME=tmp_path / "home/data")
    (listed,) = json.loads(wfs.command("ls", "--json", "--state", wfs.state, env=env).stdout)["repos"]
    assert (listed["repo"], listed["held"]) == ("models/org/a", listed["size"])
    damaged = next((wfs.stored("org/a") / "blobs").iterdir())
    damaged.write_bytes(b"[]")
    done = wfs.command("verify", "--state", wfs.state, env=env, check=False)
    assert done.returncode == 1 and "models/org/a" in done.stdout, done
    assert not (tmp_path / "home").exists()


def test_unmount_of_a_mount_in_use(term: Terminal, wfs: Weightfs, hub: Hub) -> None:
    hub.add_repo("model", "org/a").commit({"config.json": "{}"})
    term.mount()
    pid = term.daemon
    held = (wfs.snapshot("org/a") / "config.json").open("rb", buffering=0)
    says(term("unmount", wfs.mnt), 1, f"{wfs.mnt} is in use", "fuser -vm", f"weightfs unmount --lazy {wfs.mnt}")
    assert held.read() == b"{}"
    began = time.monotonic()
    done = term("unmount", "--lazy", wfs.mnt)
    assert time.monotonic() - began < 10, "it waits for who still uses the mount"
    assert done.returncode == 0
    assert f"{wfs.mnt} is detached; the daemon (pid {pid}) ends with its last user" in done.stderr
    assert mount_device(wfs.mnt) is None
    held.seek(0)
    assert held.read() == b"{}"
    held.close()
    wait_for(lambda: not alive(pid), 10)


def test_unmount_names_what_is_incomplete(term: Terminal, wfs: Weightfs, slow: Synthetic) -> None:
    term.mount("--complete", "never")
    with (wfs.snapshot("org/slow") / "model.safetensors").open("rb") as f:
        f.read(4096)
    done = term("unmount", wfs.mnt)
    assert done.returncode == 0
    assert re.fullmatch(r"incomplete in the store, and absent while offline:\n"
                        r"  models/org/slow model\.safetensors: [\d.]+ [KM]iB of 24\.0 MiB\n", done.stdout), done


def test_ways_to_name_a_mount(term: Terminal, wfs: Weightfs, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(wfs.mnt)
    ways = [["unmount", "mnt"], ["umount", "./mnt/"], ["unmount", tmp_path / "link"], ["unmount", *term.store],
            ["unmount", "--mount-point", wfs.mnt]]
    for words in ways:
        term.mount()
        done = term(*words, cwd=tmp_path)
        assert done.returncode == 0, (words, done)
        assert term.gone(), words
    says(term("unmount", "mnt", cwd=tmp_path), 1, f"{wfs.mnt} is not a weightfs mount")
    says(term("unmount", *term.store), 1, "no weightfs is mounted whose state folder is", str(wfs.state))


def test_unmount_does_not_guess(term: Terminal, wfs: Weightfs) -> None:
    """The only mount there is may serve others, who would lose it to a command that was cut short."""
    term.mount()
    for words in (["unmount"], ["umount"], ["unmount", "--lazy"]):
        says(term(*words), 1, str(wfs.mnt))
    assert mount_device(wfs.mnt) is not None
    assert os.listdir(wfs.mnt)


def test_a_dead_daemon(term: Terminal, wfs: Weightfs) -> None:
    term.mount()
    kill(term.daemon)
    for words in (["status", wfs.mnt], ["status", *term.store], ["offline", "on", wfs.mnt]):
        says(term(*words), 1, f"the daemon of the mount {wfs.mnt} is gone", f"weightfs unmount {wfs.mnt}")
    assert term("ls", *term.store).returncode == 0, "the store is there without a daemon"
    assert term("verify", *term.store, *term.hub).returncode == 0
    says(term.mount(ok=False), 1, f"{wfs.mnt} is a dead weightfs mount", f"'weightfs unmount {wfs.mnt}' clears it")
    done = term("unmount", wfs.mnt)
    assert done.returncode == 0
    assert done.stderr == f"weightfs: the daemon of {wfs.mnt} was gone; the mount is cleared\n"
    term.mount()
    assert os.listdir(wfs.mnt)


def test_who_has_it_already(term: Terminal, wfs: Weightfs, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    term.mount()
    pid = term.daemon
    says(term("mount", "--store", tmp_path / "elsewhere", wfs.mnt), 1, f"{wfs.mnt} is a weightfs mount already",
         f"pid {pid}", f"weightfs unmount {wfs.mnt}")
    says(term("mount", *term.store, *term.hub, other), 1, f"the process {pid} uses the state folder {wfs.state}",
         "--state", f"weightfs status --state {wfs.state}")
    assert mount_device(other) is None
    assert term.daemon == pid
    assert not (tmp_path / "elsewhere").exists(), "a mount that was refused leaves a store behind"


def test_the_log_says_what_failed_and_why(wfs: Weightfs, hub: Hub) -> None:
    """An errno is all that a program sees: what "Permission denied" was about is for the log to tell."""
    hub.add_repo("model", "org/gated", gated="auto").commit({"model.safetensors": Synthetic(1 << 20, seed=7)})
    wfs.start()
    with pytest.raises(PermissionError):
        (wfs.mnt / "models/org/gated/model.safetensors").read_bytes()
    assert re.search(r"open answered with Permission denied \(asked by pid \d+, uid \d+\): models/org/gated: "
                     r"model\.safetensors: the hub does not give it out: .*token\n", wfs.log.read_text())


def test_a_mount_point_with_files_is_warned_about(term: Terminal, wfs: Weightfs) -> None:
    (wfs.mnt / "here").write_text("mine")
    done = term.mount()
    assert f"warning: {wfs.mnt} is not empty" in done.stderr
    term.unmount()
    assert (wfs.mnt / "here").read_text() == "mine"


def test_owner_and_options_of_the_mount(term: Terminal, wfs: Weightfs) -> None:
    term.mount("--uid", "1000", "--gid", "nogroup", "-o", "ro,allow_other,_netdev,nofail,x-systemd.automount,noatime")
    st = wfs.mnt.stat()
    assert (st.st_uid, st.st_gid) == (1000, 65534)
    line = mount_options(wfs.mnt)
    for word in ("ro,", "nosuid", "nodev", "noatime", "- fuse.weightfs ", "allow_other"):
        assert word in line, line
    assert "_netdev" not in line


def test_strange_folders(term: Terminal, wfs: Weightfs, hub: Hub, tmp_path: Path) -> None:
    """Blanks, commas, other scripts; and a state folder too long for a socket's address."""
    hub.add_repo("model", "org/a").commit({"config.json": "{}"})
    store = tmp_path / "a, b\t日本 \\é" / ("x" * 120)
    escaped = str(store).replace(",", "\\,")
    for options in (["--store", store], ["-o", f"store={escaped}"]):
        done = term("mount", *options, *term.hub, wfs.mnt)
        assert done.returncode == 0, done
        assert (wfs.snapshot("org/a") / "config.json").read_text() == "{}"
        assert json.loads(term("status", "--json", "--store", store).stdout)["store"]["path"] == str(store)
        assert term("unmount", "--store", store).returncode == 0
        assert mount_device(wfs.mnt) is None
    assert len(str(store / "state/control.sock")) > 108
    assert (store / "hub/models--org--a/refs/main").exists()


def test_hf_home_inside_the_mount(term: Terminal, wfs: Weightfs, hub: Hub) -> None:
    """People export HF_HOME=MOUNT for their clients and then start the daemon."""
    hub.add_repo("model", "org/a").commit({"config.json": "{}"})
    done = term.mount(HF_HOME=wfs.mnt, HF_HUB_CACHE=wfs.hub_cache)
    assert re.fullmatch(r"weightfs: warning: the token file \S+/mnt/token lies inside the mount and is not used; "
                        r"say --token-file FILE if private repos are needed\n", done.stderr)
    assert (wfs.snapshot("org/a") / "config.json").read_text() == "{}"
    assert term("status", wfs.mnt, HF_HOME=wfs.mnt).returncode == 0
    assert term("pull", *term.store, "org/a", HF_HOME=wfs.mnt).returncode == 0
    assert term("unmount", wfs.mnt, HF_HOME=wfs.mnt).returncode == 0


def test_the_helper_of_mount8(term: Terminal, wfs: Weightfs, tmp_path: Path) -> None:
    helper = tmp_path / "mount.weightfs"
    helper.symlink_to(BINARY)
    options = f"rw,_netdev,store={wfs.store},state={wfs.state},endpoint={wfs.endpoint}"
    for source in ("weightfs", "none"):
        done = term(source, wfs.mnt, "-o", options, program=helper)
        assert (done.returncode, done.stderr) == (0, ""), done
        term.unmount()
    done = term("none", wfs.mnt, "-f", "-o", options, program=helper)
    assert done.returncode == 0
    assert mount_device(wfs.mnt) is None, "-f is a rehearsal"
    conf = tmp_path / "team.conf"
    conf.write_text(f"[store]\npath = {wfs.store}\nstate = {wfs.state}\n[hub]\nendpoint = {wfs.endpoint}\n")
    assert term(conf, wfs.mnt, program=helper).returncode == 0
    assert term.daemon
    term.unmount()
    assert term(program=helper).returncode == 1
    says(term("nosuch", wfs.mnt, program=helper), 32, "/etc/weightfs/nosuch.conf cannot be read")
    says(term("https://huggingface.co", wfs.mnt, program=helper), 32, "is no source", "-o endpoint=URL")
    says(term("none", tmp_path / "missing", "-o", options, program=helper), 32, "does not exist", "mkdir -p")
    says(term("none", wfs.mnt, "-o", "stroe=/x", program=helper), 32, "did you mean -o store?")


# -- ls and status ----------------------------------------------------------------------------------


@pytest.mark.parametrize("daemon", [False, True])
def test_ls(term: Terminal, wfs: Weightfs, corners: Corners, daemon: bool) -> None:
    if not daemon:
        says(term("ls", *term.store), 1, f"there is no store in {wfs.store}", "--store DIR")
        assert not wfs.store.exists()
    else:
        term.mount()
        assert term("ls", *term.store).stdout.startswith("nothing is known yet; look a repo up")
    term.pull("corner/cases@v1.0")
    term.pull("corner/cases", "--include", "*.json")
    term.pull("datasets/corner/cases@refs/convert/parquet")
    lines = term("ls", *term.store).stdout.splitlines()
    assert lines[0].split() == ["REPO", "REVISION", "FILES", "SIZE", "HELD"]
    assert len({len(line) for line in lines if "%" in line or "HELD" in line}) == 1, "the columns are aligned"
    assert any(re.fullmatch(r"datasets/corner/cases +refs/convert/parquet [0-9a-f]{8} +1 +39\.1 KiB +100%", x)
               for x in lines), lines
    report = json.loads(term("ls", "--json", *term.store).stdout)
    assert {r["repo"] for r in report["repos"]} == {"models/corner/cases", "datasets/corner/cases"}
    files = term("ls", *term.store, "corner/cases").stdout
    assert re.match(rf"models/corner/cases, main at {corners.model.resolve('main').oid}\n", files)
    assert re.search(r"^config\.json +14 B +100%  complete$", files, re.M)
    assert re.search(r"^twin-a\.bin +195 KiB +0%  absent$", files, re.M), files
    by_path = {f["path"]: f for f in json.loads(term("ls", "--json", *term.store, "corner/cases").stdout)["files"]}
    assert by_path["config.json"]["held"] == by_path["config.json"]["size"] == 14
    assert by_path["big.txt"]["held"] == 0
    for name in ("corner/nope", "corner/cases@nope"):
        says(term("ls", *term.store, name), 1, f"models/{name} is not known here", f"weightfs pull models/{name}")


def test_status(term: Terminal, wfs: Weightfs, hub: Hub) -> None:
    nobody = term("status", *term.store)
    says(nobody, 1, f"no daemon runs on the state folder {wfs.state}", "weightfs mount MNT")
    nobody = term("status", "--json", *term.store)
    assert (nobody.returncode, json.loads(nobody.stdout)) == (1, {"running": False, "state": str(wfs.state)})
    term.mount("--lookup-deadline", "2")
    text = term("status", wfs.mnt).stdout
    for line in (rf"mount        {wfs.mnt}", rf"daemon       pid {term.daemon}, version \S+, since .*",
                 rf"hub          {hub.endpoint}", r"network      online since .*",
                 rf"store        {wfs.store}, .* free, .* kept so \(--keep-free\)", r"passthrough  (yes|no: .*)"):
        assert re.search(f"^{line}$", text, re.M), (line, text)
    assert term("status", *term.store).stdout.splitlines()[:2] == text.splitlines()[:2]
    hub.down()
    with pytest.raises(OSError):
        os.stat(wfs.repo("org/x"))
    assert re.search(r"NOT REACHABLE since .*: .*[Cc]onnect", term("status", wfs.mnt).stdout)


def test_status_shows_what_is_filled(term: Terminal, wfs: Weightfs, slow: Synthetic) -> None:
    term.mount("--connections", "2")
    pull = term.popen("pull", *term.store, "org/slow")
    wait_for(lambda: partial_bytes(wfs) > MIB)
    line = r"^  models/org/slow model\.safetensors: [\d.]+ \w+ of 24\.0 MiB \(\d+%\), [12] transfers"
    wait_for(lambda: re.search(line, term("status", wfs.mnt).stdout, re.M))  # none for a moment between two ranges
    pull.kill()
    pull.communicate(timeout=10)


# -- offline -----------------------------------------------------------------------------------------


def test_offline_on_and_off(term: Terminal, wfs: Weightfs, slow: Synthetic) -> None:
    term.mount("--complete", "never")
    with (wfs.snapshot("org/slow") / "model.safetensors").open("rb") as f:
        f.read(4096)
    done = term("offline", "on", wfs.mnt)
    assert done.returncode == 0
    assert done.stdout.startswith("offline: no connection to the hub is open\nincomplete in the store")
    assert "models/org/slow model.safetensors:" in done.stdout
    assert re.search(r"^network      offline since ", term("status", wfs.mnt).stdout, re.M)
    says(term.pull("org/never"), 1, "weightfs is offline", "models/org/never", "weightfs offline off")
    assert term("offline", "off", wfs.mnt).stdout == "online\n"
    says(term("offline", "--now", "off", wfs.mnt), 2, "--now belongs to 'offline on'")


def test_offline_now_does_not_wait(term: Terminal, wfs: Weightfs, hub: Hub) -> None:
    content = Synthetic(8 * MIB, 4)
    hub.add_repo("model", "org/a").commit({"model.safetensors": content})
    term.mount("--complete", "never")
    path = wfs.snapshot("org/a") / "model.safetensors"
    stall = hub.fault("stall", on="cdn", at=0)
    reader = subprocess.Popen([sys.executable, "-c",
                               "import sys, hashlib; f = open(sys.argv[1], 'rb'); "
                               "print(hashlib.file_digest(f, 'sha256').hexdigest())", path],
                              stdout=subprocess.PIPE, text=True)
    try:
        wait_for(lambda: wfs.status()["hub"]["waiting_reads"] > 0)
        waiting = term.popen("offline", "on", wfs.mnt)
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(1.5)  # what is being read is completed first
        done = term("offline", "on", "--now", wfs.mnt, timeout=20)
        assert done.returncode == 0, done
        waiting.communicate(timeout=20)
        time.sleep(0.3)
        assert reader.poll() is None, "the read waits"
        stall.remove()
        assert term("offline", "off", wfs.mnt).returncode == 0
        assert reader.communicate(timeout=40)[0].strip() == content.sha256
    finally:
        reader.kill()
        reader.wait(10)


# -- configuration, environment, precedence ---------------------------------------------------------------


def test_the_configuration_file(term: Terminal, wfs: Weightfs, hub: Hub, tmp_path: Path) -> None:
    hub.add_repo("model", "org/a").commit({"config.json": "{}"})
    conf = tmp_path / "weightfs.conf"
    conf.write_text(f"# a comment\n[store]\npath = {wfs.store}\nstate = {wfs.state}\n"
                    f"[hub]\nendpoint = {hub.endpoint}/\n"
                    f"deny = secret/*\n  other/*\n[mount]\npoint = {wfs.mnt}\nuid = 1000\ndeclare = org/a\n")
    assert term("mount", "--config", conf).returncode == 0
    assert wfs.mnt.stat().st_uid == 1000
    assert "models--org--a" in os.listdir(wfs.hub_cache)
    for words in (["status"], ["ls"], ["offline", "on"], ["offline", "off"], ["pull", "org/a"]):
        assert term(*words, "--config", conf).returncode == 0, words
    for repo in ("secret/x", "other/x"):
        assert "forbidden by the allow and deny settings" in term("pull", "--config", conf, repo).stderr
    assert term("unmount", "--config", conf).returncode == 0
    assert term.gone()


def test_who_wins(term: Terminal, wfs: Weightfs, hub: Hub, tmp_path: Path) -> None:
    """The command line, then the environment, then the file."""
    hub.add_repo("model", "org/a").commit({"config.json": "{}"})
    conf = tmp_path / "weightfs.conf"
    conf.write_text("[hub]\nendpoint = http://127.0.0.1:9\noffline = no\nallow = nobody/*\n")
    pull = ["pull", *term.store, "--config", conf, "org/a"]
    says(term(*pull), 1, "forbidden by the allow")
    says(term(*pull, "--allow", "org/*", "--lookup-deadline", "1"), 1, "http://127.0.0.1:9 does not answer")
    says(term(*pull, "--allow", "org/*", HF_HUB_OFFLINE="yes"), 1, "weightfs is offline")
    done = term(*pull, "--allow", "org/*", "--online", HF_HUB_OFFLINE="yes", HF_ENDPOINT=hub.endpoint)
    assert done.returncode == 0, done
    done = term(*pull, "--allow", "org/*", "--endpoint", hub.endpoint, HF_ENDPOINT="http://127.0.0.1:9")
    assert done.returncode == 0, done
    usual = term.home / "xdg/weightfs"
    if os.geteuid() != 0:  # root's file is below /etc
        usual.mkdir(parents=True)
        shutil.copy(conf, usual / "weightfs.conf")
        says(term(*pull[:5], *pull[7:], XDG_CONFIG_HOME=usual.parent), 1, "forbidden by the allow")


def test_tokens(term: Terminal, wfs: Weightfs, corners: Corners, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(f" {TOKEN_ALL}\n")
    token.chmod(0o600)
    (tmp_path / "hf").mkdir()
    shutil.copy(token, tmp_path / "hf/token")
    refused = term.pull("corner/private")
    says(refused, 1, "does not know models/corner/private", "HF_TOKEN or --token-file")
    for options, env in (([], {"HF_TOKEN": TOKEN_ALL}), ([], {"HF_HOME": tmp_path / "hf"}),
                         ([], {"HF_TOKEN_PATH": token}), (["--token-file", token], {"HF_TOKEN_PATH": "/nonexistent"})):
        shutil.rmtree(wfs.store, ignore_errors=True)
        shutil.rmtree(wfs.state, ignore_errors=True)
        done = term.pull("corner/private", *options, **env)
        assert (done.returncode, "warning" in done.stderr) == (0, False), (options, env, done)
        assert TOKEN_ALL not in done.stdout + done.stderr


def test_a_pull_by_a_daemon_names_what_did_not_count(term: Terminal, corners: Corners) -> None:
    """The sentence asks for a token: who gave one must not go round in circles."""
    term.mount()
    says(term("pull", *term.store, "corner/private", HF_TOKEN=TOKEN_ALL), 1, "HF_TOKEN or --token-file",
         f"The daemon (pid {term.daemon}) works with its own settings; not used: HF_TOKEN. 'weightfs mount'")
    says(term("pull", *term.store, "--token-file", "/none", "corner/private"), 1, "not used: --token-file. ")
    assert "not used" not in says(term.pull("--keep-free", "0", "corner/private"), 1, "does not know"), "of no use here"


def test_a_token_is_not_left_about(term: Terminal, wfs: Weightfs, corners: Corners) -> None:
    term.mount("-v", HF_TOKEN=TOKEN_ALL)
    assert (wfs.snapshot("corner/private") / "config.json").read_text() == "{}"
    pid = term.daemon
    try:
        assert TOKEN_ALL.encode() not in Path(f"/proc/{pid}/environ").read_bytes()
    except PermissionError:
        pass  # not dumpable: nobody but root can look
    assert TOKEN_ALL.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
    for file in [p for p in wfs.state.rglob("*") if p.is_file()]:
        assert TOKEN_ALL.encode() not in file.read_bytes(), file


def test_a_token_file_that_is_odd(term: Terminal, wfs: Weightfs, corners: Corners, tmp_path: Path) -> None:
    token = tmp_path / "token"
    done = term.mount("--token-file", token)
    assert done.stderr == f"weightfs: warning: the token file {token} does not exist; it is used once it does\n"
    token.write_text(TOKEN_ALL)
    token.chmod(0o600)
    wait_for(lambda: _readable(wfs.repo("corner/private")), 40)
    term.unmount()
    token.chmod(0o644)
    warning = f"weightfs: warning: others can read the token file {token}; chmod 600 keeps it private\n"
    assert term.mount("--token-file", token).stderr == warning
    term.unmount()
    assert term.pull("--token-file", token, "corner/private").stderr.startswith(warning)
    token.write_text("two words")
    for command in (["mount", *term.store, wfs.mnt], ["pull", *term.store, "corner/private"]):
        says(term(*command, *term.hub, "--token-file", token), 1, f"{token} is not a token")


def _readable(path: Path) -> bool:
    try:
        os.stat(path)
    except OSError:
        return False
    return True


def test_a_token_over_plain_http(term: Terminal, wfs: Weightfs) -> None:
    pull = ["pull", *term.store, "--endpoint", "http://hub.invalid", "--lookup-deadline", "1", "org/a"]
    says(term(*pull, HF_TOKEN="hf_x"), 1, "plain http to hub.invalid", "https", "--insecure-token")
    says(term(*pull), 1, "http://hub.invalid does not answer")  # without a token there is nothing to protect
    says(term(*pull, "--insecure-token", HF_TOKEN="hf_x"), 1, "http://hub.invalid does not answer")


# -- hubs of other kinds -----------------------------------------------------------------------------------


def test_https_with_a_certificate_of_ones_own(term: Terminal, tmp_path: Path) -> None:
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                    "-keyout", key, "-out", cert, "-days", "2", "-subj", "/CN=hub", "-addext",
                    "subjectAltName=IP:127.0.0.1,IP:127.0.0.2"], check=True, capture_output=True)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(cert, key)
    with Hub(tls=tls, prefix="/mirror/hf") as hub:
        hub.add_repo("model", "org/a").commit({"config.json": "{}", "model.safetensors": Synthetic(MIB, 1)})
        pull = ["pull", *term.store, "--endpoint", hub.endpoint, "org/a"]
        assert "certificate" in says(term(*pull, "--lookup-deadline", "2"), 1, f"{hub.endpoint} does not answer")
        assert term(*pull, SSL_CERT_FILE=cert).returncode == 0
        shutil.rmtree(term.wfs.store)
        assert term(*pull, "--ca-file", cert, HF_TOKEN="hf_x").returncode == 0
        says(term(*pull, SSL_CERT_FILE="/nonexistent"), 1, "the CA file /nonexistent cannot be read",
             "unset SSL_CERT_FILE")

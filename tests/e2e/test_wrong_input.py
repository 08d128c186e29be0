"""Wrong input of every kind: the error names the thing and the remedy, and nothing is lost."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import BINARY, Weightfs
from hub.content import Synthetic
from hub.hub import Hub
from hub.models import TOKEN_NONE, Corners
from terminal import Terminal, alive, says
from test_cli import corners, partial_bytes, term  # noqa: F401 (fixtures)
from test_lazy import MIB, sha256, wait_for

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount things and to become others")


# -- the command line ----------------------------------------------------------------------------------

LINES = [
    ("muont", ["there is no command 'muont'; did you mean 'mount'?"]),
    ("frobnicate", ["no command 'frobnicate'", "weightfs help"]),
    ("help frob", ["no command 'frob'", "weightfs help"]),
    ("version 3", ["version takes no '3'", "weightfs help version"]),
    ("mount", ["name a mount point", "[mount] point"]),
    ("mount /a /b", ["one mount point, not also '/b'"]),
    ("mount --stroe /x /m", ["--stroe is not an option; did you mean --store?"]),
    ("mount --frob /m", ["--frob is not an option; see 'weightfs help mount'"]),
    ("mount -q /m", ["-q is not an option"]),
    ("mount --store", ["--store needs a value: DIR"]),
    ("mount --store= /m", ["--store needs a path"]),
    ("mount --include x /m", ["--include is not an option of 'weightfs mount'"]),
    ("mount --token hf_x /m", ["--token:", "ps(1)", "HF_TOKEN", "--token-file"]),
    ("mount -o token=hf_x /m", ["-o token:", "HF_TOKEN"]),
    ("mount -o rw /m", ["-o rw", "read-only"]),
    ("mount -o stroe=/x /m", ["-o stroe is not an option; did you mean -o store?"]),
    ("mount -o uid /m", ["-o uid needs a value: USER"]),
    ("mount --uid nobody-here /m", ["--uid: there is no user 'nobody-here'"]),
    ("mount --gid nobody-here /m", ["--gid: there is no group 'nobody-here'"]),
    ("mount --uid -5 /m", ["--uid: there is no user '-5'"]),
    ("mount --connections many /m", ["--connections: 'many' is not a number from 1 to"]),
    ("mount --connections 0 /m", ["--connections: '0' is not a number from 1 to"]),
    ("mount --read-deadline 99999999999999999999 /m", ["--read-deadline: '99999999999999999999' is not a number"]),
    ("mount --complete all /m", ["--complete: 'all' is none of touched, read, never"]),
    ("mount --offline=maybe /m", ["--offline: 'maybe' is neither yes nor no"]),
    ("mount --declare ../x /m", ["--declare: '../x' is not a repo; write Org/Name"]),
    ("mount --endpoint ftp://x /m", ["--endpoint: 'ftp://x' is not a URL; write https://HOST"]),
    ("mount --endpoint huggingface.co /m", ["--endpoint: 'huggingface.co' is not a URL"]),
    ("mount --endpoint http:// /m", ["--endpoint: 'http://' is not a URL"]),
    ("mount --endpoint https://user:secret@hub /m", ["--endpoint: the URL of a hub has no user"]),
    ("mount --endpoint https://hub/?x=1 /m", ["--endpoint: the URL of a hub has no user, query"]),
    ("pull", ["name a repo", "weightfs help pull"]),
    ("pull a/b c/d", ["one repo at a time"]),
    ("pull --include= a/b", ["--include needs a glob such as '*.safetensors'"]),
    ("pull --jsn a/b", ["--jsn is not an option"]),
    ("ls a/b c/d", ["one repo at a time"]),
    ("status /a /b", ["one mount point, not also '/b'"]),
    ("unmount /a /b", ["one mount point, not also '/b'"]),
    ("offline", ["write 'weightfs offline on' or 'weightfs offline off'"]),
    ("offline of", ["write 'weightfs offline on' or 'weightfs offline off'"]),
]


@pytest.mark.parametrize("line,parts", LINES, ids=[line for line, _ in LINES])
def test_a_wrong_command_line(term: Terminal, line: str, parts: list[str]) -> None:  # noqa: F811
    assert "secret" not in says(term(*line.split(" ")), 2, *parts)


@pytest.mark.parametrize("repo", ["..", "../x", "a/..", "a/../b", "/etc/passwd", "a//b", "a/b/c/d", "a b", "", "a/b@",
                                  "x" * 300, "a/" + "x" * 300, "a/b@" + "x" * 300, "a/b@../x", "a/b\n", "é/ü",
                                  "https://huggingface.co/a/b", "models/", "datasets/", "@main", ".hidden/x"])
def test_what_is_no_repo(term: Terminal, wfs: Weightfs, repo: str) -> None:  # noqa: F811
    for command in ("pull", "ls"):
        if command == "ls" and repo == "":
            continue  # as if nothing were said
        done = term(command, *term.store, repo)
        assert done.returncode == 2, done
        assert "is not a repo; write Org/Name, datasets/Org/Name or spaces/Org/Name" in done.stderr
    assert not wfs.store.exists()


CONFIG = [
    ("[hub]\nendpiont = http://x\n", 2, ["no key 'endpiont' in section [hub]; did you mean 'endpoint'?"]),
    ("[hub]\nfrobnication = 1\n", 2, ["no key 'frobnication'", "weightfs.conf(5)"]),
    ("\n[hbu]\nendpoint = http://x\n", 3, ["no section [hbu]; did you mean [hub]?"]),
    ("endpoint = http://x\n", 1, ["'endpoint' stands before any section; write [hub] above it"]),
    ("[store]\nendpoint = http://x\n", 2, ["'endpoint' belongs in section [hub]"]),
    ("[hub]\nendpoint = x\n", 2, ["endpoint: 'x' is not a URL; write https://HOST"]),
    ("[hub]\ntoken = hf_secret\n", 2, ["a token does not belong in this file", "mode 0600", "token_file"]),
    ("[store]\npath = relative\n", 2, ["path: 'relative' is not an absolute path"]),
    ("[hub]\noffline = maybe\n", 2, ["offline: 'maybe' is neither yes nor no"]),
    ("[hub]\nconnections = -1\n", 2, ["connections: '-1' is not a number from 1"]),
    ("[mount]\ndeclare = a/b ../c\n", 2, ["declare: '../c' is not a repo"]),
    ("[hub\nendpoint = http://x\n", 1, ["the ']' of the section is missing"]),
    ("[hub]\njunk\n", 2, ["neither a [section] nor key = value"]),
    ("[hub]\n\x00\x01\x02", 2, ["this is no text"]),
    ("[hub]\nallow = " + "x" * 300 + "\n", 2, ["the line is longer than 198 bytes"]),
]


@pytest.mark.parametrize("text,line,parts", CONFIG)
def test_a_wrong_configuration_file(term: Terminal, wfs: Weightfs, tmp_path: Path, text: str, line: int,  # noqa: F811
                                    parts: list[str]) -> None:
    conf = tmp_path / "weightfs.conf"
    conf.write_text(text)
    for command in (["mount", *term.store, wfs.mnt], ["ls", *term.store], ["status", *term.store]):
        assert "hf_secret" not in says(term(*command, "--config", conf), 2, f"weightfs: {conf}:{line}: ", *parts)
    says(term("mount", "--config", tmp_path / "nothing.conf", wfs.mnt), 2, f"{tmp_path}/nothing.conf cannot be read")
    says(term("mount", "--config", tmp_path, wfs.mnt), 2, f"{tmp_path} is a directory")
    assert term.gone()


def test_a_bad_value_in_the_environment(term: Terminal, wfs: Weightfs) -> None:  # noqa: F811
    says(term("mount", *term.store, wfs.mnt, HF_ENDPOINT="hub.local"), 2, "HF_ENDPOINT: 'hub.local' is not a URL")
    assert term("ls", *term.store, HF_ENDPOINT="hub.local").stderr.startswith("weightfs: there is no store in"), \
        "a variable that does not concern the command stops it"


# -- mount points, stores and what lies inside --------------------------------------------------------------


def test_bad_mount_points(term: Terminal, wfs: Weightfs, tmp_path: Path) -> None:  # noqa: F811
    missing, file, link = tmp_path / "missing", tmp_path / "file", tmp_path / "link"
    file.write_text("")
    link.symlink_to("nowhere")
    mount = ["mount", *term.store, *term.hub]
    says(term(*mount, missing), 1, f"the mount point {missing} does not exist; create it: mkdir -p {missing}")
    says(term(*mount, file), 1, f"the mount point {file} is not a directory")
    says(term(*mount, link), 1, "the mount point", "nowhere does not exist; create it")
    says(term(*mount, tmp_path / ("x" * 300)), 1, "the mount point", "File name too long")
    for folder in (wfs.store / "hub", wfs.store / "partial/x", wfs.state / "x"):
        folder.mkdir(parents=True)
        says(term(*mount, folder), 1, f"the mount point {folder} lies inside the st", "mount somewhere else")
    assert term.gone()


def test_what_would_lie_inside_the_mount(term: Terminal, wfs: Weightfs, tmp_path: Path) -> None:  # noqa: F811
    inside = wfs.mnt / "sub"
    (tmp_path / "way").symlink_to(wfs.mnt)
    wait = "so the daemon would wait for itself"
    elsewhere = ["--store", tmp_path / "s"]
    for path in (inside, tmp_path / "way/sub", f"{tmp_path}/./mnt//sub"):
        says(term("mount", "--store", path, wfs.mnt), 1, f"the store {inside} lies inside the mount point {wfs.mnt}",
             wait, "--store DIR elsewhere")
        says(term("mount", *elsewhere, "--state", path, wfs.mnt), 1, f"the state folder {inside} lies inside", wait)
        says(term("mount", *elsewhere, "--token-file", path, wfs.mnt), 1, f"the token file {inside} lies inside",
             "--token-file FILE elsewhere")
        says(term("mount", *elsewhere, wfs.mnt, HF_TOKEN_PATH=path), 1, f"the token file {inside} lies inside",
             "unset HF_TOKEN_PATH")
    inside.write_text("")
    says(term("mount", *elsewhere, "--ca-file", inside, wfs.mnt), 1, f"the CA file {inside} lies inside", wait)
    says(term("mount", *elsewhere, "--config", inside, wfs.mnt), 1, f"configuration file {inside} lies inside", wait)
    assert term.gone()
    assert not (tmp_path / "s").exists()


def test_a_store_that_is_no_folder(term: Terminal, wfs: Weightfs) -> None:  # noqa: F811
    wfs.store.write_text("precious")
    for command in (["mount", "--store", wfs.store, wfs.mnt], ["pull", "--store", wfs.store, "a/b"]):
        says(term(*command, *term.hub), 1, f"the store {wfs.store} is not a folder", "--store DIR")
    assert wfs.store.read_text() == "precious"


@needs_root
def test_a_store_of_somebody_else(term: Terminal, wfs: Weightfs, corners: Corners,  # noqa: F811
                                  tmp_path: Path) -> None:
    assert term("pull", "--store", wfs.store, *term.hub, "tiny-canonical").returncode == 0
    mine = tmp_path / "mine"
    mine.mkdir()
    os.chown(mine, 1000, 1000)
    says(term("mount", "--store", wfs.store, *term.hub, mine, user=1000), 1,
         f"the store {wfs.store} cannot be written", "Permission denied", "--store")
    says(term("pull", "--store", wfs.store, "--state", mine / "st", *term.hub, "corner/cases", user=1000), 1,
         f"cannot write to {wfs.store}", "choose another --store")
    assert term("mount", "--store", wfs.store, *term.hub, wfs.mnt).returncode == 0
    for command in (["status", wfs.mnt], ["unmount", wfs.mnt], ["offline", "on", wfs.mnt],
                    ["pull", "--store", wfs.store, "a/b"], ["ls", "--store", wfs.store]):
        says(term(*command, user=1000), 1, f"the state folder {wfs.store}/state belongs to another user",
             "as that user or as root", "--store")


@needs_root
def test_a_store_on_a_read_only_disk(term: Terminal, wfs: Weightfs, corners: Corners, hub: Hub,  # noqa: F811
                                     tmp_path: Path) -> None:
    assert term("pull", "--store", wfs.store, *term.hub, "tiny-canonical").returncode == 0
    bound = tmp_path / "bound"
    bound.mkdir()
    subprocess.run(["mount", "--bind", wfs.store, bound], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", bound], check=True)
        says(term("pull", "--store", bound, *term.hub, "corner/cases"), 1, f"the store {bound} cannot be written",
             "Read-only file system", "use another with --store")
        says(term("mount", "--store", bound, *term.hub, wfs.mnt), 1, f"the store {bound} cannot be written",
             "--read-only-store")
        says(term("mount", "--store", bound, "--state", tmp_path / "st", *term.hub, wfs.mnt), 1, str(bound),
             "is on a read-only file system", "mount with --read-only-store")
        done = term("mount", "--store", bound, "--state", tmp_path / "st", "--read-only-store", wfs.mnt)
        assert done.returncode == 0, done
        hub.down()
        assert sha256(wfs.snapshot("tiny-canonical") / "model.safetensors")
        assert "(read-only)" in term("status", wfs.mnt).stdout
        term.unmount()
    finally:
        wfs.clean_up()
        subprocess.run(["umount", "-l", bound], check=True)


@needs_root
def test_no_fuse(term: Terminal, wfs: Weightfs) -> None:  # noqa: F811
    script = 'mount -t tmpfs none /dev && mknod -m 666 /dev/null c 1 3 && exec "$@"'
    done = subprocess.run(["unshare", "-m", "sh", "-c", script, "sh", BINARY, "mount", *term.store, *term.hub, wfs.mnt],
                          capture_output=True, text=True, timeout=30, env=term.env(), check=False)
    says(done, 1, "/dev/fuse is not there", "modprobe fuse", "--device /dev/fuse")


@needs_root
def test_fuse_that_is_not_for_all(term: Terminal, wfs: Weightfs, tmp_path: Path) -> None:  # noqa: F811
    tmp_path.chmod(0o777)
    wfs.mnt.chmod(0o777)
    script = ('mount -t tmpfs none /dev && mknod -m 666 /dev/null c 1 3 && mknod -m 600 /dev/fuse c 10 229 && '
              'exec setpriv --reuid=1000 --regid=1000 --clear-groups -- "$@"')
    done = subprocess.run(["unshare", "-m", "sh", "-c", script, "sh", BINARY, "mount", "--store", tmp_path / "s",
                           *term.hub, wfs.mnt],
                          capture_output=True, text=True, timeout=30, env=term.env(), check=False)
    says(done, 1, "/dev/fuse may not be used: Permission denied", "chmod 666 /dev/fuse", "as root")


# -- a full disk ------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(wfs: Weightfs) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small file system")
    wfs.store.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "small", wfs.store], check=True)
    yield wfs.store
    wfs.clean_up()
    subprocess.run(["umount", "-l", wfs.store], check=True)


def test_a_disk_that_is_full_at_the_start(term: Terminal, wfs: Weightfs, hub: Hub, small_disk: Path,  # noqa: F811
                                          tmp_path: Path) -> None:
    """What is held can be served all the same, from a state folder that has space."""
    hub.add_repo("model", "org/a").commit({"config.json": "{}"})
    assert term.pull("org/a").returncode == 0
    with pytest.raises(OSError, match="No space"), (small_disk / "ballast").open("wb", buffering=0) as f:
        while f.write(bytes(4096)):
            pass
    store = ["--store", wfs.store]
    for words in (["mount", *store, *term.hub, wfs.mnt], ["ls", *store]):
        says(term(*words), 1, "no space is left for the catalogue", "free some", "--state")
    assert term("mount", *store, *term.hub, "--state", tmp_path / "roomy", wfs.mnt).returncode == 0
    assert (wfs.snapshot("org/a") / "config.json").read_text() == "{}"
    term("unmount", wfs.mnt)


def test_too_large_for_the_disk(term: Terminal, wfs: Weightfs, hub: Hub, small_disk: Path) -> None:  # noqa: F811
    hub.add_repo("model", "org/big").commit({"a.bin": Synthetic(64 * MIB, 1), "config.json": "{}"})
    says(term.pull("org/big"), 1, "models/org/big needs 64.0 MiB more", str(small_disk), "free some", "--include",
         "--store")
    assert hub.log.content_bytes() == 0
    assert term.pull("org/big", "--include", "*.json").returncode == 0


@pytest.mark.parametrize("keep, said", [
    ("0", "no space is left in the store {}; free some, or use another with --store"),
    ("5%", "the store {} has no more free than --keep-free keeps; free some, keep less, or use another with --store"),
])
@pytest.mark.parametrize("daemon", [False, True])
def test_a_disk_that_fills_up(term: Terminal, wfs: Weightfs, hub: Hub, small_disk: Path,  # noqa: F811
                              daemon: bool, keep: str, said: str) -> None:
    content = Synthetic(16 * MIB, 1)
    hub.add_repo("model", "org/a").commit({"config.json": "{}", "model.safetensors": content})
    fault = hub.fault("bandwidth", on="cdn", rate=2 * MIB)
    settings = ["--connections", "2", "--keep-free", keep]
    if daemon:
        term.mount(*settings)
    process = term.popen("pull", *term.store, *term.hub, *([] if daemon else settings), "org/a")
    wait_for(lambda: partial_bytes(wfs) > 2 * MIB)
    ballast = small_disk / "ballast"
    with ballast.open("wb") as f:
        try:
            while f.write(b"x" * MIB):
                f.flush()
                if os.statvfs(small_disk).f_bavail * 4096 < 2 * MIB:
                    break
        except OSError:
            pass
    _, err = process.communicate(timeout=40)
    assert process.returncode == 1
    assert re.search(rf"^weightfs: 1 of 2 files are complete.*: models/org/a: model\.safetensors: "
                     rf"{said.format(small_disk)}; what arrived is kept\n\Z", err, re.M), err
    kept = partial_bytes(wfs)
    assert kept > 2 * MIB
    ballast.unlink()
    fault.remove()
    hub.log.reset()
    done = term.pull("org/a")
    assert done.returncode == 0, done
    assert sha256(wfs.stored("org/a") / "blobs" / content.sha256) == content.sha256
    assert hub.log.content_bytes(path="model.safetensors") < content.size - MIB, "what had arrived came again"


# -- what the hub says ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("daemon", [False, True])
def test_what_the_hub_does_not_give(term: Terminal, wfs: Weightfs, corners: Corners, hub: Hub,  # noqa: F811
                                    daemon: bool) -> None:
    deny = ["--deny", "evil/*"]
    if daemon:
        term.mount(*deny)
    at = f"the hub at {hub.endpoint}"
    never = "a" * 40
    for repo, parts in (
        ("corner/nope", [f"{at} does not know models/corner/nope; check the name", "HF_TOKEN or --token-file"]),
        ("corner/private", [f"{at} does not know models/corner/private", "a private repo needs a token"]),
        ("datasets/corner/nope", ["does not know datasets/corner/nope"]),
        ("corner/cases@nope", ["models/corner/cases@nope: the repo is there, the revision is not"]),
        (f"corner/cases@{never}", [f"models/corner/cases@{never}: the repo is there, the revision is not"]),
        ("corner/disabled", [f"{at} does not give out models/corner/disabled", "gated, private or disabled"]),
        ("evil/x", ["models/evil/x is forbidden by the allow and deny settings", "--deny", "configuration file"]),
    ):
        says(term.pull(repo, *([] if daemon else deny)), 1, *parts)
    gated = term.pull("corner/gated")
    assert gated.returncode == 1
    assert gated.stderr.count("gated, private or disabled") == 1, "it is said once, not for every file"
    assert re.search(r"^weightfs: 0 of 2 files are complete; the first that failed: the hub at .* does not give out "
                     r"models/corner/gated: \S+: .*; accept its terms on its page and give a token: HF_TOKEN "
                     r"or --token-file\n\Z", gated.stderr, re.M), gated.stderr
    if not daemon:
        refused = term.pull("corner/gated", HF_TOKEN=TOKEN_NONE)
        assert "check the token, whose owner must have accepted the terms" in refused.stderr


def test_a_hub_that_is_not_there(term: Terminal, wfs: Weightfs, hub: Hub) -> None:  # noqa: F811
    hub.down()
    parts = ["models/org/a: the hub at " + hub.endpoint + " does not answer", "onnect", "--endpoint", "try again later"]
    quick = ["--lookup-deadline", "1"]
    says(term.pull(*quick, "org/a"), 1, *parts)
    says(term("pull", *term.store, "--endpoint", "http://no-such-host.invalid", *quick, "org/a"), 1,
         "http://no-such-host.invalid does not answer", "resolve host")
    says(term.pull("--offline", "org/a"), 1, "weightfs is offline", str(wfs.store), "models/org/a", "--online")
    term.mount(*quick)
    says(term.pull("org/a"), 1, *parts)


@pytest.mark.parametrize("mode", ["malformed", "truncated", "empty", "html", "deep"])
def test_an_answer_that_makes_no_sense(term: Terminal, wfs: Weightfs, hub: Hub, mode: str) -> None:  # noqa: F811
    hub.add_repo("model", "org/a").commit({"config.json": "{}"})
    fault = hub.fault("json", on="api", mode=mode)
    done = term.pull("org/a")
    assert done.returncode == 1
    assert done.stderr.endswith(f"weightfs: models/org/a: {hub.endpoint} does not answer as a hub should; check "
                                "--endpoint, or try again later\n"), done.stderr
    fault.remove()
    assert term.pull("org/a").returncode == 0


def test_bytes_that_do_not_fit_their_hash(term: Terminal, wfs: Weightfs, hub: Hub) -> None:  # noqa: F811
    bad = Synthetic(MIB, 1)
    hub.add_repo("model", "org/a").commit({"config.json": "{}", "bad.bin": bad, "good.bin": Synthetic(MIB, 2)})
    fault = hub.fault("corrupt", on="content", path="bad.bin", at=1000)
    done = term.pull("org/a")
    assert done.returncode == 1
    assert re.search(r"^failed  models/org/a: bad\.bin: .*twice did not fit their hash", done.stderr, re.M), done.stderr
    assert f"{wfs.store}/quarantine" in done.stderr
    assert "2 of 3 files are complete" in done.stderr, "the others go on"
    term.mount()
    status = term("status", wfs.mnt).stdout
    assert re.search(r"^quarantined .*'weightfs pull REPO' tries again\)\n  models/org/a bad\.bin: 1\.0 MiB$", status,
                     re.M), status
    assert term.pull("org/a").returncode == 1, "it is wrong again"
    fault.remove()
    assert term.pull("org/a").returncode == 0
    assert "quarantined" not in term("status", wfs.mnt).stdout
    assert (wfs.snapshot("org/a") / "bad.bin").stat().st_size == MIB
    assert sha256(wfs.snapshot("org/a") / "bad.bin") == bad.sha256


# -- what comes through the mount, and through the socket ------------------------------------------------------------


def test_names_below_the_mount(term: Terminal, wfs: Weightfs, corners: Corners, hub: Hub) -> None:  # noqa: F811
    term.mount()
    snapshot = wfs.snapshot("corner/cases")
    assert (snapshot / "config.json").exists()
    asked = hub.log.count()
    for name in ("x" * 300, "models--" + "x" * 300, "models--..--x", "models--a--..", "models--a--b--c--d", "models--",
                 "models----", "datasets--é--b", "models--a--b\n", "models--a b--c", "-", "..."):
        with pytest.raises(OSError):
            os.stat(wfs.hub_cache / name)
    for name in ("x" * 300, "nested/" + "y" * 300, "x\n", "\udcff"):
        with pytest.raises(OSError):
            os.stat(snapshot / name)
    with pytest.raises(ValueError, match="null (byte|character)"):
        os.stat(f"{snapshot}/a\0b")
    assert os.path.samefile(f"{snapshot}/..", snapshot.parent)
    assert os.path.samefile(f"{wfs.mnt}/..", wfs.mnt.parent)
    assert hub.log.count() == asked, "the hub was asked for what cannot be"
    assert term("status", wfs.mnt).returncode == 0


def ask(wfs: Weightfs, data: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(10)
        os.chdir(wfs.state)  # the whole path may be too long for an address
        s.connect("control.sock")
        os.chdir("/")
        try:
            s.sendall(data)
            s.shutdown(socket.SHUT_WR)
            answer = b""
            while part := s.recv(1 << 16):
                answer += part
        except (BrokenPipeError, ConnectionResetError):
            return b""
        return answer


def test_the_control_socket_bears_anything(term: Terminal, wfs: Weightfs) -> None:  # noqa: F811
    term.mount()
    pid = term.daemon
    for data in (b"", b"\n", b"{", b"[]\n", b"null\n", b"\xff\xfe\n", b"{}\n", b'{"command": 5}\n',
                 b'{"command": "pull", "repo": "a/b\\u0000c"}\n', b'{"command": "pull", "repo": ["x"]}\n',
                 b'{"command": "pull", "repo": "../../x", "include": 7}\n', b'{"command": "ls", "repo": "a/../b"}\n',
                 b"[" * 100_000 + b"\n", b'{"command": "' + b"x" * (2 << 20) + b'"}\n', b"x" * (2 << 20)):
        answer = ask(wfs, data)
        if data.startswith(b'{"command"') and answer:  # what is no JSON ends the connection
            assert "error" in json.loads(answer), (data[:60], answer)
    assert json.loads(ask(wfs, b'{"command": "frob"}\n'))["error"].endswith("does not know the command 'frob'")
    assert term.daemon == pid


def test_a_daemon_that_hangs(term: Terminal, wfs: Weightfs) -> None:  # noqa: F811
    term.mount()
    pid = term.daemon
    os.kill(pid, signal.SIGSTOP)
    try:
        says(term.mount(ok=False), 1, f"{wfs.mnt} is a weightfs mount already, whose daemon does not answer",
             f"weightfs unmount --lazy {wfs.mnt}")
    finally:
        os.kill(pid, signal.SIGCONT)
    assert os.listdir(wfs.mnt)
    term.unmount()
    assert not alive(pid)

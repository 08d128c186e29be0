"""Offline: no socket of an internet family, what is held reads, what is not is not there."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from harness import Weightfs, clean_env, edit_catalogue
from hub.content import Synthetic
from hub.hub import Hub
from hub.repos import Files
from test_lazy import sha256, wait_for

MIB = 1 << 20


@pytest.fixture
def held(wfs: Weightfs, hub: Hub) -> Synthetic:
    """org/held was pulled whole, of org/partial only the small files and a peek came; wfs is stopped."""
    content = Synthetic(4 * MIB, 1)
    hub.add_repo("model", "org/held").commit({"config.json": "{}", "model.safetensors": content})
    hub.add_repo("model", "org/partial").commit(
        {"config.json": '{"p": 1}', "other.json": "[]", "model.safetensors": Synthetic(40 * MIB, 2)}
    )
    hub.add_repo("model", "org/unseen").commit({"config.json": "{}"})
    wfs.start("--complete", "never")
    wfs.command("pull", "--state", wfs.state, "org/held")
    snapshot = wfs.snapshot("org/partial")
    (snapshot / "config.json").read_text()
    with (snapshot / "model.safetensors").open("rb") as f:
        f.read(4096)
    for name in ("config.json", "other.json"):
        wait_for(lambda: list(wfs.stored("org/partial").glob(f"snapshots/*/{name}")))  # noqa: B023
    wfs.stop()
    hub.down()
    return content


def check_offline_view(wfs: Weightfs, content: Synthetic) -> None:
    assert sha256(wfs.snapshot("org/held") / "model.safetensors") == content.sha256
    assert {"models--org--held", "models--org--partial"} <= set(os.listdir(wfs.hub_cache))
    partial = wfs.snapshot("org/partial")
    assert sorted(os.listdir(partial)) == ["config.json", "other.json"]
    with pytest.raises(FileNotFoundError):
        (partial / "model.safetensors").open()
    with pytest.raises(FileNotFoundError):
        os.stat(wfs.repo("org/unseen"))
    with pytest.raises(FileNotFoundError):
        (wfs.repo("org/held") / "refs/other").read_text()
    sha = (wfs.repo("org/partial") / "refs/main").read_text()
    tree = (wfs.repo("org/partial") / "trees" / f"{sha}.json").read_text()
    assert "model.safetensors" in tree  # whole, so that new clients say "incomplete"
    assert (wfs.repo("org/held") / ".no_exist" / (wfs.repo("org/held") / "refs/main").read_text()
            / "adapter_config.json").read_bytes() == b""


def test_started_offline(wfs: Weightfs, held: Synthetic) -> None:
    wfs.offline()
    check_offline_view(wfs, held)
    assert wfs.status()["hub"]["offline_for_good"] is True


@pytest.mark.parametrize("name,value", [("HF_HUB_OFFLINE", "1"), ("TRANSFORMERS_OFFLINE", "Yes")])
def test_the_environment_switches_offline(wfs: Weightfs, held: Synthetic, name: str, value: str) -> None:
    wfs.start(env=clean_env(**{name: value}))
    check_offline_view(wfs, held)


def test_online_beats_the_environment(wfs: Weightfs, hub: Hub) -> None:
    hub.add_repo("model", "org/a").commit({"config.json": "{}"})
    wfs.start("--online", env=clean_env(HF_HUB_OFFLINE="1"))
    assert (wfs.snapshot("org/a") / "config.json").read_text() == "{}"


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed: tools/install-deps test")
def test_no_internet_socket_is_ever_made(wfs: Weightfs, held: Synthetic, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    wfs.offline(wrapper=["strace", "-f", "-qq", "-e", "trace=socket,connect,sendto,sendmsg", "-o", str(trace)])
    check_offline_view(wfs, held)
    for i in range(50):
        with pytest.raises(OSError):
            os.stat(wfs.repo(f"org/unknown-{i}"))
    subprocess.run(["find", str(wfs.mnt)], stdout=subprocess.DEVNULL, check=True, timeout=60)
    wfs.command("status", wfs.mnt)
    # strace holds the daemon's end up; take the mount away and let both end.
    wfs.command("unmount", wfs.mnt)
    wfs.process.wait(20)
    wfs.process = None
    calls = trace.read_text()
    assert "AF_UNIX" in calls, "the trace saw something at all"
    assert not re.search(r"AF_INET|AF_PACKET|AF_NETLINK", calls), calls


def test_internet_sockets_are_given_up(wfs: Weightfs, held: Synthetic) -> None:
    wfs.offline()
    status = Path(f"/proc/{wfs.pid}/status").read_text()
    assert re.search(r"^Seccomp:\s+2$", status, re.M), "no filter is installed"


def test_switching_at_run_time(wfs: Weightfs, hub: Hub, held: Synthetic) -> None:
    hub.up()
    wfs.start("--complete", "never")
    assert (wfs.snapshot("org/unseen") / "config.json").read_text() == "{}"
    said = wfs.command("offline", "on", wfs.mnt).stdout
    assert "org/partial" in said and "model.safetensors" in said, said
    requests = hub.log.count()
    wait_for(lambda: not (wfs.snapshot("org/partial") / "model.safetensors").exists(), 5)
    check = wfs.snapshot("org/held") / "model.safetensors"
    assert sha256(check) == held.sha256
    with pytest.raises(FileNotFoundError):
        os.stat(wfs.repo("org/never"))
    assert hub.log.count() == requests, "offline asks nothing"
    wfs.command("offline", "off", wfs.mnt)
    wait_for(lambda: (wfs.snapshot("org/partial") / "model.safetensors").exists(), 5)
    with (wfs.snapshot("org/partial") / "model.safetensors").open("rb") as f:
        f.seek(20 * MIB)
        assert len(f.read(4096)) == 4096


def test_started_offline_is_for_good(wfs: Weightfs, held: Synthetic) -> None:
    wfs.offline()
    done = wfs.command("offline", "off", wfs.mnt, check=False)
    assert done.returncode == 1
    assert "mount again without --offline" in done.stderr, done.stderr


def test_the_store_is_an_ordinary_cache(wfs: Weightfs, held: Synthetic) -> None:
    repo = wfs.stored("org/held")
    sha = (repo / "refs/main").read_text()
    assert sha256(repo / "snapshots" / sha / "model.safetensors") == held.sha256
    assert not list(wfs.store.glob("hub/**/*.incomplete"))
    for link in (wfs.store / "hub").rglob("snapshots/*/*"):
        assert link.exists(), f"{link} dangles"


def test_a_catalogue_that_is_lost_comes_back(wfs: Weightfs, held: Synthetic) -> None:
    for file in wfs.state.glob("catalogue.sqlite*"):
        file.unlink()
    wfs.offline()
    check_offline_view(wfs, held)


def test_a_damaged_catalogue_is_moved_aside(wfs: Weightfs, held: Synthetic) -> None:
    catalogue = wfs.state / "catalogue.sqlite"
    catalogue.write_bytes(b"not a database, surely" * 1000)
    wfs.offline()
    check_offline_view(wfs, held)
    assert list(wfs.state.glob("catalogue.sqlite.damaged-*"))


def test_errno_of_absence_is_never_eio_offline(wfs: Weightfs, held: Synthetic) -> None:
    wfs.offline()
    snapshot = wfs.snapshot("org/held")
    for path in (snapshot / "nothing.json", wfs.repo("a/b"), wfs.mnt / "models/x/y", wfs.mnt / "models/x"):
        with pytest.raises(OSError) as info:
            os.stat(path)
        assert info.value.errno == errno.ENOENT


def pulled_and_moved(wfs: Weightfs, hub: Hub, held: Files, new: Files) -> tuple[str, str]:
    """A mount of org/m, whose main was pulled, and names another commit since; the two."""
    repo = hub.add_repo("model", "org/m")
    first = repo.commit(held)
    wfs.start("--complete", "never")
    wfs.command("pull", "--state", wfs.state, "org/m")
    wfs.stop()
    second = repo.commit(new)
    edit_catalogue(wfs.state / "catalogue.sqlite", "UPDATE ref SET checked = 1")
    wfs.start("--complete", "never")
    return first, second


def test_a_ref_that_moved_stands_for_what_is_held(wfs: Weightfs, hub: Hub) -> None:
    """Nobody has read the newer commit: offline, and in the store, main is the one that can be loaded."""
    old, new = Synthetic(3 * MIB, 1), Synthetic(3 * MIB, 2)
    first, second = pulled_and_moved(wfs, hub, {"config.json": "{}", "model.safetensors": old},
                                     {"config.json": '{"new": 1}', "model.safetensors": new})
    main, stored = wfs.repo("org/m") / "refs/main", wfs.stored("org/m") / "refs/main"
    assert main.read_text() == second and stored.read_text() == first
    config = wfs.snapshot("org/m") / "config.json"
    assert config.read_text() == '{"new": 1}'  # begun, but its model is missing
    (listed,) = json.loads(wfs.command("ls", "--json", "--state", wfs.state).stdout)["repos"]
    assert listed["revisions"] == [{"name": "main", "commit": second, "offline": first}]
    assert f"main {second[:8]}, offline {first[:8]} " in wfs.command("ls", "--state", wfs.state).stdout
    wfs.command("offline", "on", wfs.mnt)
    wait_for(lambda: main.read_text() == first, 5)
    assert os.listdir(main.parent) == ["main"]
    assert sha256(wfs.snapshot("org/m") / "model.safetensors") == old.sha256
    assert sha256(wfs.mnt / "models/org/m/model.safetensors") == old.sha256
    wfs.stop()
    wfs.offline()
    assert main.read_text() == first
    wfs.stop()

    wfs.start("--complete", "never")
    assert main.read_text() == second
    wfs.command("pull", "--state", wfs.state, "org/m")
    assert stored.read_text() == second
    wfs.command("offline", "on", wfs.mnt)
    wait_for(lambda: wfs.status()["hub"]["offline"], 5)
    assert main.read_text() == second
    assert sha256(wfs.snapshot("org/m") / "model.safetensors") == new.sha256


def test_weights_under_another_name_do_not_take_the_held_ones_away(wfs: Weightfs, hub: Hub) -> None:
    """The newer commit has another format: until that is read, what was held is loaded offline."""
    old, new = Synthetic(20 * MIB, 1), Synthetic(18 * MIB, 2)
    first, second = pulled_and_moved(wfs, hub, {"config.json": "{}", "pytorch_model.bin": old},
                                     {"model.safetensors": new, "pytorch_model.bin": None})
    main = wfs.repo("org/m") / "refs/main"
    assert main.read_text() == second
    assert os.listdir(wfs.snapshot("org/m")) == ["config.json", "model.safetensors"]
    assert (wfs.stored("org/m") / "refs/main").read_text() == first
    wfs.command("offline", "on", wfs.mnt)
    wait_for(lambda: main.read_text() == first, 5)
    assert sha256(wfs.snapshot("org/m") / "pytorch_model.bin") == old.sha256
    wfs.command("offline", "off", wfs.mnt)
    wait_for(lambda: not wfs.status()["hub"]["offline"], 5)
    assert sha256(wfs.repo("org/m") / "snapshots" / second / "model.safetensors") == new.sha256
    wfs.command("offline", "on", wfs.mnt)
    wait_for(lambda: main.read_text() == second, 5)

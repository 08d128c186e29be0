"""weightfs pull: alone and through the daemon, what it shows, and how it goes on after an end."""

from __future__ import annotations

import re
import shutil
import signal

import pytest
from harness import Weightfs
from hub.content import Synthetic
from hub.hub import Hub
from hub.models import Corners
from terminal import Terminal
from test_cli import corners, partial_bytes, slow, term  # noqa: F401 (fixtures)
from test_lazy import MIB, sha256, wait_for


@pytest.mark.parametrize("daemon", [False, True])
def test_pull(term: Terminal, wfs: Weightfs, corners: Corners, hub: Hub, daemon: bool) -> None:
    if daemon:
        term.mount()
    commit = corners.model.resolve("main")
    done = term.pull("corner/cases")
    assert done.returncode == 0, done
    assert re.fullmatch(rf"models/corner/cases at {commit.oid[:12]}: 19 files, 342 KiB, fetched in 0:\d\d \(.*\)\n",
                        done.stdout), done.stdout
    assert "done  unicode/héllo-日本語-🤗.txt  8 B\n" in done.stderr
    for path, entry in commit.files.items():
        stored = wfs.stored("corner/cases") / "snapshots" / commit.oid / path
        assert stored.read_bytes() == entry.content.read(), path
    hub.log.reset()
    done = term.pull("models/corner/cases")
    assert done.stdout.endswith("19 files, 342 KiB, all of it in the store already\n")
    assert "done" not in done.stderr
    assert hub.log.content_bytes() == 0


def test_pull_of_every_kind(term: Terminal, wfs: Weightfs, corners: Corners) -> None:
    for repo, folder, ref, name in (
        ("datasets/corner/cases", "datasets--corner--cases", "main", "data/train.csv"),
        ("datasets/corner/cases@refs/convert/parquet", "datasets--corner--cases", "refs/convert/parquet",
         "default/train/0000.parquet"),
        ("spaces/corner/app", "spaces--corner--app", "main", "app.py"),
        ("corner/cases@v1.0", "models--corner--cases", "v1.0", "README.md"),
        ("corner/cases@refs/pr/1", "models--corner--cases", "refs/pr/1", "added.txt"),
        ("tiny-canonical", "models--tiny-canonical", "main", "model.safetensors"),
        ("corner/old-name", "models--corner--old-name", "main", "model.safetensors"),
    ):
        done = term.pull(repo)
        assert done.returncode == 0, done
        cache = wfs.store / "hub" / folder
        sha = (cache / "refs" / ref).read_text()
        assert (cache / "snapshots" / sha / name).stat().st_size > 0, repo
    sha = corners.model.resolve("v1.0").oid
    assert term.pull(f"corner/cases@{sha}").stdout.startswith(f"models/corner/cases@{sha} at {sha[:12]}: 2 files")
    done = term.pull("corner/empty")
    assert (done.returncode, "0 files" in done.stdout) == (0, True)


def test_pull_chooses_files(term: Terminal, wfs: Weightfs, hub: Hub) -> None:
    hub.add_repo("model", "org/a").commit(
        {"config.json": "{}", "a.bin": Synthetic(MIB, 1), "b.bin": Synthetic(MIB, 2), "sub/c.bin": Synthetic(MIB, 3),
         "sub/d.json": "{ }", "with, comma.txt": "x"})
    for options, names in (
        (["--include", "*.json"], {"config.json", "sub/d.json"}),
        (["--include", "with, comma.txt"], {"with, comma.txt"}),
        (["--include", "sub/", "--exclude", "*.json"], {"sub/c.bin"}),
        (["--exclude", "*b*.bin", "--exclude=*.json"], {"a.bin", "with, comma.txt"}),
    ):
        shutil.rmtree(wfs.store, ignore_errors=True)
        shutil.rmtree(wfs.state, ignore_errors=True)
        done = term.pull("org/a", *options)
        assert done.returncode == 0, done
        sha = (wfs.stored("org/a") / "refs/main").read_text()
        snapshot = wfs.stored("org/a") / "snapshots" / sha
        assert {p.relative_to(snapshot).as_posix() for p in snapshot.rglob("*") if p.is_symlink()} == names, options
    says_nothing = term.pull("org/a", "--include", "*.gguf")
    assert says_nothing.returncode == 1
    assert "no file of models/org/a matches --include and --exclude; 'weightfs ls models/org/a' lists them" \
        in says_nothing.stderr


@pytest.mark.parametrize("daemon", [False, True])
def test_an_interrupted_pull_goes_on(term: Terminal, wfs: Weightfs, slow: Synthetic, hub: Hub, daemon: bool) -> None:
    if daemon:
        term.mount("--connections", "2")
    process = term.popen("pull", *term.store, *term.hub, *([] if daemon else ["--connections", "2"]), "org/slow")
    wait_for(lambda: partial_bytes(wfs) > 3 * MIB)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=10)
    assert process.returncode == 1
    assert out == ""
    assert re.search(r"^weightfs: interrupted.*what arrived is kept, the same command goes on\n\Z", err, re.M), err
    assert "\033" not in err
    if daemon:
        wait_for(lambda: wfs.status()["hub"]["transfers"] == 0, 5)
    kept = partial_bytes(wfs)
    assert kept > 3 * MIB
    hub.reset()
    done = term.pull("org/slow")
    assert done.returncode == 0, done
    assert re.search(r"; [\d.]+ MiB in the store already, the rest fetched in", done.stdout), done.stdout
    assert sha256(wfs.stored("org/slow") / "blobs" / slow.sha256) == slow.sha256
    assert hub.log.content_bytes(path="model.safetensors") < slow.size - 2 * MIB


def test_a_killed_pull_goes_on(term: Terminal, wfs: Weightfs, slow: Synthetic, hub: Hub) -> None:
    process = term.popen("pull", *term.store, *term.hub, "--connections", "2", "org/slow")
    wait_for(lambda: partial_bytes(wfs) > 3 * MIB)
    process.kill()
    process.communicate(timeout=10)
    hub.reset()
    assert term.pull("org/slow").returncode == 0
    assert sha256(wfs.stored("org/slow") / "blobs" / slow.sha256) == slow.sha256
    assert hub.log.content_bytes(path="model.safetensors") < slow.size - 2 * MIB


def test_progress_on_a_terminal_and_elsewhere(term: Terminal, wfs: Weightfs, slow: Synthetic) -> None:
    code, text = term.screen("pull", *term.store, *term.hub, "--connections", "8", "org/slow")
    assert code == 0, text
    assert "\033[A\033[2K" in text, "a frame replaces the one before"
    assert re.search(r"model\.safetensors.*\[#*\.*\] +\d+% +[\d.]+ MiB of 24\.0 MiB +[\d.]+ MiB/s +\d:\d\d", text)
    assert "Total: 1 of 2 files" in text
    assert "\033[32mdone\033[0m  model.safetensors  24.0 MiB" in text
    assert max(len(re.sub(r"\033\[[0-9;]*[A-Za-z]", "", line)) for line in text.split("\r\n")) < 100
    assert "fetched in" in text.rstrip().splitlines()[-1], "the result stays as the last line"
    shutil.rmtree(wfs.store)
    code, text = term.screen("pull", *term.store, *term.hub, "--include", "*.json", "org/slow", NO_COLOR="1")
    assert (code, "\033[3" in text) == (0, False)
    plain = term.pull("--include", "*.json", "org/slow", TERM="xterm")
    assert "\033" not in plain.stderr + plain.stdout
    assert plain.stderr.startswith("models/org/slow at ")

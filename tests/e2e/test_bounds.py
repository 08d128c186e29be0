"""What bounds filling: space that is kept free in the store's file system, and what a repo brings in an hour."""

from __future__ import annotations

import errno
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Weightfs
from hub.content import Synthetic
from hub.hub import Hub
from test_lazy import MIB, sha256


def outcome(path: Path) -> str:
    """Reads it to its end: "ok", or the error."""
    try:
        with path.open("rb") as f:
            while f.read(MIB):
                pass
        return "ok"
    except OSError as e:
        return errno.errorcode[e.errno or 0]


@pytest.fixture
def small_store(wfs: Weightfs) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small file system")
    wfs.store.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "small", wfs.store], check=True)
    yield wfs.store
    wfs.clean_up()
    subprocess.run(["umount", "-l", wfs.store], check=True)


def test_what_is_kept_free_stays_free(wfs: Weightfs, hub: Hub, small_store: Path) -> None:
    """Of 64 MiB 36 are kept: the others fit two files beside the ballast, and the third without it."""
    ballast, more = small_store / "ballast", small_store / "more"
    ballast.write_bytes(bytes(7 * MIB))
    files = {f"{i}.bin": Synthetic(9 * MIB, 40 + i) for i in range(3)}
    for name, content in files.items():
        hub.add_repo("model", f"org/r{name[0]}").commit({"config.json": "{}", name: content})
    wfs.start("--keep-free", "36M", "--complete", "never")
    paths = [wfs.snapshot(f"org/r{name[0]}") / name for name in files]
    assert [outcome(path) for path in paths] == ["ok", "ok", "ENOSPC"]
    free = os.statvfs(small_store)
    assert free.f_bavail * free.f_frsize >= 36 * MIB
    assert outcome(paths[2].parent / "config.json") == "ok", "what fits goes on"
    done = wfs.command("pull", "--store", wfs.store, "--state", wfs.state, "org/r2", check=False)
    assert done.returncode == 1
    assert re.search(r"needs 9\.0 MiB more and the store \S+ has \S+ MiB free, besides 36\.0 MiB that --keep-free "
                     r"keeps", done.stderr), done.stderr
    assert wfs.status()["store"]["short_of_space"] is False

    more.write_bytes(bytes(12 * MIB))
    assert wfs.status()["store"]["short_of_space"] is True
    assert [outcome(path) for path in paths] == ["ok", "ok", "ENOSPC"], "what is held goes on"
    shown = wfs.command("status", wfs.mnt).stdout
    assert "36.0 MiB kept so (--keep-free): NOTHING IS FETCHED until there is more" in shown
    more.unlink()
    ballast.unlink()
    assert sha256(paths[2]) == files["2.bin"].sha256


def test_a_part_is_kept_by_default(wfs: Weightfs, hub: Hub, small_store: Path) -> None:
    hub.add_repo("model", "org/a").commit({"config.json": "{}"})
    wfs.start()
    assert wfs.status()["store"]["keep_free"] == 64 * MIB // 100 * 5
    (small_store / "ballast").write_bytes(bytes(61 * MIB))
    path = wfs.snapshot("org/a") / "config.json"
    assert outcome(path) == "ENOSPC"
    wfs.stop()
    wfs.start("--keep-free", "0")
    assert wfs.status()["store"]["keep_free"] == 0
    assert outcome(path) == "ok"


def test_a_crawler_does_not_pull_the_hub(wfs: Weightfs, hub: Hub) -> None:
    files = {f"{i}.bin": Synthetic(2 * MIB, 50 + i) for i in range(8)}
    hub.add_repo("model", "org/crawled").commit({"config.json": "{}"} | files)
    hub.add_repo("model", "org/other").commit({"0.bin": Synthetic(2 * MIB, 70)})
    wfs.start("--max-fetch", "5M")
    snapshot = wfs.snapshot("org/crawled")
    ends = [outcome(snapshot / name) for name in ["config.json", *files]]
    assert ends == ["ok", "ok", "ok"] + ["EDQUOT"] * 6
    held = [outcome(snapshot / name) for name in ["config.json", "0.bin", "1.bin"]]
    assert held == ["ok"] * 3, "what is held goes on"
    assert wfs.status()["hub"]["bytes"] < 5 * MIB
    assert outcome(wfs.snapshot("org/other") / "0.bin") == "ok", "another repo has its own hour"
    limit, = wfs.status()["hub"]["limits"]
    assert limit["repo"] == "models/org/crawled" and limit["refused"] == 6 and 3400 < limit["seconds_left"] <= 3600
    assert 4 * MIB <= limit["bytes"] <= 5 * MIB
    shown = wfs.command("status", wfs.mnt).stdout
    said = r"models/org/crawled brought 4\.\d MiB in this hour, of 5\.0 MiB \(--max-fetch\): 6 opens"
    assert re.search(said, shown), shown
    log = wfs.log.read_text()
    assert re.search(r"models/org/crawled: 2\.bin is not opened: .* --max-fetch in this hour", log)
    assert re.search(rf"open answered with Disk quota exceeded \(asked by pid {os.getpid()}, uid {os.getuid()}\): "
                     r"models/org/crawled: 2\.bin: .*\(--max-fetch\)", log)

    wfs.command("pull", "--store", wfs.store, "--state", wfs.state, "org/crawled")  # a person's wish
    for name, content in files.items():
        assert sha256(snapshot / name) == content.sha256


def test_a_refused_file_is_named_as_its_repo_has_it(wfs: Weightfs, hub: Hub) -> None:
    """The same bytes have another name in another repo, which may not bring them either."""
    for repo, name in ("org/one", "a.bin"), ("org/two", "b.bin"):
        hub.add_repo("model", repo).commit({name: Synthetic(2 * MIB, 80)})
    wfs.start("--max-fetch", "1M")
    paths = [wfs.snapshot("org/one") / "a.bin", wfs.snapshot("org/two") / "b.bin"]
    assert [outcome(path) for path in paths] == ["EDQUOT"] * 2
    said = re.findall(r"models/org/(\S+) (\S+) is not opened", wfs.log.read_text())
    assert said == [("one:", "a.bin")] * len(said) and said


@pytest.mark.parametrize("option, said", [
    ("--max-fetch=lots", "--max-fetch: 'lots' is not a size; write 0, 500M, 20G or 1T"),
    ("--max-fetch=5%", "--max-fetch: '5%' is not a size"),
    ("--keep-free=110%", "--keep-free: '110%' is neither a size nor a part; write 0, 500M, 20G or 5%"),
    ("--keep-free=-1", "--keep-free: '-1' is neither a size nor a part"),
])
def test_wrong_bounds_are_named(wfs: Weightfs, option: str, said: str) -> None:
    done = wfs.command("mount", "--store", wfs.store, option, wfs.mnt, check=False)
    assert done.returncode == 2
    assert said in done.stderr


def test_bounds_from_the_configuration(wfs: Weightfs, hub: Hub, tmp_path: Path) -> None:
    config = tmp_path / "weightfs.conf"
    config.write_text("[store]\nkeep_free = 16M\n[hub]\nmax_fetch = 3G\n")
    wfs.start("--config", str(config))
    status = wfs.status()
    assert (status["store"]["keep_free"], status["hub"]["max_fetch"]) == (16 * MIB, 3 << 30)

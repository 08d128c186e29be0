"""The benchmark still runs: a few rows on a small file, and what it writes. What it measures is not looked at."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from harness import BINARY, ROOT, clean_env

ROWS = ["cold", "pull-speed", "first-byte-far", "peek-bytes", "warm-mmap", "walk"]
PEERS = ["aria2c", "hf download", "hf-mount", "rclone", "httpdirfs"]


def bench(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(ROOT / "tests/bench/bench.py"), *map(str, arguments)], capture_output=True, text=True,
                          timeout=400, env=clean_env(WEIGHTFS_BIN=BINARY), check=False)


def test_rows_table_and_plot(tmp_path: Path) -> None:
    result, plot = tmp_path / "result.json", tmp_path / "plot.svg"
    limit = ["--limit"] if os.geteuid() == 0 else []
    done = bench("--size", "16", "--runs", "1", "--only", *ROWS, "--without", *PEERS, *limit, "--dir", tmp_path, "--json", result,
                 "--plot", plot)
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: row for row in json.loads(result.read_text())["rows"]}
    assert {"cold-read", "cold-cpu", "cold-anon", "walk-requests"} < rows.keys()
    for name, row in rows.items():
        assert not row["failures"], f"{name}: {row['failures']}"
        assert row["samples"]["weightfs"], name
        assert name in done.stdout
    assert len(rows["first-byte-far"]["samples"]["weightfs"]) == 8
    assert rows["cold-read"]["samples"]["curl"] and rows["warm-mmap"]["samples"]["native"]
    if limit:
        assert all(rows[name]["samples"]["limit"] for name in ("cold-read", "cold-cpu", "warm-mmap"))
    assert ET.parse(plot).getroot().tag.endswith("svg")
    assert [p.name for p in tmp_path.iterdir() if p not in (result, plot)] == [], "it left something"

    (tmp_path / "page.md").write_text("above\n<!-- bench -->\nold\n<!-- /bench -->\nbelow\n")
    again = bench("--from", result, "--table", tmp_path / "page.md")
    assert again.stdout == done.stdout
    page = (tmp_path / "page.md").read_text()
    assert page.count("\n| ") == len(rows) + 2, "a head, a line below it, the rows"
    assert page.startswith("above\n<!-- bench -->\n") and page.endswith("<!-- /bench -->\nbelow\n") and "old" not in page


@pytest.mark.parametrize("arguments, said", [(["--only", "cold-raed"], "no row or group is called cold-raed; --list prints them"),
                                             (["--without", "crul"], "no contender is called crul; --list prints them")])
def test_a_name_that_is_not_there(arguments: list[str], said: str) -> None:
    done = bench(*arguments)
    assert done.returncode != 0 and said in done.stderr

#!/usr/bin/env python3
"""Measures weightfs beside the peers that are installed, in the same run, and prints a table.

Everything runs on this machine: the hub is tests/hub, in a process of its own. Each figure is the median of
runs that take turns, so that ratios say the same on a slow or busy machine. Nothing here passes or fails.
See README.md for the rows.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
os.environ.setdefault("WEIGHTFS_BIN", str(TESTS.parent / "build/release/cli/weightfs"))  # before harness looks
sys.path[0] = str(TESTS)
sys.path.insert(1, str(TESTS / "e2e"))

from bench import cold, load, part, walk, warm  # noqa: E402
from bench.contenders import OURS, PEERS, describe  # noqa: E402
from bench.place import Place, machine  # noqa: E402
from bench.plot import draw  # noqa: E402
from bench.report import Report  # noqa: E402
from bench.rows import FAILURES, Group, Row  # noqa: E402

GROUPS: list[Group] = [*cold.GROUPS, *part.GROUPS, *warm.GROUPS, *load.GROUPS, *walk.GROUPS]
MARKS = "<!-- bench -->", "<!-- /bench -->"
ALL: dict[str, Group] = {row.name: group for group in GROUPS for row in group.rows()}


def parser() -> argparse.ArgumentParser:
    out = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    out.add_argument("--size", type=int, default=512, help="MiB of the model (default 512)")
    out.add_argument("--runs", type=int, default=3, help="runs of each contender (default 3)")
    out.add_argument("--dir", type=Path, help="where stores and caches are put (default: a temporary folder)")
    out.add_argument("--only", nargs="+", metavar="ROW", help="these rows, or groups of rows")
    out.add_argument("--without", nargs="+", default=[], metavar="CONTENDER", help="leave these out")
    out.add_argument("--limit", action="store_true", help="measure beside it the least that a daemon can do (limit.c; as root)")
    out.add_argument("--list", action="store_true", help="print the rows and who would take part, measure nothing")
    out.add_argument("--from", nargs="+", type=Path, metavar="FILE", help="measure nothing, take these results")
    out.add_argument("--json", type=Path, metavar="FILE", help="write the results there, with all samples")
    out.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw a plot there")
    out.add_argument("--table", type=Path, metavar="FILE.md", help="write the table there, in Markdown; where a file has the lines <!-- bench --> and\n"
                     "<!-- /bench -->, between these")
    out.add_argument("--quiet", action="store_true", help="say nothing meanwhile")
    return out


def choose(names: list[str] | None) -> dict[str, list[str]]:
    """The wanted rows of each group, in the order of the table."""
    wanted = set(names or ALL)
    unknown = wanted - set(ALL) - {g.name for g in GROUPS}
    if unknown:
        sys.exit(f"bench.py: no row or group is called {', '.join(sorted(unknown))}; --list prints them")
    chosen: dict[str, list[str]] = {}
    for name, group in ALL.items():
        if name in wanted or group.name in wanted:
            chosen.setdefault(group.name, []).append(name)
    return chosen


def print_list(missing: list, taking_part: list) -> None:
    for group in GROUPS:
        for row in group.rows():
            print(f"{group.name:<8} {row.name:<16} {row.title}. Against {row.against}; limited by {row.limit}.")
    for contender in taking_part:
        print(f"takes part: {contender.key} ({contender.find()})")
    for contender in missing:
        print(f"missing: {contender.key}: {contender.get}; or name it in {contender.variable}")


def measure(options: argparse.Namespace) -> Report:
    chosen = choose(options.only)
    with tempfile.TemporaryDirectory(dir=options.dir, prefix="weightfs-bench-") as scratch:
        place = Place(Path(scratch), options.size, options.runs, options.without, options.quiet, options.limit)
        rows: list[Row] = []
        try:
            for group in GROUPS:
                mine = {row.name: row for row in group.rows() if row.name in chosen.get(group.name, ())}
                if mine:
                    place.say(f"{group.name}: {', '.join(mine)}")
                    began = time.monotonic()
                    try:
                        group.measure(place, mine)
                    except FAILURES as failure:
                        for row in mine.values():
                            row.failures[OURS.key] = str(failure).strip().splitlines()[0]
                    place.clear()
                    place.say(f"  {time.monotonic() - began:.0f} s")
                    rows += mine.values()
        finally:
            place.close()
        about = {"machine": machine(), "size": options.size, "runs": options.runs,
                 "contenders": describe([OURS, *place.taking_part])}
    return Report(rows, about)


def write_table(path: Path, table: str) -> None:
    """Into the marked place of a file that has one, else all of the file."""
    old = path.read_text() if path.exists() else ""
    before, begin, rest = old.partition(f"{MARKS[0]}\n")
    _, end, after = rest.partition(MARKS[1])
    path.write_text(f"{before}{begin}\n{table}\n{end}{after}" if end else table)


def main() -> int:
    options = parser().parse_args()
    if unknown := set(options.without) - {p.key for p in PEERS}:
        sys.exit(f"bench.py: no contender is called {', '.join(sorted(unknown))}; --list prints them")
    choose(options.only)
    peers = [p for p in PEERS if p.key not in options.without]
    missing = [p for p in peers if p.find() is None]
    if options.list:
        print_list(missing, [p for p in peers if p not in missing])
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that mounts are taken away
    if vars(options)["from"]:
        report = Report.read(vars(options)["from"], list(ALL))
    else:
        if OURS.find() is None:
            sys.exit(f"bench.py: {os.environ['WEIGHTFS_BIN']} is not built: {OURS.get}")
        for contender in missing:
            print(f"without {contender.key}: {contender.get}; or name it in {contender.variable}", file=sys.stderr)
        report = measure(options)
    print(report.text())
    if options.json:
        report.write(options.json)
    if options.table:
        write_table(options.table, report.markdown())
    if options.plot:
        options.plot.write_text(draw(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())

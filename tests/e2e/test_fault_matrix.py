"""Each fault of the hub at each place where it can strike: the right bytes or the documented errno, in time.

A row of TABLE is a fault, a column a place (matrix.PLACES); a field says how what a reader does there ends when
the fault strikes once, and when it strikes until it is taken away. All cells run side by side on one mount,
while a process of its own reads other files and held ones, and lists what is known. Fields with a * are run
always, all of them with WEIGHTFS_TEST_FAULTS=all.
"""

from __future__ import annotations

import concurrent.futures
import errno
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from harness import Watchdog, Weightfs
from hub.faults import Fault
from hub.hub import Hub
from matrix import ALL, AT_ONCE, LOOKUP_DEADLINE, PLACES, READ_DEADLINE, TOKEN, Cell, Result, run_cells

HTML = "<!DOCTYPE html><html><body>Sign in to the network</body></html>"

FAULTS: dict[str, dict[str, Any]] = {
    "hang": {"kind": "hang"},
    "reset": {"kind": "reset"},
    "reset-inside": {"kind": "reset", "at": 50},
    "cut": {"kind": "truncate", "at": 50},
    "stall": {"kind": "stall", "at": 50},
    "drip": {"kind": "slow", "rate": 10, "headers": True},
    "drip-body": {"kind": "slow", "rate": 10, "at": 50},
    "429": {"kind": "status", "status": 429},
    "500": {"kind": "status", "status": 500},
    "502": {"kind": "status", "status": 502, "body": HTML},
    "503": {"kind": "status", "status": 503},
    "401": {"kind": "status", "status": 401},
    "403": {"kind": "status", "status": 403},
    "bare-404": {"kind": "status", "status": 404},
    "loop": {"kind": "redirect_loop"},
    "elsewhere": {"kind": "redirect", "location": "CDN/login"},
    "login-page": {"kind": "status", "status": 200, "body": HTML},
    "half-json": {"kind": "json", "mode": "truncated"},
    "no-range": {"kind": "ignore_range"},
    "other-range": {"kind": "content_range", "shift": 4096},
    "longer": {"kind": "length", "delta": 1},
    "shorter": {"kind": "length", "delta": -1},
    "encoded": {"kind": "headers", "set": {"Content-Encoding": "gzip"}},
}

# once/always; ok: the right bytes; -: it cannot be
TABLE = """
fault         info           page           page2          small          body           open           first     middle    own
hang          *ok/*EIO       *ok/*EIO       ok/EIO         ok/*EIO        ok/EIO         *ok/*EIO       *ok/*EIO  *ok/*EIO  ok/EIO
reset         *ok/*EIO       ok/EIO         *ok/EIO        ok/EIO         ok/*EIO        ok/EIO         ok/*EIO   *ok/EIO   ok/EIO
reset-inside  ok/EIO         ok/EIO         ok/EIO         -              ok/EIO         -              ok/EIO    *ok/EIO   ok/EIO
cut           ok/EIO         *ok/*EIO       ok/EIO         -              *ok/EIO        -              ok/EIO    *ok/*EIO  ok/EIO
stall         ok/EIO         ok/EIO         *ok/*EIO       -              *ok/*EIO       -              *ok/*EIO  *ok/*EIO  *ok/EIO
drip          *ok/*EIO       ok/*EIO        ok/EIO         ok/EIO         *ok/*EIO       ok/*EIO        ok/*EIO   *ok/*EIO  ok/EIO
drip-body     ok/EIO         ok/*EIO        ok/EIO         -              ok/EIO         -              ok/EIO    *ok/EIO   ok/EIO
429           *ok/*EIO       ok/EIO         ok/EIO         ok/EIO         ok/EIO         ok/*EIO        ok/EIO    ok/*EIO   ok/EIO
500           ok/EIO         ok/EIO         ok/EIO         ok/EIO         ok/EIO         ok/EIO         ok/EIO    ok/EIO    ok/EIO
502           ok/EIO         ok/EIO         ok/EIO         ok/EIO         ok/EIO         ok/EIO         ok/EIO    ok/EIO    ok/EIO
503           ok/*EIO        ok/*EIO        ok/EIO         ok/*EIO        ok/EIO         *ok/*EIO       ok/*EIO   *ok/*EIO  *ok/EIO
401           EACCES/*EACCES EACCES/EACCES  EACCES/EACCES  EACCES/EACCES  EACCES/EACCES  EACCES/*EACCES ok/EIO    *ok/EIO   ok/EACCES
403           EACCES/*EACCES EACCES/*EACCES EACCES/EACCES  EACCES/*EACCES EACCES/EACCES  EACCES/EACCES  *ok/*EIO  *ok/*EIO  ok/*EACCES
bare-404      EIO/*EIO       EIO/EIO        EIO/*EIO       EIO/EIO        EIO/*EIO       EIO/*EIO       ok/EIO    ok/EIO    ok/*EIO
loop          EIO/*EIO       EIO/EIO        EIO/EIO        EIO/*EIO       EIO/EIO        EIO/*EIO       ok/EIO    *ok/*EIO  ok/EIO
elsewhere     EIO/*EIO       EIO/EIO        EIO/*EIO       EIO/*EIO       EIO/EIO        EIO/*EIO       ok/EIO    ok/EIO    ok/EIO
login-page    EIO/*EIO       EIO/*EIO       EIO/EIO        EIO/*EIO       EIO/EIO        EIO/*EIO       ok/EIO    *ok/*EIO  ok/EIO
half-json     EIO/EIO        EIO/EIO        EIO/*EIO       -              -              -              -         -         -
no-range      -              -              -              -              -              -              ok/*EIO   *ok/EIO   ok/*ok
other-range   -              -              -              -              -              -              *ok/EIO   ok/*EIO   ok/EIO
longer        ok/EIO         ok/EIO         *ok/EIO        -              *ok/EIO        -              *ok/EIO   ok/*EIO   ok/EIO
shorter       EIO/EIO        EIO/EIO        EIO/EIO        -              EIO/*EIO       -              *ok/EIO   ok/*EIO   ok/EIO
encoded       EIO/EIO        EIO/EIO        EIO/EIO        ok/ok          EIO/EIO        ok/ok          *ok/EIO   ok/EIO    ok/EIO
"""


def cells_of(table: str) -> Iterator[Cell]:
    head, *rows = (line.split() for line in table.strip().splitlines())
    for fault, *fields in rows:
        for place, text in zip(head[1:], fields, strict=True):
            for times, end in zip((1, None), text.split("/") if text != "-" else (), strict=False):
                if ALL or end.startswith("*"):
                    end = end.removeprefix("*")
                    yield Cell(place, fault, times, 0 if end == "ok" else getattr(errno, end))


CELLS = list(cells_of(TABLE))


def make_fault(hub: Hub, cell: Cell, repo: str) -> Fault:
    options = FAULTS[cell.fault] | PLACES[cell.place].scope | {"repo": repo, "times": cell.times}
    if "location" in options:
        options["location"] = options["location"].replace("CDN", hub.cdn)
    if cell.fault == "bare-404":  # as gateways say it: without a word of the hub's
        hub.fault("headers", set={"X-Error-Message": None},
                  **{k: v for k, v in options.items() if k not in ("kind", "status", "times")})
    return hub.fault(options.pop("kind"), **options)


@dataclass
class Outcome:
    results: dict[Cell, Result]
    witnesses: list[dict[str, Any]]
    leaks: int  # requests to the CDN that had a token
    ends: list[str]  # what was wrong with the daemons' ends


@pytest.fixture(scope="module")
def outcome(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcome]:
    cells = [i.callspec.params["cell"] for i in request.session.items
             if i.path == request.path and "cell" in getattr(getattr(i, "callspec", None), "params", {})]
    mounts = (len(cells) + AT_ONCE - 1) // AT_ONCE
    groups = [cells[i::mounts] for i in range(mounts)]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        done = list(pool.map(run_group, groups, [tmp_path_factory.mktemp("matrix") for _ in groups]))
    yield Outcome({k: v for one in done for k, v in one.results.items()}, [w for one in done for w in one.witnesses],
                  sum(one.leaks for one in done), [end for one in done for end in one.ends if end])


def how_it_ends(wfs: Weightfs) -> str:
    try:
        wfs.stop()
    except AssertionError as e:
        return str(e)
    return ""


def run_group(cells: list[Cell], folder: Path) -> Outcome:
    """On a mount and with a hub of its own."""
    token = folder / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    dog = Watchdog(150)
    with Hub() as hub:
        hub.page_size = 2
        hub.add_token(TOKEN)
        wfs = Weightfs(folder, hub.endpoint, dog)
        try:
            wfs.start("--complete", "never", "--read-deadline", str(READ_DEADLINE), "--token-file", str(token))
            results, witness = run_cells(cells, hub, wfs, make_fault)
            assert not dog.fired, "the cells ran past their limit; their mount was aborted"
            return Outcome(results, [witness], len(hub.log.leaks()), [how_it_ends(wfs)])
        finally:
            wfs.clean_up()
            dog.done()


SLACK = 4  # for a machine that is busy with other things; what is promised is in the constants


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_a_fault(outcome: Outcome, cell: Cell) -> None:
    result = outcome.results[cell]
    said = f"{result}\n" + "\n".join(result.log)
    reads = PLACES[cell.place].reads
    assert result.hits > 0, f"the fault did not strike: {said}"
    assert errno.errorcode.get(result.code, "ok") == errno.errorcode.get(cell.ends, "ok"), said
    assert result.seconds < (READ_DEADLINE if reads else LOOKUP_DEADLINE) + SLACK, said
    if reads and cell.ends == errno.EIO:
        assert result.seconds > READ_DEADLINE - 1, f"a read gave up early: {said}"
    assert result.beside < 2, f"what is held of the file waited: {said}"
    if cell.ends in (errno.EACCES, errno.ENOENT):
        assert result.again == 0, f"it did not heal once the refusal was forgotten: {said}"
    else:
        assert result.healed == 0, f"it did not heal: {said}"
    assert result.requests <= 30, f"a storm: {said}"


def test_other_files_go_on(outcome: Outcome) -> None:
    for witness in outcome.witnesses:
        assert not witness["errors"]
        assert witness["fresh"] >= 10
        assert witness["slowest"]["fresh"][0] < 5, "another file waited"


def test_what_is_held_or_known_never_waits(outcome: Outcome) -> None:
    for witness in outcome.witnesses:
        slowest = witness["slowest"]
        assert max(slowest[what][0] for what in ("held", "list", "look")) < 1.5, slowest


def test_the_token_goes_to_the_hub_only(outcome: Outcome) -> None:
    assert outcome.leaks == 0


def test_the_daemon_ends_after_all_that(outcome: Outcome) -> None:
    assert not outcome.ends

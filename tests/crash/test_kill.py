"""kill -9 at random moments, under load: K1 to K5 of index/README.md.

CRASH_KILLS says how many rounds (20; 500 take some eleven minutes), CRASH_SEED repeats what was chosen.
"""

from __future__ import annotations

import os
import random
import shutil
import time
from pathlib import Path

import pytest
from checker import Found
from harness import Watchdog
from hub.hub import Hub
from world import World

KILLS = int(os.environ.get("CRASH_KILLS", "20"))
ROUNDS = 8  # of one store


def one_round(world: World, rng: random.Random, before: Found) -> Found:
    world.start()
    if rng.random() < 0.7:
        world.pull()
    ends = time.monotonic() + rng.choice((0.3, 1.0, 3.0)) * rng.random()
    while time.monotonic() < ends:
        world.end_of_pull()
        if rng.random() < 0.2:
            world.move_a_ref()
        if world.pulling is None and rng.random() < 0.3:
            world.pull()
        time.sleep(0.02)
    held = world.progress()
    world.kill()
    return world.check(before, held)


@pytest.mark.limit(300 + KILLS * 20)
def test_killed_at_any_moment(tmp_path: Path, hub: Hub, watchdog: Watchdog, rng: random.Random) -> None:
    hub.fault("bandwidth", "content", rate=25e6)
    hub.limits = dict.fromkeys(hub.limits, (1_000_000, 1_000_000))  # or the daemons pace themselves
    done = blobs = 0
    while done < KILLS or blobs <= KILLS:  # where hardly anything was fetched, more of them
        base = tmp_path / f"w{done}"
        world = World(base, hub, watchdog, rng)
        try:
            found = Found()
            for _ in range(min(ROUNDS, KILLS - done) if done < KILLS else ROUNDS):
                found = one_round(world, rng, found)
                done += 1
            world.read_all(found)
            blobs += len(found.blobs)
            print(f"{done} kills: {len(found.blobs)} blobs, {len(found.partial)} begun, {len(world.pulled)} pulls")
        finally:
            world.clean_up()
        shutil.rmtree(base)

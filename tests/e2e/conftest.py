"""Fixtures of the end-to-end tests. They need root (or a usable fusermount3) and /dev/fuse."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from harness import BINARY, Watchdog, Weightfs, open_to_others  # noqa: E402
from hub.hub import Hub  # noqa: E402


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "limit(seconds): time limit of one test (default 120)")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    missing = None
    if not os.path.exists("/dev/fuse"):
        missing = "no /dev/fuse: load the fuse module"
    elif not BINARY.exists():
        pytest.exit(f"{BINARY} is not built: cmake --preset dev && cmake --build --preset dev", 3)
    if missing:
        for item in items:
            item.add_marker(pytest.mark.skip(reason=missing))


@pytest.fixture
def watchdog(request: pytest.FixtureRequest) -> Iterator[Watchdog]:
    marker = request.node.get_closest_marker("limit")
    seconds = marker.args[0] if marker else 120
    dog = Watchdog(seconds)
    yield dog
    dog.done()
    assert not dog.fired, f"the test ran past its limit of {seconds} s; its mounts were aborted"


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as h:
        yield h


@pytest.fixture
def wfs(tmp_path: Path, hub: Hub, watchdog: Watchdog) -> Iterator[Weightfs]:
    """A daemon that is not started yet, whose hub is the local one."""
    open_to_others(tmp_path)
    w = Weightfs(tmp_path, hub.endpoint, watchdog)
    yield w
    w.clean_up()

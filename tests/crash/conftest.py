"""Fixtures of the crash tests: those of e2e, and a seed that is printed and can be given."""

from __future__ import annotations

import importlib.util
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

E2E = Path(__file__).resolve().parents[1] / "e2e"
spec = importlib.util.spec_from_file_location("e2e_conftest", E2E / "conftest.py")
assert spec is not None and spec.loader is not None
e2e = importlib.util.module_from_spec(spec)
spec.loader.exec_module(e2e)
hub, watchdog, wfs = e2e.hub, e2e.watchdog, e2e.wfs
pytest_configure = e2e.pytest_configure
pytest_collection_modifyitems = e2e.pytest_collection_modifyitems


@pytest.fixture
def rng() -> Iterator[random.Random]:
    """CRASH_SEED says what is chosen (1; 0: something else each time), not when the machine gets to it."""
    seed = int(os.environ.get("CRASH_SEED", "1")) or random.SystemRandom().randrange(1 << 32)
    print(f"CRASH_SEED={seed}")
    yield random.Random(seed)

"""What is measured: rows of the table, in groups that are measured together, and how samples are taken."""

from __future__ import annotations

import statistics
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from .processes import Failed

if TYPE_CHECKING:
    from .place import Place

OURS = "weightfs"
FAILURES = (Failed, OSError, AssertionError, RuntimeError, ValueError, subprocess.SubprocessError)


@dataclass
class Row:
    """One line of the table: samples of each contender, and what they are held against."""

    name: str
    title: str
    unit: str
    against: str  # the key of a contender, or a bound that the row itself names
    limit: str  # what limits it
    more: bool = False  # is more better?
    plot: str = ""  # its title in the plot; without one it is not drawn
    samples: dict[str, list[float]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def add(self, key: str, value: float) -> None:
        self.samples.setdefault(key, []).append(value)

    def median(self, key: str) -> float | None:
        return statistics.median(self.samples[key]) if self.samples.get(key) else None

    def ratio(self) -> float | None:
        """How many times better we are than `against`; 1 is equal, less is worse."""
        ours, theirs = self.median(OURS), self.median(self.against)
        if ours is None or theirs is None or not min(ours, theirs) > 0:
            return None
        return ours / theirs if self.more else theirs / ours

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class Group:
    """Rows whose samples come from the same work."""

    name: str
    rows: Callable[[], list[Row]]
    measure: Callable[[Place, dict[str, Row]], None]


def interleave(place: Place, rows: Mapping[str, Row], each: Mapping[str, Callable[[], None]], runs: int | None = None,
               clear: bool = True) -> None:
    """Calls one after the other, `runs` times, forth and back in turn; who fails once is left out from then on.

    A callable adds its own samples; why it failed is noted in all rows. `clear` deletes after each what it left.
    """
    left = dict(each)
    for turn in range(runs or place.runs):
        for key, take in list(left.items())[:: -1 if turn % 2 else 1]:
            try:
                take()
            except FAILURES as failure:
                del left[key]
                text = (str(failure).strip().splitlines() or [type(failure).__name__])[0][:200]
                place.say(f"  {key}: {text}")
                for row in rows.values():
                    row.failures[key] = text
            if clear:
                place.clear()

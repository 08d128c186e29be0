"""The table of a run: on a terminal, in Markdown, and as JSON that can be read again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .rows import OURS, Row

ORDER = ["limit", "hf-mount", "rclone", "httpdirfs", "hf download", "aria2c", "curl"]


class Report:
    """Rows, and what was measured with what."""

    def __init__(self, rows: list[Row], about: dict[str, Any]) -> None:
        self.rows, self.about = rows, about

    @classmethod
    def read(cls, paths: list[Path], order: list[str]) -> Report:
        """Several results as one, in the order of the table; of a row that is there twice, the last counts."""
        rows: dict[str, Row] = {}
        about: dict[str, Any] = {}
        for path in paths:
            saved = json.loads(path.read_text())
            for name, value in saved["about"].items():
                about.setdefault(name, []).append(value)
            rows |= {r["name"]: Row(**r) for r in saved["rows"]}
        joined = {name: " or ".join(dict.fromkeys(map(str, values))) for name, values in about.items() if name != "contenders"}
        joined["contenders"] = {key: version for each in about["contenders"] for key, version in each.items()}
        return cls([rows[name] for name in order if name in rows], joined)

    def write(self, path: Path) -> None:
        path.write_text(json.dumps({"about": self.about, "rows": [r.as_json() for r in self.rows]}, indent=1) + "\n")

    # -- tables ----------------------------------------------------------------------------

    def columns(self) -> list[str]:
        return [key for key in ORDER if any(key in r.samples or key in r.failures for r in self.rows)]

    def cells(self, row: Row) -> list[str]:
        """What, ours, what it is held against, the ratio, the others."""
        ratio = row.ratio()
        bound = row.median(row.against)
        return [
            row.title,
            with_unit(cell(row, OURS), row.unit),
            f"{cell(row, row.against)} ({row.against})" if bound is not None or row.against in row.failures else "–",
            f"{ratio:.2f}" if ratio is not None else "–",
            *(cell(row, key) for key in self.columns()),
        ]

    def heads(self) -> list[str]:
        return ["", "weightfs", "against", "times as good", *self.columns()]

    def markdown(self) -> str:
        heads = self.heads()
        lines = [heads, ["---", *["--:"] * (len(heads) - 1)], *(self.cells(row) for row in self.rows)]
        table = "\n".join(f"| {' | '.join(c.replace('|', '&#124;') for c in cells)} |" for cells in lines)
        return f"{table}\n\n{self.footnote()}\n"

    def footnote(self) -> str:
        who = ", ".join(f"{key}: {version}" for key, version in self.about["contenders"].items())
        return (f"{self.about['machine']}. File of {self.about['size']} MiB, medians of {self.about['runs']} runs of each in turn. "
                f"{who}.")

    def text(self) -> str:
        """The same for a terminal, with what limits each row."""
        heads = self.heads()
        table = [[row.name, *self.cells(row)[1:]] for row in self.rows]
        widths = [max(len(line[i]) for line in [heads, *table]) for i in range(len(heads))]
        out = []
        for line in [heads, *table]:
            out.append("  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths))).rstrip())
        out.append("")
        out += [f"{row.name}: {row.title}. Limited by {row.limit}." for row in self.rows]
        out += [f"{row.name}: {key}: {why}" for row in self.rows for key, why in row.failures.items()]
        return "\n".join([*out, "", self.footnote()])


def with_unit(text: str, unit: str) -> str:
    return f"{text} {unit}" if unit and text[:1].isdigit() else text


def figure(value: float) -> str:
    """Three digits that mean something."""
    if value >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"


def cell(row: Row, key: str) -> str:
    value = row.median(key)
    if value is not None:
        return figure(value)
    return "failed" if key in row.failures else "–"

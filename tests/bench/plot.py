"""The plot of a report: an SVG of small bar charts, one per row, that reads well on light and dark pages."""

from __future__ import annotations

from html import escape

from .report import ORDER, Report, figure
from .rows import OURS, Row

WIDTH, GAP, MARGIN = 430, 40, 20  # of a panel; between panels; around all
LABEL, VALUE = 118, 74  # room for the names on the left, and for the figures behind the bars
BAR, STEP, HEAD = 13, 18, 42  # height of a bar; from one to the next; of a panel's title
STYLE = """
text { font: 12px system-ui, 'Segoe UI', Helvetica, Arial, sans-serif; fill: #24292f }
.title { font-weight: 600; font-size: 13px } .note { fill: #6e7781; font-size: 11px } .ours { font-weight: 600 }
.bar { fill: #afb8c1 } .bound { fill: #57809f } .mine { fill: #d9480f } .axis { stroke: #d0d7de }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .note { fill: #9198a1 }
  .bar { fill: #545d68 } .bound { fill: #6ea0c8 } .mine { fill: #f5803e } .axis { stroke: #3d444d }
}
"""


def bars(row: Row) -> list[tuple[str, float]]:
    """Ours first, then what it is held against, then the others."""
    keys = [OURS, row.against, *(k for k in ORDER if k != row.against)]
    medians = [(key, row.median(key)) for key in keys]
    return [(key, value) for key, value in medians if value is not None]


def panel(row: Row, x: float, y: float) -> list[str]:
    shown = bars(row)
    scale = (WIDTH - LABEL - VALUE) / max(value for _, value in shown)
    better = "longer is better" if row.more else "shorter is better"
    unit = f"{row.unit}, " if row.unit else ""
    out = [f'<text class="title" x="{x}" y="{y + 14}">{escape(row.plot)}</text>',
           f'<text class="note" x="{x}" y="{y + 30}">{escape(unit + better)}</text>']
    at = y + HEAD
    for key, value in shown:
        kind = "mine" if key == OURS else "bound" if key == row.against else "bar"
        text = ' class="ours"' if key == OURS else ""
        length = max(1.5, value * scale)
        out += [f'<text{text} x="{x + LABEL - 8}" y="{at + 10.5}" text-anchor="end">{escape(key)}</text>',
                f'<rect class="{kind}" x="{x + LABEL}" y="{at}" width="{length:.1f}" height="{BAR}" rx="2"/>',
                f'<text{text} x="{x + LABEL + length + 6:.1f}" y="{at + 10.5}">{figure(value)}</text>']
        at += STEP
    out.append(f'<line class="axis" x1="{x + LABEL}" x2="{x + LABEL}" y1="{y + HEAD - 3}" y2="{at - STEP + BAR + 3}"/>')
    return out


def draw(report: Report) -> str:
    """Two columns, each filled from the top with the next panel where there is more room."""
    body: list[str] = []
    columns = [MARGIN, MARGIN]
    for row in report.rows:
        if not row.plot or row.median(OURS) is None:
            continue
        column = 0 if columns[0] <= columns[1] else 1
        body += panel(row, MARGIN + column * (WIDTH + GAP), columns[column])
        columns[column] += HEAD + STEP * len(bars(row)) + 24
    width, height = 2 * WIDTH + GAP + 2 * MARGIN, max(columns)
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">',
                      "<title>weightfs beside its peers</title>", f"<style>{STYLE}</style>", *body, "</svg>", ""])

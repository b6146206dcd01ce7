"""The results as pictures for the README and the documents: every trial a dot, ours in colour, the rivals in grey."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from tests.benchmarks.report import Groups, by_system
from tests.benchmarks.results import Results, all_trials
from tests.benchmarks.trials import median

OURS, RIVAL, INK, FAINT = "#1b6ca8", "#767c82", "#24292f", "#d8dee4"

mpl.use("Agg")
mpl.rcParams.update(
    {
        "font.family": "DejaVu Sans",
        "font.size": 9.0,
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.edgecolor": FAINT,
        "xtick.color": INK,
        "ytick.color": INK,
    }
)


def draw(results: Results, folder: Path) -> list[Path]:
    """Draw what the results have trials for; the files."""
    trials = all_trials(results)
    drawn = []
    for name, benchmark, metric, title in STRIPS:
        groups = by_system(t for t in trials if (t.benchmark, t.metric) == (benchmark, metric))
        if groups:
            drawn.append(_save(strips(groups, title), folder / f"benchmark-{name}.png"))
    return drawn


#: File, benchmark, metric, title.
STRIPS = (
    ("gap", "failover", "gap", "A worker is killed with kill -9: how long its partition stands still"),
    ("moves", "moves", "gap", "A partition is moved on purpose: how long it stands still"),
)


def strips(groups: Groups, title: str) -> Figure:
    """One row for each system, its trials as dots on a logarithmic axis of milliseconds, the median named."""
    rows = sorted(groups.items(), key=lambda item: median(t.value for t in item[1]))
    figure = Figure(figsize=(8.2, 1.1 + 0.36 * len(rows)), dpi=150, facecolor="white", layout="constrained")
    axes = figure.add_subplot()
    scatter = Random(7)  # dots of one row are moved apart a little, the same way each time
    for row, (system, trials) in enumerate(rows):
        values = [t.value for t in trials]
        colour = OURS if system.startswith("ours") else RIVAL
        heights = [row + scatter.uniform(-0.22, 0.22) for _ in values]
        axes.scatter(values, heights, s=9, color=colour, alpha=0.55, linewidths=0)
        middle = median(values)
        axes.plot([middle, middle], [row - 0.34, row + 0.34], color=colour, linewidth=2.2, solid_capstyle="butt")
        axes.annotate(
            in_time(middle), (max(values), row), xytext=(7, 0), textcoords="offset points", va="center",
            color=colour, fontweight="bold", fontsize=8.5,
        )  # fmt: skip
    axes.set_yticks(range(len(rows)), [system for system, _ in rows])
    axes.set_ylim(len(rows) - 0.45, -0.55)
    _milliseconds(axes, [t.value for _, each in rows for t in each])
    figure.suptitle(title, x=0.008, ha="left", fontsize=10.5, fontweight="bold")
    axes.set_xlabel("each dot a trial, bar and figure the median; logarithmic", loc="right", color=RIVAL, fontsize=8)
    return figure


def in_time(milliseconds: float, _position: object = None) -> str:
    if milliseconds >= 1000:
        return f"{milliseconds / 1000:.3g} s"
    return f"{milliseconds:.0f} ms" if milliseconds >= 10 else f"{milliseconds:.2g} ms"


def _milliseconds(axes: Axes, values: Sequence[float]) -> None:
    axes.set_xscale("log")
    axes.set_xlim(min(values) / 1.6, max(values) * 3.4)
    axes.xaxis.set_major_formatter(FuncFormatter(in_time))
    _restrain(axes)


def _restrain(axes: Axes) -> None:
    """No frame, no ticks, faint lines behind the data."""
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(length=0, which="both")
    axes.grid(visible=True, axis="x", color=FAINT, linewidth=0.7)
    axes.set_axisbelow(True)


def _save(figure: Figure, path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, metadata={"Software": ""})
    return path

"""The plots of each benchmark: the ratio to each reference, round by round, with the median and what was promised;
and, where it measures latencies one by one, percentile curves of ours and of the references together."""

from pathlib import Path
from typing import Any

from benchmarks.agent.sample import NINES

#: On the axis of percentiles: nines, and how they are called.
_PERCENTILES = {NINES[0]: "50", 1.0: "90", 2.0: "99", 3.0: "99.9", 4.0: "99.99"}


def missing() -> str | None:
    """Why nothing can be plotted here, None if it can."""
    from benchmarks.agent import machine

    return machine.no_package("matplotlib")


def draw(bench: str, rows: list[dict[str, Any]], about: dict[str, Any], directory: Path) -> Path:
    """Write DIRECTORY/BENCH.png of a benchmark's results (harness.summary); rows without a ratio are left out.

    Raises OSError when the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = [r for r in rows if r["ratios"]]
    figure = Figure(figsize=(10, 1.6 + 0.42 * len(shown)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for place, row in enumerate(reversed(shown)):
        color = {True: "#1a7f37", False: "#cf222e", None: "#57606a"}[row["met"]]
        axes.plot(row["ratios"], [place] * len(row["ratios"]), "o", color=color, alpha=0.35, markersize=5)
        axes.plot([row["ratio"]], [place], "D", color=color, markersize=7)
        if row["bar"] is not None:
            axes.plot([row["bar"]] * 2, [place - 0.35, place + 0.35], color="black", linewidth=2)
            marker = "<" if row["better"] == "lower" else ">"
            axes.plot([row["bar"]], [place], marker, color="black", markersize=5)
        axes.annotate(f"{row['ratio']:.3g}", (1.01, place), xycoords=("axes fraction", "data"), va="center", fontsize=9)
    labels = [f"{r['metric']}\nto {r['reference_name']}" for r in reversed(shown)]
    axes.set_yticks(range(len(shown)), labels, fontsize=8)
    axes.set_ylim(-0.6, len(shown) - 0.4)
    axes.set_xscale("log")
    axes.axvline(1.0, color="#8c959f", linewidth=1, linestyle=":")
    axes.grid(axis="x", which="major", color="#d0d7de", linewidth=0.6)
    axes.set_xlabel(
        "ours / reference (logarithmic). Diamond: median, dots: rounds, bar: promised, its arrow: the good side",
        fontsize=8,
    )
    figure.suptitle(f"benchmark {bench}", fontsize=12, x=0.01, ha="left")
    axes.set_title(_describe(about), fontsize=8, loc="left")
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    target = directory / f"{bench}.png"
    figure.savefig(target, dpi=110)
    return target


def draw_curves(bench: str, rows: list[dict[str, Any]], about: dict[str, Any], directory: Path) -> Path | None:
    """Write DIRECTORY/BENCH-percentiles.png: for each title among the curves of the results (harness.summary) a panel,
    with ours and every reference that has a curve of that title; None: there are no curves.

    Percentiles are on a logarithmic axis of nines: from 99 to 99.9 it is as far as from 90 to 99. Raises OSError when
    the file cannot be written.
    """
    panels = collect_panels(rows)
    if not panels:
        return None
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(2, len(panels))
    lines = -(-len(panels) // columns)
    figure = Figure(figsize=(6 * columns, 1.0 + 3.2 * lines), layout="constrained")
    FigureCanvasAgg(figure)
    all_axes = figure.subplots(lines, columns, squeeze=False).flatten()
    for axes, (title, (unit, curves)) in zip(all_axes, panels.items(), strict=False):
        for number, (name, values) in enumerate(curves.items()):
            style = {"color": "black", "linewidth": 2.2} if name == "ours" else {"color": f"C{number - 1}"}
            axes.plot(NINES[: len(values)], values, label=name, **style)
        axes.set_xticks(list(_PERCENTILES), [f"p{name}" for name in _PERCENTILES.values()])
        axes.set_xlim(NINES[0], NINES[-1])
        axes.set_yscale("log")
        axes.set_ylabel(f"{unit} (logarithmic)", fontsize=8)
        axes.grid(which="major", color="#d0d7de", linewidth=0.6)
        axes.legend(fontsize=8, frameon=False)
        axes.set_title(title, fontsize=10, loc="left")
    for axes in all_axes[len(panels) :]:
        axes.set_axis_off()
    figure.suptitle(f"benchmark {bench}: percentiles, each the median of the rounds\n{_describe(about)}", fontsize=9)
    target = directory / f"{bench}-percentiles.png"
    figure.savefig(target, dpi=110)
    return target


def collect_panels(rows: list[dict[str, Any]]) -> dict[str, tuple[str, dict[str, list[float]]]]:
    """Returns the panels by title, in the order of the results: the unit, and the curves by name, ours first."""
    panels: dict[str, tuple[str, dict[str, list[float]]]] = {}
    for row in rows:
        if curves := row["curves"]:
            _, of_title = panels.setdefault(curves["title"], (row["unit"], {"ours": curves["ours"]}))
            of_title[row["reference_name"]] = curves["reference"]
    return panels


def _describe(about: dict[str, Any]) -> str:
    return (
        f"{about['cpus']} x {about['cpu']}, Linux {about['kernel']}, isolated {about['isolated_cpus'] or 'none'}, "
        f"{about['scheduler']}, {about['time']}"
    )

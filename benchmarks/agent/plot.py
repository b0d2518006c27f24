"""One plot for each benchmark: the ratio to each reference, round by round, with the median and what was promised."""

from pathlib import Path
from typing import Any


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
    axes.set_title(
        f"{about['cpus']} x {about['cpu']}, Linux {about['kernel']}, isolated {about['isolated_cpus'] or 'none'}, "
        f"{about['scheduler']}, {about['time']}",
        fontsize=8, loc="left",
    )  # fmt: skip
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    target = directory / f"{bench}.png"
    figure.savefig(target, dpi=110)
    return target

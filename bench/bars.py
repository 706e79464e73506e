"""The figure by regimes: how many times as long as crnn the fastest other takes, a bar for each.

    python bench/bars.py all.json avx2.json regimes.svg

draws it from the JSON of runs on one or two instruction sets (see ``run.py``).
"""

import argparse
import json
import statistics
from pathlib import Path

from figure import GREY, STYLE
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from names import REGIMES
from tables import NAMES, contested, instructions, lead

COLOURS = ("#0072B2", "#E69F00")
TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50)


def draw(reports, path):
    """Draw reports of one thread to a file; the end of its name chooses the format."""
    leads = [regime_leads(report["cells"]) for report in reports]
    regimes = sorted({regime for each in leads for regime in each}, key=REGIMES.index)
    height = 0.8 / len(reports)
    with rc_context(STYLE):
        figure = Figure(figsize=(7.5, 1.3 + 0.42 * len(regimes)), layout="constrained")
        axes = figure.subplots()
        for number, (report, found) in enumerate(zip(reports, leads, strict=True)):
            places = [regimes.index(regime) - 0.4 + (number + 0.5) * height for regime in found]
            bars(axes, places, list(found.values()), height, COLOURS[number],
                 instructions(report))
        axes.axvline(1, color="black", linewidth=1.5)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(FixedLocator(TICKS))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda ratio, _: f"{ratio:g}x"))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_yticks(range(len(regimes)), regimes)
        axes.invert_yaxis()
        axes.grid(axis="x", alpha=0.25)
        axes.legend(loc="lower right", fontsize=7.5, edgecolor="none")
        figure.suptitle("How many times as long as crnn the fastest other takes", x=0.01, ha="left",
                        size=12, weight="bold")
        figure.supxlabel(caption(reports[0]["about"]), x=0.01, ha="left", size=7.5, color=GREY)
        figure.savefig(path, dpi=150)


def regime_leads(cells):
    """Return for each regime the ratios of the fastest other, in order."""
    leads = {}
    for cell in contested(cells):
        leads.setdefault(cell["regime"], []).append(lead(cell)[1])
    return {regime: sorted(each) for regime, each in leads.items()}


def bars(axes, places, leads, height, colour, name):
    """Draw the median of each regime as a bar from 1 on, and a line from the least to the most."""
    medians = [statistics.median(each) for each in leads]
    axes.barh(places, [median - 1 for median in medians], height, left=1, color=colour, label=name)
    for place, each in zip(places, leads, strict=True):
        axes.plot([each[0], each[-1]], [place, place], color=GREY, linewidth=1, marker="|",
                  markersize=5)


def caption(about):
    """Return what the figure was measured on and with."""
    versions = ", ".join(f"{NAMES[name]} {version}" for name, version in about["packages"].items())
    return (
        f"Bars: the median of a regime; lines: from the least to the most. One thread,"
        f" {about['processor']}.\n{versions}"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="The figure by regimes.")
    parser.add_argument("reports", nargs="+", type=Path, metavar="JSON",
                        help="what bench/run.py --json has written on one or two instruction sets")
    parser.add_argument("figure", type=Path, help=".svg or .png")
    options = parser.parse_args()
    draw([json.loads(path.read_text())["one_thread"] for path in options.reports], options.figure)

"""The figure by sizes: how many times as long as crnn the others take.

    python bench/figure.py all.json speed.svg

draws it from the JSON of a run (see ``run.py``).
"""

import argparse
import functools
import itertools
import json
from pathlib import Path

from tables import GAIN, NAMES, number

try:
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, NullLocator
except ImportError as error:
    raise SystemExit(f"a figure needs matplotlib ({error}): pip install '.[bench]'") from error

COLOURS = {  # of Okabe and Ito, told apart by most who see few colours
    "numpy": "#0072B2", "numba": "#E69F00", "jax": "#009E73", "onnxruntime": "#CC79A7",
    "openvino": "#56B4E9", "tract": "#999999", "torch": "#D55E00",
}
GREYS = ("black", "#777777", "#AAAAAA")
SHORT = {"onnxruntime": "ONNX RT"}
GREY = "#555555"
STYLE = {
    "font.size": 8, "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": GREY,
    "xtick.color": GREY, "ytick.color": GREY, "svg.hashsalt": "crnn", "svg.fonttype": "none",
}
COLUMNS = 4  # of one kind of network, all of whose tables are drawn
OVERVIEW = {("step", None), ("sequence", 1), ("sequence", 32), ("training", 16)}  # of several: B
RATIOS = (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500)  # ticks
LABEL_GAP = 0.07  # least distance of two labels, as a part of the axis


def draw(report, path):
    """Draw a report to a file; the end of its name chooses the format."""
    one, two = (
        [cell for cell in report.get(part, {"cells": []})["cells"] if cell["regime"] == "sizes"]
        for part in ("one_thread", "two_threads")
    )
    rows = layout(one, two)
    columns = max(map(len, rows))
    with rc_context(STYLE):
        size = 3.1 * columns, 0.7 + 2.5 * len(rows)
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(len(rows), columns, squeeze=False)
        for row, places in zip(rows, grid, strict=True):
            for axes in places[len(row) :]:
                axes.axis("off")
            for draw_panel, axes in zip(row, places, strict=False):
                draw_panel(axes)
        figure.suptitle(
            "How many times as long as crnn the others take: above the line crnn is faster",
            x=0.01, ha="left", size=12, weight="bold",
        )
        figure.supxlabel(caption(report["one_thread"]["about"]), x=0.01, ha="left", size=7.5,
                         color=GREY)
        figure.savefig(path, dpi=150)


def layout(cells, two):
    """Return rows of panels, each a function that draws it on axes.

    Several kinds of networks have a row each, of those tables that tell most; one has all of them.
    The last panel of a kind is of two threads.
    """
    kinds = list(dict.fromkeys(cell["kind"] for cell in cells))
    rows, y_limits = [], limits(cells)
    for kind in kinds:
        tables = by_table(cells, kind)
        if len(kinds) > 1:
            tables = [table for table in tables if tells_most(table[0])] or tables
        panels = [functools.partial(panel, cells=table, y_limits=y_limits) for table in tables]
        if gains := by_table(two, kind):
            panels.append(functools.partial(gain_panel, tables=gains))
        width = COLUMNS if len(kinds) == 1 else len(panels)
        rows += [panels[start : start + width] for start in range(0, len(panels), width)]
    return rows


def tells_most(cell):
    sizes = cell["sizes"]
    return (cell["task"], sizes.get("B")) in OVERVIEW and sizes.get("I") != 1


def by_table(cells, kind):
    """Return the tables of a kind of network, each a list of cells."""
    tables = {}
    for cell in cells:
        if cell["kind"] == kind:
            tables.setdefault(cell["table"], []).append(cell)
    return list(tables.values())


def heading(cell):
    """Return what a panel is of: a cell without its H."""
    H = cell["sizes"]["H"]
    sizes = {letter: "H" if letter == "I" and size == H else size
             for letter, size in cell["sizes"].items() if letter != "H"}
    text = " ".join(f"{letter}={size}" for letter, size in sizes.items())
    return f"{cell['kind']} {cell['task']}, {text}"


def limits(cells):
    """Return the limits of y, the same for all panels."""
    ratios = [each["ratio"] for cell in cells for each in cell["rivals"].values()]
    return min(0.7, min(ratios) / 1.2), max(ratios) * 1.3


def caption(about):
    """Return what the figure was measured on and with."""
    versions = [f"{NAMES[name]} {version}" for name, version in about["packages"].items()]
    return (
        f"{about['processor']}, {about['dtype']}, one thread; medians, measured in turn; each in"
        f" the fastest of its forms: {', '.join(versions)}"
    )


def panel(axes, cells, y_limits):
    """Draw a table: a line for each peer, crnn the line at 1."""
    sizes = [cell["sizes"]["H"] for cell in cells]
    starts = {"crnn": (1, "black")}
    for name, colour in COLOURS.items():
        ratios = [cell["rivals"].get(name, {}).get("ratio") for cell in cells]
        if None not in ratios:
            line(axes, sizes, ratios, colour)
            starts[SHORT.get(name, NAMES[name])] = ratios[0], colour
    axes.plot(sizes, [1] * len(sizes), color="black", linewidth=2)
    axes.axhspan(y_limits[0], 1, color="black", alpha=0.07, linewidth=0)
    axes.set_yscale("log")
    axes.set_ylim(y_limits)
    axes.set_yticks([ratio for ratio in RATIOS if y_limits[0] <= ratio <= y_limits[1]])
    times = [number(cell["rivals"]["crnn"]["median_us"] / cell["unit_us"]) for cell in cells]
    texts = [f"{size}\n{time}" for size, time in zip(sizes, times, strict=True)]
    finish(axes, heading(cells[0]), dict(zip(sizes, texts, strict=True)))
    unit = cells[0]["unit"].replace("us", "\N{MICRO SIGN}s")
    axes.set_xlabel(f"H; below it crnn's {unit}", size=7.5, color=GREY)
    label(axes, sizes[0], starts)


def gain_panel(axes, tables):
    """Draw how many times as fast crnn is on two threads as on one."""
    for cells, colour in zip(tables, GREYS, strict=False):
        gains = [cell["one_thread"]["ratio"] for cell in cells]
        line(axes, [cell["sizes"]["H"] for cell in cells], gains, colour)
        axes.lines[-1].set_label(f"{cells[0]['task']} B={cells[0]['sizes']['B']}")
    sizes = sorted({cell["sizes"]["H"] for cells in tables for cell in cells})
    axes.axhline(GAIN, color=GREY, linewidth=1, linestyle=":", label="goal")
    axes.set_ylim(0, 2.05)
    title = f"{tables[0][0]['kind']} on two threads: times as fast"
    finish(axes, title, {size: str(size) for size in sizes})
    axes.set_xlim(left=sizes[0] / 1.25)
    axes.set_xlabel("H", size=7.5, color=GREY)
    axes.legend(loc="lower right", fontsize=7.5, edgecolor="none")


def line(axes, x, y, colour):
    axes.plot(x, y, color=colour, marker="o", markersize=3, linewidth=1.5)


def finish(axes, title, sizes):
    """Give a panel its title, its grid and an x-axis of sizes with room for labels on the left."""
    axes.set_title(title, loc="left", size=8.5, weight="bold")
    axes.grid(axis="y", alpha=0.25)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda ratio, _: f"{ratio:g}x"))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_xscale("log", base=2)
    first, last = min(sizes), max(sizes)
    axes.set_xlim(first / (last / first) ** 0.45, last * 1.25)
    axes.set_xticks(list(sizes), list(sizes.values()), size=6.5)
    axes.xaxis.set_minor_locator(NullLocator())


def label(axes, x, starts):
    """Write each line's name before its start, (y, colour), names apart from each other."""
    to_axes = axes.transData + axes.transAxes.inverted()
    places = {name: to_axes.transform((x, y)) for name, (y, _) in starts.items()}
    heights = spread({name: place[1] for name, place in places.items()}, LABEL_GAP)
    for name, (_, colour) in starts.items():
        axes.annotate(
            name, places[name], (places[name][0] - 0.05, heights[name]), "axes fraction",
            ha="right", va="center", color=colour, weight="bold" if name == "crnn" else "normal",
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.6, "shrinkB": 3},
        )


def spread(places, gap):
    """Return places moved as little as may be, in the same order, so that none are too close."""
    names = sorted(places, key=places.get)
    moved = dict(places)
    for _ in range(200):
        for low, high in itertools.pairwise(names):
            missing = max(0, gap - (moved[high] - moved[low]))
            moved[low] -= missing / 2
            moved[high] += missing / 2
    return moved


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="The figure by sizes.")
    parser.add_argument("report", type=Path, metavar="JSON", help="what run.py --json has written")
    parser.add_argument("figure", type=Path, help=".svg or .png")
    options = parser.parse_args()
    draw(json.loads(options.report.read_text()), options.figure)

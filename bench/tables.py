"""A report as Markdown: the verdict first, then a table for each task.

    python bench/tables.py all.json avx2.json

writes what earlier runs have measured (see ``run.py``): beside each other by regimes, then each.
"""

import argparse
import json
import statistics
from pathlib import Path

from measure import ELSEWHERE
from names import REGIMES

NAMES = {
    "crnn": "crnn", "float32": "crnn in float32", "numpy": "NumPy", "numba": "Numba", "jax": "JAX",
    "onnxruntime": "ONNX Runtime", "openvino": "OpenVINO", "tract": "tract", "torch": "PyTorch",
}
INSTRUCTIONS = {"avx512": "AVX-512", "avx2": "AVX2", "baseline": "baseline"}
GAIN = 1.85  # of two threads, wanted
SMALL = ["**Small sizes, hardly timed: that the results agree is what counts.**"]
GOALS = {"goal_us": "goal", "goal_here_us": "goal here"}
OWN = {"crnn", "float32"}  # who are no others


def markdown(report):
    """Return a whole report."""
    lines = []
    if one := report.get("one_thread"):
        names, cells = ["crnn", *one["about"]["packages"]], one["cells"]
        lines += head(one["about"], cells)
        lines += SMALL if one["about"]["quick"] else verdict(cells)
        for title in dict.fromkeys(cell["table"] for cell in cells):
            rows = [cell for cell in cells if cell["table"] == title]
            own = ["float32"] * any("float32" in cell["rivals"] for cell in rows)
            lines += table(title, rows, [names[0], *own, *names[1:]])
    two = report.get("two_threads")
    if two and two["cells"]:
        lines += two_threads(two["cells"], ["crnn", *two["about"]["packages"]])
    elif not one:
        lines.append("Nothing of this takes one thread more than 1 ms over many steps.")
    return "\n".join(lines)


# --- what was measured, and what came of it ------------------------------------------------------


def head(about, cells):
    """Return the lines above the verdict."""
    versions = [f"{NAMES[name]} {version}" for name, version in about["packages"].items()]
    limits = [cell["limit"] for cell in cells if cell["limit"]]
    gauges = {limit[name] for limit in limits for name in ("peak", "read")} - {None}
    return [
        ", ".join([
            f"crnn {about['version']} ({about['instruction_set']}, {about['compiler']})",
            about["processor"], f"Python {about['python']}", *versions, about["dtype"],
        ]),
        "",
        *(f"- {NAMES[name]} is left out: {reason}" for name, reason in about["missing"].items()),
        f"- Results agree: they differ by at most {about['largest_difference']:.1g} of the largest"
        f" entry; {about['tolerance']:g} is allowed.",
        "- Times are medians of CPU time on one thread; in brackets how many times as long as crnn"
        " (median of rounds). Each rival is in the fastest of its forms. Bold: the fastest.",
        *timed_by_process(cells),
        "- Of limit: the part that crnn reaches of what the arithmetic of this machine, and reading"
        f" weights from its caches, allow, as measured beside it ({', '.join(sorted(gauges))})."
        " In steps of less than a microsecond the call itself is most of the time.",
        *["- Goal: as set on an AMD Zen 5, and here: scaled by what the two machines allow."]
        * any("goal_us" in cell for cell in cells),
        "",
    ]


def timed_by_process(cells):
    """Return a line about rivals that leave work to other threads than the one that asks."""
    found = {
        f"{NAMES[name]} ({cell['kind']} {cell['task']})": None
        for cell in cells
        for name, each in cell["rivals"].items()
        if each["in_other_threads"] > ELSEWHERE
    }
    if not found:
        return []
    return [f"- With work in threads of their own, which counts as well: {', '.join(found)}."]


def verdict(cells):
    """Return lines that say where crnn is not the fastest, and which goals are not met."""
    compared = contested(cells)
    behind = [cell for cell in compared if not lead(cell)[1] >= 1]
    ahead = len(compared) - len(behind)
    lines = [f"**crnn is the fastest in {ahead} of {len(compared)} cells.**"]
    lines += [
        f"- {cell_text(cell)}: {peer} takes {ratio:.2f}x"
        for cell in behind
        for peer, ratio in [lead(cell)]
    ]
    for key, what in GOALS.items():
        goals = [cell for cell in cells if key in cell]
        if goals:
            met = [cell for cell in goals if meets(cell, key)]
            lines.append(f"- {what} met in {len(met)} of {len(goals)} cells")
    return lines


def contested(cells):
    """Return the cells in which crnn is not alone."""
    return [cell for cell in cells if cell["rivals"].keys() - OWN]


def lead(cell):
    """Return the fastest peer's name and how many times as long as crnn it takes."""
    ratios = {name: each["ratio"] for name, each in cell["rivals"].items() if name not in OWN}
    peer = min(ratios, key=ratios.get)
    return NAMES[peer], ratios[peer]


def meets(cell, key):
    return cell["rivals"]["crnn"]["median_us"] <= cell[key]


# --- regimes -------------------------------------------------------------------------------------


def by_regimes(reports):
    """Return the lines of a table of regimes beside each other, and where crnn is not ahead.

    Parameters
    ----------
    reports : list of dict
        What runs on different instruction sets have measured on one thread.
    """
    heads = [instructions(report) for report in reports]
    columns = ["", *(f"{head}: {what}" for head in heads
                     for what in ("fastest in", "median", "least"))]
    lines = [markdown_row(columns), rule(len(columns))]
    measured = {cell["regime"] for report in reports for cell in report["cells"]}
    for regime in sorted(measured, key=REGIMES.index):
        columns = [regime]
        for report in reports:
            columns += regime_columns([each for each in report["cells"]
                                       if each["regime"] == regime])
        lines.append(markdown_row(columns))
    return lines + close(reports)


def instructions(report):
    return INSTRUCTIONS[report["about"]["instruction_set"]]


def regime_columns(cells):
    """Return in how many cells crnn is the fastest, and the median and the least lead."""
    leads = [lead(cell) for cell in contested(cells)]
    if not leads:
        return ["-"] * 3
    ratios = [ratio for _, ratio in leads]
    peer, least = min(leads, key=lambda each: each[1])
    ahead = sum(ratio >= 1 for ratio in ratios)
    return [f"{ahead} of {len(ratios)}", f"{number(statistics.median(ratios))}x",
            f"{number(least)}x ({peer})"]


def close(reports, enough=1.1):
    """Return a table of the cells where another is faster, or nearly as fast."""
    columns = ["", "", "crnn", "fastest other", "times", "of limit"]
    lines = ["", f"Where the lead is less than {enough}x:", "", markdown_row(columns),
             rule(len(columns))]
    for report in reports:
        found = [(lead(cell), cell) for cell in contested(report["cells"])]
        for (peer, ratio), cell in sorted(found, key=lambda each: each[0][1]):
            if ratio < enough:
                own = number(cell["rivals"]["crnn"]["median_us"] / cell["unit_us"])
                limit = f"{cell['limit']['reached']:.0%}" if cell["limit"] else "-"
                lines.append(markdown_row([
                    instructions(report), cell_text(cell), f"{own} {cell['unit']}", peer,
                    f"{ratio:.2f}x", limit]))
    return lines


# --- tables --------------------------------------------------------------------------------------


def table(title, cells, names):
    """Return the lines of a table of one task."""
    columns = ["", *(NAMES[name] for name in names), "of limit"]
    columns += [head for key, head in GOALS.items() if key in cells[0]]
    if "memory" in cells[0]:
        columns.append("peak KiB (states)")
    return [
        "", f"### {title}: {cells[0]['unit']}", "",
        markdown_row(columns), rule(len(columns)), *(table_row(cell, names) for cell in cells),
    ]


def table_row(cell, names):
    """Return one line of a table."""
    columns = [cell["line"], *rival_columns(cell, names, cell["unit_us"])]
    columns.append(f"{cell['limit']['reached']:.0%}" if cell["limit"] else "-")
    for key in GOALS:
        if key in cell:
            answer = "yes" if meets(cell, key) else "no"
            columns.append(f"{number(cell[key] / cell['unit_us'])} {answer}")
    if "memory" in cell:
        peak, states = (cell["memory"][f"{name}_bytes"] / 1024 for name in ("peak", "states"))
        columns.append(f"{number(peak)} ({number(states)})")
    return markdown_row(columns)


def rival_columns(cell, names, unit_us):
    """Return each rival's time and ratio, the fastest one's bold; "-" for who takes no part."""
    rivals = cell["rivals"]
    first = min(rivals, key=lambda name: rivals[name]["ratio"])
    columns = []
    for name in names:
        text = "-"
        if name in rivals:
            text = number(rivals[name]["median_us"] / unit_us)
            if name != "crnn":
                text += f" ({number(rivals[name]['ratio'])}x)"
        columns.append(f"**{text}**" if name == first else text)
    return columns


def two_threads(cells, names):
    """Return the lines of the table of two threads."""
    compared = contested(cells)
    ahead = [cell for cell in compared if lead(cell)[1] >= 1]
    gaining = [cell for cell in cells if cell["one_thread"]["ratio"] >= GAIN]
    columns = ["", "crnn, one thread", "gain", *(NAMES[name] for name in names), "load"]
    return [
        "", "### Two threads, wall clock: ms", "",
        "Batches that take one thread more than 1 ms; all but the second column on two threads."
        f" **crnn is the fastest in {len(ahead)} of {len(compared)} cells**, and gains {GAIN}x at"
        f" least in {len(gaining)} of {len(cells)}. Load: how many processors other programs kept"
        " busy meanwhile; with much more than 0 it tells little.",
        "", markdown_row(columns), rule(len(columns)),
        *(two_threads_row(cell, names) for cell in cells),
    ]


def two_threads_row(cell, names):
    alone, load = cell["one_thread"], cell["others_processors"]
    return markdown_row([
        cell_text(cell), number(alone["median_us"] / 1000), f"{alone['ratio']:.2f}x",
        *rival_columns(cell, names, 1000), "-" if load is None else f"{load:.1f}",
    ])


def markdown_row(columns):
    return f"| {' | '.join(columns)} |"


def rule(columns):
    """Return the line below the head: words in the first column, numbers in the others."""
    return markdown_row(["---"] + ["---:"] * (columns - 1))


def cell_text(cell):
    sizes = " ".join(f"{letter}={size}" for letter, size in cell["sizes"].items())
    dtype = " float64" * (cell.get("dtype") == "float64")
    return f"{cell['kind']} {cell['task']} {sizes}{dtype}"


def number(value):
    """Return a number to about three digits."""
    digits = 3 if value < 0.1 else 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{digits}f}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Tables of what bench/run.py --json has written.")
    parser.add_argument("reports", nargs="+", type=Path, metavar="JSON")
    found = [json.loads(path.read_text()) for path in parser.parse_args().reports]
    print("\n".join(by_regimes([report["one_thread"] for report in found])))
    for report in found:
        print(f"\n{markdown(report)}")

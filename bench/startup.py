"""What it takes to begin: the time of an import, memory, and the size of what is installed."""

import importlib.metadata
import json
import os
import re
import statistics
import subprocess
import sys
from pathlib import Path

import rivals

ROUNDS = 9
PROGRAM = """
import json, time
start = time.process_time()
{do}
us = 1e6 * (time.process_time() - start)
peak = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(json.dumps([us, int(peak[0]) / 1024]))
"""
IMPORTS = {  # crnn takes a step, too
    "crnn": "import crnn; crnn.RNN(16, 16).step([0.5] * 16)", "numpy": "import numpy",
    "numba": "import numba", "jax": "import jax.numpy", "onnxruntime": "import onnxruntime",
    "openvino": "import openvino", "tract": "import tract", "torch": "import torch",
}
LINES = {"import": ("ms", 1000), "memory at most": ("MiB", 1), "installed": ("MiB", 1)}


def rows(quick):
    """Return a row for the time, the memory and the size, ready for JSON; on Linux alone."""
    if not Path("/proc/self/status").exists():
        return []
    names = ["crnn", *rivals.find()[0]]
    measured = {name: [] for name in names}
    for name in names:
        begun(name)  # modules are compiled the first time
    for _ in range(1 if quick else ROUNDS):
        for name in names:
            measured[name].append(begun(name))
    found = {
        "import": {name: [us for us, _ in each] for name, each in measured.items()},
        "memory at most": {name: [mib for _, mib in each] for name, each in measured.items()},
        "installed": {name: [installed(name)] for name in names},
    }
    return [row(line, found[line]) for line in LINES]


def begun(name):
    """Return the microseconds of CPU time of an import, and the MiB of memory at its peak."""
    program = PROGRAM.format(do=IMPORTS[name])
    environment = {key: value for key, value in os.environ.items()
                   if key != "PYTHONDONTWRITEBYTECODE"}  # compiled modules are kept, as usual
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True,
                          text=True, check=True)
    return json.loads(done.stdout)


def installed(name, seen=None):
    """Return the MiB of a package's files and of those of all that it needs."""
    seen = set() if seen is None else seen
    seen.add(name)
    try:
        package = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        if name != "crnn":
            return 0
        folder = Path(__import__(name).__file__).parent  # the checkout itself
        files = (each for each in folder.rglob("*") if each.suffix in (".py", ".so"))
        needed = ["numpy", "safetensors"]
    else:
        files = (Path(file.locate()) for file in package.files or ())
        needed = [re.match(r"[\w.-]+", text)[0].lower().replace("_", "-")
                  for text in package.requires or () if "extra ==" not in text]
    own = sum(file.stat().st_size for file in files if file.exists()) / 2**20
    return own + sum(installed(each, seen) for each in needed if each not in seen)


def row(line, values):
    unit, unit_us = LINES[line]
    own = statistics.median(values["crnn"])
    described = {
        name: {"form": "", "in_other_threads": 0, "median_us": statistics.median(each),
               "minimum_us": min(each), "ratio": statistics.median(each) / own,
               "ratio_of_minima": min(each) / min(values["crnn"])}
        for name, each in values.items()
    }
    return {
        "regime": "start", "kind": "process", "task": "start", "table": f"Start: {line}",
        "sizes": {"what": line},
        "dtype": "float32", "line": line, "unit": unit, "unit_us": unit_us,
        "largest_difference": 0, "rivals": described, "limit": None,
    }

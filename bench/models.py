"""How fast trained networks run that others have published: crnn beside ONNX Runtime.

    python bench/models.py path/to/models --json models.json

The folder has the files that tests/exchange/test_shared_models.py names. Each network is read by
`crnn.from_torch` and handed to ONNX Runtime by `net.to_onnx`; their outputs are compared before
anything is timed. A step is one call with a state that goes on, a sequence one call with all steps,
both of one sequence in float32 on one thread. Times are medians of windows that take turns.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from run import keep_to_threads

MODELS = {  # how a file is read
    "nam_boss_lstm1x16": {"layers": ["rec", "lin"], "initial_state": ("h0", "c0")},
    "nam_boss_lstm2x8": {"layers": ["rec", "lin"], "initial_state": ("h0", "c0")},
    "nam_darkglass_lstm3": {"layers": ["rec", "lin"], "initial_state": ("h0", "c0")},
    "rtneural_lstm_torch_4layers": {"layers": ["lstm", "lstm2", "dense"]},
    "rtneural_gru_torch_4layers": {"layers": ["gru", "gru2", "dense"]},
    "rtneural_keras_gru_1d": {
        "layers": ["layers.0.gru", "layers.1.dense", "layers.2.dense"],
        "activations": {"layers.1.dense": "sigmoid"}},
    "silero_vad_16k_lstm128": {
        "layers": ["rec", "final"], "activations": {"rec": "relu", "final": "sigmoid"}},
}
TOLERANCE = 1e-4  # of outputs in float32
WINDOWS, SHORTEST = 15, 0.01  # for each measurement, and the seconds of each


class OnnxNetwork:
    """A network in ONNX Runtime, on one thread, with a state that goes on."""

    def __init__(self, net):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "net.onnx")
            net.to_onnx(path, state=True)
            self._session = onnxruntime.InferenceSession(path.read_bytes(), options)
        start = net.stream(1).state
        parts = start if isinstance(start, tuple) else (start,)
        arrays = [each for part in parts for each in (part if isinstance(part, list) else [part])]
        names = [each.name for each in self._session.get_inputs()[1:]]
        self._start = dict(zip(names, arrays, strict=True))
        self._state = dict(self._start)

    def sequence(self, x):
        return self._session.run(None, {"x": x, **self._start})[0]

    def step(self, x):
        y, *state = self._session.run(None, {"x": x, **self._state})
        self._state = dict(zip(self._state, state, strict=True))
        return y


def seconds(calls):
    """Return the median seconds of each of some calls, by name; they take turns."""
    counts, found = {}, {name: [] for name in calls}
    for name, call in calls.items():
        start, counts[name] = time.perf_counter(), 0
        while time.perf_counter() - start < SHORTEST:
            call()
            counts[name] += 1
    for _ in range(WINDOWS):
        for name, call in calls.items():
            start = time.perf_counter()
            for _ in range(counts[name]):
                call()
            found[name].append((time.perf_counter() - start) / counts[name])
    return {name: statistics.median(each) for name, each in found.items()}


def measured(path, arguments):
    """Return the figures of a file, ready for JSON."""
    import numpy as np
    import safetensors.numpy

    import crnn

    x = safetensors.numpy.load_file(path)["x"]
    x = np.ascontiguousarray(x.reshape(len(x), 1, -1)[:1000], np.float32)
    net = crnn.from_torch(path, **arguments)
    other = OnnxNetwork(net)
    difference = float(np.abs(net(x)[0] - other.sequence(x)).max())
    if not difference < TOLERANCE:
        raise SystemExit(f"{path.stem}: outputs differ by {difference}")
    stream, out = net.stream(1), np.empty((1, net.output_size), np.float32)
    one, first = x[0].copy(), x[:1].copy()
    steps = seconds({
        "crnn": lambda: stream.step(one, out), "onnxruntime": lambda: other.step(first)})
    whole = seconds({"crnn": lambda: net(x), "onnxruntime": lambda: other.sequence(x)})
    return {"model": path.stem, "network": repr(net), "steps": len(x), "difference": difference,
            "step": steps, "sequence": whole}


def table(rows):
    """Return the lines of a Markdown table."""
    heads = ["network", *(f"a {kind}, crnn | ONNX Runtime | times"
                          for kind in ("step", "sequence"))]
    lines = [f"| {' | '.join(heads)} |", "|---|---:|---:|---:|---:|---:|---:|"]
    for row in rows:
        cells = [row["model"]]
        for kind, unit in (("step", 1e6), ("sequence", 1e3)):
            own, other = row[kind]["crnn"], row[kind]["onnxruntime"]
            name = {1e6: "us", 1e3: "ms"}[unit]
            cells += [f"{own * unit:.3g} {name}", f"{other * unit:.3g} {name}",
                      f"{other / own:.1f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the files are")
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    options = parser.parse_args()
    keep_to_threads(1, os.environ)
    files = {path.stem: path for path in sorted(options.folder.glob("*.safetensors"))}
    rows = [measured(files[name], arguments) for name, arguments in MODELS.items() if name in files]
    if not rows:
        sys.exit(f"none of {', '.join(MODELS)} is in {options.folder}")
    print("\n".join(table(rows)))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

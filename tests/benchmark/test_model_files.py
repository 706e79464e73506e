"""The benchmark of trained networks: it compares outputs, and writes what it has measured."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

pytestmark = pytest.mark.no_backend

PROGRAM = Path(__file__).resolve().parents[2] / "bench" / "models.py"


def test_a_network_is_compared_and_timed(tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    rng = np.random.default_rng(0)
    shapes = {"rec.weight_ih_l0": (12, 1), "rec.weight_hh_l0": (12, 3), "rec.bias_ih_l0": (12,),
              "rec.bias_hh_l0": (12,), "lin.weight": (1, 3), "lin.bias": (1,), "h0": (1, 1, 3),
              "c0": (1, 1, 3), "x": (40, 1, 1)}
    save_file({name: rng.uniform(-1, 1, shape).astype(np.float32)
               for name, shape in shapes.items()}, tmp_path / "nam_darkglass_lstm3.safetensors")
    done = subprocess.run([sys.executable, PROGRAM, tmp_path, "--json", tmp_path / "figures.json"],
                          capture_output=True, text=True, check=True)
    row, = json.loads((tmp_path / "figures.json").read_text())
    assert row["difference"] < 1e-5
    assert row["step"]["crnn"] > 0
    assert "| nam_darkglass_lstm3 |" in done.stdout
    empty = subprocess.run([sys.executable, PROGRAM, tmp_path / "nothing"], capture_output=True,
                           text=True, check=False)
    assert empty.returncode == 1
    assert "none of nam_boss" in empty.stderr

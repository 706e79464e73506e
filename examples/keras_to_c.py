"""From a Keras model to a C header, and is it the same network?

The header steps the network on a machine that has neither Python nor memory to spare. Where there
is a C compiler, a small program reads random inputs, runs them through the header, and its outputs
are compared with what crnn computes in double precision.
"""

import argparse
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

import crnn

PROGRAM = """
#include <stdio.h>
#include "{header}"

int main(void)
{{
    net_state state;
    float x[{inputs}], y[{outputs}];
    net_reset(&state);
    while (fread(x, sizeof x, 1, stdin) == 1) {{
        net_step(&state, x, y);
        fwrite(y, sizeof y, 1, stdout);
    }}
    return 0;
}}
"""


def outputs_of(header, x, outputs):
    """Return what a program with the header makes of x (T, I), step by step: (T, O)."""
    with tempfile.TemporaryDirectory() as folder:
        source, program = Path(folder, "main.c"), Path(folder, "main")
        source.write_text(PROGRAM.format(
            header=header.resolve(), inputs=x.shape[1], outputs=outputs))
        subprocess.run(["cc", "-std=c99", "-O2", source, "-o", program, "-lm"], check=True)
        done = subprocess.run([program], input=x.tobytes(), capture_output=True, check=True)
    return np.frombuffer(done.stdout, np.float32).reshape(len(x), outputs)


def main(arguments=None):
    """Run the example; return the largest difference, or None without a compiler."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a .h5 or .keras file, of a model that takes floats")
    parser.add_argument("header", type=Path, help="the .h file to write")
    parser.add_argument("--weights", choices=("float", "int8"), default="float")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)

    net = crnn.from_keras(options.model, dtype="float64")
    net.to_c(options.header, weights=options.weights)
    print(f"{net}\n{options.header}: {options.header.stat().st_size:,} bytes")
    if shutil.which("cc") is None:
        print("there is no C compiler here to try it with")
        return None
    rng = np.random.default_rng(options.seed)
    x = rng.standard_normal((options.steps, net.input_size)).astype(np.float32)
    exact = np.array([net.step(each) for each in x])
    difference = np.abs(outputs_of(options.header, x, exact.shape[1]) - exact).max()
    print(f"{options.steps:,} steps in C: at most {difference:.1g} from those of crnn")
    return difference


if __name__ == "__main__":
    main()

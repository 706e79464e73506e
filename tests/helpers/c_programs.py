"""Programs of C: what is compiled with a header that crnn has written, and run."""

import shutil
import subprocess

import numpy as np
import pytest

CC, CXX = shutil.which("cc") or shutil.which("gcc"), shutil.which("c++") or shutil.which("g++")
WARNINGS = ["-Wall", "-Wextra", "-pedantic", "-Wshadow", "-Wconversion", "-Wdouble-promotion",
            "-Werror"]
MAIN = """\
#include <stdio.h>
#include "{name}.h"

int main(void)
{{
    {name}_state state;
    {x};
    float y[{outputs}];
    {name}_reset(&state);
    while (fread({address}, sizeof x, 1, stdin) == 1) {{
        {name}_step(&state, x, y);
        fwrite(y, sizeof y, 1, stdout);
    }}
    return 0;
}}
"""
needs_cc = pytest.mark.skipif(CC is None, reason="needs a C compiler")


def compiled(folder, *sources, compiler=CC, options=("-std=c99", "-O2")):
    """Compile files in a folder without a warning; return the program."""
    program = folder / "program"
    done = subprocess.run(
        [compiler, *options, *WARNINGS, *sources, "-o", program, "-lm"], cwd=folder, text=True,
        capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return program


def stepped(folder, x, outputs, name="net", **options):
    """Return what ``name.h`` in a folder makes of x, step by step (T, outputs)."""
    x = np.asarray(x)
    is_of_tokens = x.dtype.kind in "iu"
    (folder / "main.c").write_text(MAIN.format(
        name=name, outputs=outputs, x="int x" if is_of_tokens else f"float x[{x.shape[1]}]",
        address="&x" if is_of_tokens else "x"))
    program = compiled(folder, "main.c", **options)
    data = x.astype(np.intc if is_of_tokens else np.float32).tobytes()
    done = subprocess.run([program], input=data, capture_output=True, check=True)
    return np.frombuffer(done.stdout, np.float32).reshape(-1, outputs)

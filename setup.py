"""Build the compiled kernels: the same source once for each instruction set and dtype."""

import contextlib
import os
import platform
import re
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

# -fno-trapping-math and -fno-math-errno let loops with a comparison or a rounding vectorize;
# neither changes a result. -ffast-math would (NaN, the rounding inside tanh): it is never used.
# -ffp-contract=off leaves it to the source what is fused, so that it is the same in every loop.
# Unwind tables are for exceptions of C++, and a tenth of each module.
OPTIMIZE = ["-O3", "-g0", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off",
            "-fno-asynchronous-unwind-tables"]


def compiles_with_gcc():
    """Return whether the compiler, whatever it is called, is gcc."""
    command = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
    with contextlib.suppress(OSError):
        version = subprocess.run([*shlex.split(command), "--version"], capture_output=True)
        return b"Free Software Foundation" in version.stdout
    return False


IS_GCC = compiles_with_gcc()
if IS_GCC:
    # Short copies are not to become memcpy, for which gcc moves sums from registers to memory; nor
    # are two rows to be added to sums at once, number by number.
    OPTIMIZE += ["-fno-tree-loop-distribute-patterns", "-fno-loop-unroll-and-jam"]
    # Modules would be a tenth larger by what makes nothing faster: loops over sequences that are
    # there once for those that go on and once for those that are over, small functions that are
    # copied into Python's calls, and gaps before functions and the targets of jumps (loops do start
    # on a line of their own).
    OPTIMIZE += ["-fno-split-loops", "--param", "early-inlining-insns=6", "-fno-align-functions",
                 "-fno-align-jumps", "-fno-align-labels"]
# Code and constants share a page of memory where one ends and the other begins: pages of their own
# are zeros, 4 kB and more of each module.
LINK = ["-Wl,-z,noseparate-code"] if sys.platform == "linux" else []


def unrolled(iterations):
    """Return flags that let gcc unroll loops of so many iterations completely, and no longer ones.

    It does so before it looks for vectors, and finds none in what was a loop over a panel's columns
    (two vectors or more); afterwards it should: the loop over a panel's vectors, up to four.
    """
    return ["--param", f"max-completely-peel-times={iterations}"] if IS_GCC else []


INSTRUCTION_SETS = {"baseline": unrolled(3)}
HAS_MORE_BUILDS = (
    platform.machine().lower() in {"x86_64", "amd64"}
    and sys.platform != "win32"
    and "-arch arm64" not in (sysconfig.get_config_var("CFLAGS") or "")  # macOS, two processors
)
if HAS_MORE_BUILDS:
    # kernels/cpu.pyx asks the processor for exactly these features
    if IS_GCC:      # for few processors, those from before 2013: no function is there twice
        INSTRUCTION_SETS["baseline"] += ["-fno-ipa-cp-clone", "--param", "max-inline-insns-auto=15"]
    INSTRUCTION_SETS["avx2"] = ["-mavx2", "-mfma", *unrolled(3)]
    INSTRUCTION_SETS["avx512"] = [
        *("-mavx2", "-mfma", *unrolled(7)),
        *("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl"),
        "-mprefer-vector-width=512",
    ]
DTYPES = {"float": [("REAL_IS_FLOAT", "1")], "double": [("REAL_IS_FLOAT", "0")]}
DIRECTIVES = {
    "language_level": 3,
    "boundscheck": False,
    "wraparound": False,
    "cdivision": True,
    "initializedcheck": False,
    "embedsignature": True,
    "auto_pickle": False,
}


class BuildKernels(build_ext):
    """Builds the kernels, or fails with the remedy: without them crnn is not crnn."""

    def run(self):
        try:
            super().run()
        except Exception as error:
            raise SystemExit(
                f"crnn could not be compiled: {error}\n"
                "It needs a C compiler (gcc or clang) and Python's headers; on Debian and Ubuntu:"
                " apt-get install gcc python3-dev"
            ) from error
        if not self.inplace:
            # Beside the sources too, so that Python started in a checkout, where ./crnn comes
            # before the installed package, finds them; a checkout that is read-only stays as it is.
            with contextlib.suppress(OSError):
                self.copy_extensions_to_source()


def kernel(name, flags=(), macros=(), kind="pyx"):
    compile_args = [] if sys.platform == "win32" else [*OPTIMIZE, *flags]
    return Extension(
        f"crnn.kernels.{name}",
        [f"crnn/kernels/{name}.{kind}"],
        include_dirs=[numpy.get_include()],
        define_macros=[
            ("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION"),
            # a second constructor of each class, for those that make thousands of objects a second
            ("CYTHON_VECTORCALL_TPNEW", "0"),
            *macros,
        ],
        extra_compile_args=compile_args,
        extra_link_args=LINK,
    )


# Functions in Cython's C that run once a plan, a network or a text, and edges for tests. A loop in
# them would not be vectorized, nor one in a function that nothing else calls.
COLD = re.compile(
    r"""^static\ (?=[\w ]+[ *](?:
        __pyx_tp_\w+ | __pyx_[gs]etprop_\w+                 # of Python's classes
        | __Pyx_NonPyLong_\w+                               # what is no int where one is wanted
        | __pyx_p[wf]_\w*?(?:__\w+__ | prepare_\w+ | set_\w+ | reset | linear | linear_gradients
                             | row_losses)
        | __pyx_\w+?_(?:float|double)_\d*(?:activation | activation_of | fold | kind_of | pack
                                           | step | write_texts | _\w+_as_if)
        | __pyx_f_\w+_7Stepper_(?:fold | new_arrays | pack | point_states | states_in)
    )\()""",
    re.MULTILINE | re.VERBOSE,
)


def mark_cold(path):
    """Have the functions named above compiled for size, beside loops that are compiled for speed.

    They were a quarter of each module, and are half as large this way. What runs once a pass is not
    among them: a pass over a few steps would take 5 % longer. Cython has no word for it, so that
    its C is changed.
    """
    if sys.platform == "win32":
        return
    text = Path(path).read_text(encoding="utf-8")
    marked = COLD.sub("static __attribute__((cold)) ", text)
    if marked != text:
        Path(path).write_text(marked, encoding="utf-8")


extensions = [kernel("cpu", macros=[("CRNN_X86_64_BUILDS", None)] if HAS_MORE_BUILDS else [])]
extensions += [kernel("memory", ["-Os"]), kernel("pool", ["-Os"])]
extensions += [
    kernel(f"{name}_{dtype}", flags, macros)
    for name, flags in INSTRUCTION_SETS.items() for dtype, macros in DTYPES.items()
]
# Cython's own code behind memoryviews, which would be part of every module; cythonize writes it. It
# runs once a call, if at all, and is a quarter smaller this way.
extensions += [kernel("_shared", ["-Os"], kind="c")]
extensions = cythonize(
    extensions,
    compiler_directives=DIRECTIVES,
    shared_utility_qualified_name="crnn.kernels._shared",
)
for extension in extensions:
    mark_cold(extension.sources[0])
setup(
    ext_modules=extensions,
    cmdclass={"build_ext": BuildKernels},
    options={"build_ext": {"parallel": True}},
)

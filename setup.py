"""Build the compiled kernels: the same source once for each instruction set and dtype."""

import contextlib
import os
import platform
import shlex
import subprocess
import sys
import sysconfig

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
    # Short copies are not to become memcpy, for which gcc moves sums from registers to memory.
    OPTIMIZE += ["-fno-tree-loop-distribute-patterns"]
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
        define_macros=[("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION"), *macros],
        extra_compile_args=compile_args,
        extra_link_args=LINK,
    )


extensions = [kernel("cpu", macros=[("CRNN_X86_64_BUILDS", None)] if HAS_MORE_BUILDS else [])]
extensions += [kernel("memory"), kernel("pool")]
extensions += [
    kernel(f"{name}_{dtype}", flags, macros)
    for name, flags in INSTRUCTION_SETS.items() for dtype, macros in DTYPES.items()
]
# Cython's own code behind memoryviews, which would be part of every module; cythonize writes it. It
# runs once a call, if at all, and is a quarter smaller this way.
extensions += [kernel("_shared", ["-Os"], kind="c")]
setup(
    ext_modules=cythonize(
        extensions,
        compiler_directives=DIRECTIVES,
        shared_utility_qualified_name="crnn.kernels._shared",
    ),
    cmdclass={"build_ext": BuildKernels},
    options={"build_ext": {"parallel": True}},
)

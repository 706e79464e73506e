"""The hot loops of every build are made of vector instructions: read off the disassembly.

A compiler that finds no vectors in a loop says nothing, and results stay right; only the time would
tell, and a clock is no test. So the innermost loops of the functions that matter are looked for
instructions that they must have (multiply-adds or divisions on whole registers) and must not have
(sums going through the stack).
"""

import importlib
import itertools
import platform
import re
import shutil
import subprocess
from typing import NamedTuple

import pytest
from builds import DTYPES, kernels_of

from crnn.kernels import cpu, memory, pool

pytestmark = [
    pytest.mark.no_backend,
    pytest.mark.skipif(shutil.which("objdump") is None, reason="needs objdump (binutils)"),
    pytest.mark.skipif(not cpu.compiler().startswith("gcc"), reason="reads what gcc makes"),
    pytest.mark.skipif(platform.machine().lower() not in ("x86_64", "amd64"), reason="of x86-64"),
]
REGISTERS = {"baseline": "xmm", "avx2": "ymm", "avx512": "zmm"}
MULTIPLY_ADD = {"baseline": "mul", "avx2": "vfmadd", "avx512": "vfmadd"}
DIVIDE = {"baseline": "div", "avx2": "vdiv", "avx512": "vdiv"}
TILE = {"baseline": 8, "avx2": 8, "avx512": 16}  # multiply-adds for an input: rows x registers
FUNCTION = re.compile(r"^[0-9a-f]+ <(?P<name>.*)>:$")
INSTRUCTION = re.compile(r"^\s*(?P<address>[0-9a-f]+):\t(?P<text>.*)$")
JUMP = re.compile(r"^j\w+ +(?P<target>[0-9a-f]+)")


class Instruction(NamedTuple):
    """One line of a disassembly."""

    address: int
    text: str


def disassembled(path):
    """Return the instructions of each function of a shared library."""
    lines = subprocess.run(
        ["objdump", "-d", "--no-show-raw-insn", path], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    functions, current = {}, []
    for line in lines:
        if start := FUNCTION.match(line):
            current = functions.setdefault(start["name"], [])
        elif found := INSTRUCTION.match(line):
            current.append(Instruction(int(found["address"], 16), found["text"]))
    return functions


def innermost_loops(instructions):
    """Yield the text of each stretch that ends with a jump to its start and has no loop in it."""
    index = {each.address: number for number, each in enumerate(instructions)}
    loops = []
    for number, each in enumerate(instructions):
        jump = JUMP.match(each.text)
        start = index.get(int(jump["target"], 16)) if jump else None
        if start is not None and start <= number:
            loops.append((start, number))
    for start, stop in loops:
        if not any(start <= a and b <= stop and (a, b) != (start, stop) for a, b in loops):
            yield [each.text for each in instructions[start : stop + 1]]


def counts(loops, operation, suffix, register):
    """Return how many of an operation on whole registers each loop has, and stores to the stack."""
    wanted = re.compile(rf"^{operation}\w*{suffix}\b.*%{register}")
    stored = re.compile(rf"^v?mov([au]p[sd]|dq[au]\d*) .*%{register}\d+,.*\(%r[sb]p")
    return [(sum(map(bool, map(wanted.match, loop))), sum(map(bool, map(stored.match, loop))))
            for loop in loops]


class Build(NamedTuple):
    """A build of the kernels."""

    isa: str
    suffix: str  # of instructions on its numbers
    functions: dict


@pytest.fixture(
    scope="module", params=itertools.product(cpu.instruction_sets(), DTYPES), ids="-".join
)
def build(request):
    isa, dtype = request.param
    module = kernels_of(isa, dtype)
    return Build(isa, "ps" if dtype == "float32" else "pd", disassembled(module.__file__))


def loops_of(functions):
    return [loop for body in functions.values() for loop in innermost_loops(body)]


def test_sums_of_a_tile_stay_in_registers(build):
    name, loops = build.isa, loops_of(build.functions)
    assert (TILE[name], 0) in counts(loops, MULTIPLY_ADD[name], build.suffix, REGISTERS[name])


def test_bytes_are_multiplied_in_registers(build):
    """Those of a tile of whole numbers: by VNNI four rows and lines, without it two of each."""
    if build.suffix == "pd" or build.isa == "baseline":
        pytest.skip("has no such instructions, or no whole numbers")
    loops, register = loops_of(build.functions), REGISTERS[build.isa]
    pairs = {count for count, _ in counts(loops, "vpmaddubsw", "", register)}
    assert {"avx2": 8, "avx512": 16}[build.isa] in pairs
    if build.isa == "avx512":
        assert (16, 0) in counts(loops, "vpdpbusd", "", register)


def test_so_do_those_of_few_rows(build):
    """Of one, two and three rows; where panels lie side by side, of 4 x 1, 2 x 2 and 2 x 3."""
    name, wide = build.isa, "wide_panel" if build.isa == "avx512" else "panels_side_by_side"
    [body] = [body for function, body in build.functions.items() if function.endswith(wide)]
    found = counts(innermost_loops(body), MULTIPLY_ADD[name], build.suffix, REGISTERS[name])
    wanted = [(4, 0), (8, 0), (12, 0)] if name == "avx512" else [(8, 0), (8, 0), (12, 0)]
    assert all(found.count(each) >= wanted.count(each) for each in wanted)


def test_what_rows_share_is_read_once(build):
    """What gcc reads again from memory, for two or three rows, takes as long as the product."""
    if build.isa != "avx512":
        pytest.skip("of 16 registers none is left")
    loops = [loop for function, body in build.functions.items() if function.endswith("wide_panel")
             for loop in innermost_loops(body)]
    sums = counts(loops, "vfmadd", build.suffix, "zmm")
    shared = [loop for loop, (count, _) in zip(loops, sums, strict=True) if count in (8, 12)]
    assert shared
    for loop in shared:
        assert not [text for text in loop if text.startswith("vfmadd") and "(" in text]


def test_tanh_sigmoid_and_the_exponential_are_vectorised(build):
    """All are a polynomial; tanh and sigmoid also divide. Each is in more than one function."""
    name, suffix, loops = build.isa, build.suffix, loops_of(build.functions)
    terms = 9 if suffix == "ps" else 15
    sums = counts(loops, MULTIPLY_ADD[name], suffix, REGISTERS[name])
    quotients = counts(loops, DIVIDE[name], suffix, REGISTERS[name])
    polynomials = [(count >= terms, divided > 0)
                   for (count, _), (divided, _) in zip(sums, quotients, strict=True)]
    assert polynomials.count((True, True)) >= 4
    assert polynomials.count((True, False)) >= 1


def test_square_roots_of_the_optimizers_are_vectorised(build):
    """AdaGrad, RMSprop and Adam. What setup.py has compiled for size has no vectors."""
    roots = counts(loops_of(build.functions), "v?sqrt", build.suffix, REGISTERS[build.isa])
    assert sum(count > 0 for count, _ in roots) >= 3


def test_floats_become_doubles_only_where_many_are_added_up(build):
    """In Cython a bare 1 is a double, and what it is subtracted from becomes one."""
    if build.suffix == "pd":
        pytest.skip("all is double")
    converting = re.compile(r"v?cvt(ps2pd|ss2sd) ")
    found = {name.split(".")[0] for name, body in build.functions.items()
             if any(converting.match(each.text) for each in body)}
    in_double = (
        "loss_of_targets", "Readout_rows_loss", "softmax_rows", "sigmoid_row", "sigmoid_lanes",
        "norm", "squared_sum", "row_losses", "apply_to_rows", "softmax_row",
        "multiply_rows_by_slope", "softmax_row_backward", "take_logits", "write_part",
        "write_group",
    )
    assert found
    assert not {name for name in found if not name.endswith(in_double)}


def test_what_is_asked_for_early_is_asked_for(build):
    """A compiler may take a function that only does so for one without effect."""
    asking = [name.split(".")[0] for name, body in build.functions.items()
              if any(each.text.startswith("prefetch") for each in body)]
    for functions in (
        ("whole_panel_row", "panel_row"), ("add_outer_products", "add_panel_gradients"),
        ("long_panel", "panel_blocks"),
    ):
        assert [name for name in asking if name.endswith(functions)]


def test_narrow_or_spilled_loops_are_seen(build):
    """What the checks look for is not in a build for narrower registers, nor in scalar code."""
    name, loops = build.isa, loops_of(build.functions)
    wider = {"baseline": "ymm", "avx2": "zmm", "avx512": "tmm"}[name]
    assert all(count == 0 for count, _ in counts(loops, MULTIPLY_ADD[name], "ps", wider))
    spilled = ["vfmadd231ps %zmm1,%zmm2,%zmm3", "vmovaps %zmm3,0x40(%rsp)", "jne 10"]
    assert counts([spilled], "vfmadd", "ps", "zmm") == [(1, 1)]
    assert counts([["vfmadd231ss %xmm1,%xmm2,%xmm3"]], "vfmadd", "ps", "xmm") == [(0, 0)]


@pytest.mark.skipif(shutil.which("strip") is None, reason="needs strip (binutils)")
def test_modules_do_not_grow(tmp_path):
    """All together, without the names that only a debugger needs.

    They may be 3 MB; most of it is that all of kernels/ is there six times. They were 2.00 MB
    before weights of targets, four more losses, learned states and partial sums, and 2.19 before
    other activations, peepholes, coupled gates and clipping, of which each cell has one general
    step, forward and back; 2.57 before weights in bfloat16 and in whole numbers, and tiles of few
    rows; and 2.90 before texts.
    """
    sizes = []
    builds = [kernels_of(*each) for each in itertools.product(cpu.instruction_sets(), DTYPES)]
    for module in (*builds, cpu, memory, pool, importlib.import_module("crnn.kernels._shared")):
        stripped = tmp_path / module.__name__
        subprocess.run(["strip", "-o", stripped, module.__file__], check=True)
        sizes.append(stripped.stat().st_size)
    assert sum(sizes) <= 3e6

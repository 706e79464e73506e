"""Products of bfloat16, against sums that NumPy adds up in the same order."""

from pathlib import Path

import numpy as np
import pytest
from builds import INSTRUCTION_SETS, kernels_of, normal
from passes import bfloat16, packed_as_bf16, packed_of

from crnn.kernels import cpu
from crnn.reference.rounding import to_bfloat16

pytestmark = pytest.mark.no_backend

# Tiles are 1 to 4 rows high and 1 or 4 lines of 16 columns wide; 32 rows are rounded at a time, of
# as many inputs as there is room for.
SIZES = [(1, 1), (3, 17), (4, 16), (5, 64), (7, 65), (33, 100), (130, 130), (1000, 250)]
each_size = pytest.mark.parametrize("sizes", [*SIZES, (17000, 3)], ids=str)  # inputs, outputs
both_ways = pytest.mark.parametrize("from_last", [False, True], ids=["forth", "from the last"])

BUILDS = [(isa, False) for isa in INSTRUCTION_SETS]
BUILDS += [("avx512", True)] if "avx512" in INSTRUCTION_SETS else []


@pytest.fixture(params=BUILDS, ids=lambda each: each[0] + " with BF16" * each[1])
def build(request):
    """The functions of a build; of that with AVX-512 also as where a processor has no BF16."""
    isa, has_bf16 = request.param
    functions = kernels_of(isa, "float32")
    before = functions._multiply_bf16_as_if(has_bf16)
    yield functions
    functions._multiply_bf16_as_if(before)


def expected(x, W, b):
    """Return b + x @ W, rounded to float32 after each input; in double each sum is exact."""
    y = np.broadcast_to(b, (len(x), len(b)))
    for column, row in zip(to_bfloat16(x).T, W, strict=True):
        y = (y + np.outer(column, row).astype(np.float64)).astype(np.float32)
    return y


def product(functions, x, W, b, from_last=False):
    y = np.full((len(x), len(b)), np.nan, np.float32)
    functions.linear((y, packed_as_bf16(functions, W), b, x), None, from_last)
    return y


def drawn(rng, rows, inputs, outputs):
    x, W, b = (normal(rng, "float32", *size)
               for size in ((rows, inputs), (inputs, outputs), (outputs,)))
    return x, bfloat16(W), b


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="asks Linux")
def test_what_processors_have_is_what_linux_says():
    """Beyond the instruction sets that there are builds for."""
    flags = Path("/proc/cpuinfo").read_text().split()
    has_avx512 = "avx512" in INSTRUCTION_SETS
    assert cpu.has_bf16() == (has_avx512 and "avx512_bf16" in flags)
    assert cpu.has_vnni() == (has_avx512 and "avx512_vnni" in flags)


@each_size
@both_ways
@pytest.mark.parametrize("rows", [*range(1, 10), 71])
def test_product_has_the_bits_of_sums_in_the_order_of_inputs(rng, build, rows, sizes, from_last):
    x, W, b = drawn(rng, rows, *sizes)
    y = product(build, x, W, b, from_last)
    assert y.tobytes() == expected(x, W, b).tobytes()


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 7])
def test_it_has_the_bits_of_floats_that_were_rounded_before(rng, build, rows):
    """Of weights beyond L1, of which sums of floats are not taken in halves."""
    x, W, _ = drawn(rng, rows, 101, 129)
    b, floats = np.zeros(129, np.float32), np.full((rows, 129), np.nan, np.float32)
    build.linear((floats, packed_of(build, W), b, to_bfloat16(x)), None, False)
    assert product(build, x, W, b).tobytes() == floats.tobytes()


def test_halves_between_two_numbers_are_rounded_to_the_even_one(build):
    x = np.float32([[1 + 2**-8, 0], [1 + 3 * 2**-8, 0], [-1 - 2**-8 - 2**-20, 0], [3.3e38, 3.4e38]])
    y = product(build, x, np.eye(2, dtype=np.float32), np.zeros(2, np.float32))
    np.testing.assert_array_equal(y[:3, 0], np.float32([1, 1 + 2**-6, -1 - 2**-7]))
    assert y[3, 1] == np.inf


@pytest.mark.parametrize("rows", [1, 4, 7])
def test_what_is_next_to_zero_is_zero(rng, build, rows):
    """Below 2^-50 in x, and below 2^-126 where a sum starts."""
    x, W, b = drawn(rng, rows, 50, 70)
    x[0], x[-1, ::2], x[-1, 1::2] = 1e-40, 8.8e-16, -8.8e-16
    b[3], b[4], b[5] = 1e-39, -1.17e-38, 1.2e-38
    y, start = product(build, x, W, b), b.copy()
    start[3:5] = 0
    np.testing.assert_array_equal(y[0], start)
    np.testing.assert_array_equal(y[-1], start)


# Two of NaN, of which plain rounding makes a zero and infinity, and both infinities
@pytest.mark.parametrize("bad", [0x7FFFFFFF, 0xFF800001, 0x7F800000, 0xFF800000], ids=hex)
def test_what_is_not_finite_reaches_its_row_alone(rng, build, bad):
    x, W, b = drawn(rng, 6, 51, 70)
    W[:, 5] = 0
    before = product(build, x, W, b)
    x.view(np.uint32)[2, 50] = bad
    y, hit = product(build, x, W, b), np.arange(6) == 2
    assert np.isnan(y[2]).sum() == (70 if np.isnan(x[2, 50]) else 1)  # of infinity times 0
    assert not np.isfinite(y[2]).any()
    np.testing.assert_array_equal(y[~hit], before[~hit])


@both_ways
def test_all_builds_have_the_same_bits(rng, from_last):
    """Of numbers of all sizes, with sums that cancel each other."""
    x, W, b = drawn(rng, 11, 600, 211)
    x *= 10.0 ** rng.uniform(-20, 6, x.shape).astype(np.float32)
    W = to_bfloat16(W * 10.0 ** rng.uniform(-20, 6, W.shape).astype(np.float32))
    x[:, 300:], W[300:] = -x[:, :300], W[:300]
    b *= 10.0 ** rng.uniform(-42, 0, b.shape).astype(np.float32)
    found = set()
    for isa, has_bf16 in BUILDS:
        functions = kernels_of(isa, "float32")
        before = functions._multiply_bf16_as_if(has_bf16)
        found.add(product(functions, x, W, b, from_last).tobytes())
        functions._multiply_bf16_as_if(before)
    assert len(found) == 1


def test_expected_products_tell_faults(rng):
    """That they would see x as it is, another order, or a start that is added at the end."""
    x, W, b = drawn(rng, 3, 33, 20)
    y = expected(x, W, b)
    assert (y != expected(x[:, ::-1], W[::-1], b)).any()
    assert (y != expected(x, W, 0 * b) + b).any()
    assert np.abs(y - (x @ W + b)).max() > 1e-3

"""Products of weights and rows that are rounded to whole numbers, against NumPy's whole numbers."""

import numpy as np
import pytest
from builds import INSTRUCTION_SETS, kernels_of, normal
from passes import assert_close, packed_as_int8

pytestmark = pytest.mark.no_backend

# Tiles are 1 to 4 rows high and 1 or 4 lines of 16 columns wide, groups of 4 inputs long.
SIZES = [(1, 1), (3, 17), (4, 16), (5, 64), (7, 65), (33, 100), (130, 130), (1000, 250)]
each_size = pytest.mark.parametrize("sizes", [*SIZES, (8192, 33)], ids=str)  # inputs, outputs
both_ways = pytest.mark.parametrize("from_last", [False, True], ids=["forth", "from the last"])


BUILDS = [(isa, False) for isa in INSTRUCTION_SETS]
BUILDS += [("avx512", True)] if "avx512" in INSTRUCTION_SETS else []


@pytest.fixture(params=BUILDS, ids=lambda each: each[0] + " with VNNI" * each[1])
def build(request):
    """The functions of a build; of that with AVX-512 also as where a processor has no VNNI."""
    isa, has_vnni = request.param
    functions = kernels_of(isa, "float32")
    before = functions._multiply_as_if(has_vnni)
    yield functions
    functions._multiply_as_if(before)


def scales_of(numbers, axis, bits=24):
    """Return the scales of rows or columns, rounded up to so many bits."""
    largest = np.abs(numbers).max(axis=axis, keepdims=True)
    scales = (largest / np.float32(127)).view(np.int32)
    scales = (-(-scales >> (24 - bits) << (24 - bits))).view(np.float32)
    scales[largest < 2.0**-100] = 0
    return scales


def whole(numbers, scales):
    factors = np.divide(np.float32(1), scales, out=np.zeros_like(scales), where=scales > 0)
    return np.rint(numbers * factors).astype(np.float64)  # of which sums are exact, too


def expected(x, W, b):
    """Return x @ W + b of whole numbers, and the whole numbers themselves."""
    of_x, of_W = scales_of(x, 1), scales_of(W, 0, bits=16)
    x, W = whole(x, of_x), whole(W, of_W)
    return (x @ W).astype(np.float32) * (of_x * of_W).astype(np.float64) + b, x, W


def product(functions, x, W, b, from_last=False):
    y = np.full((len(x), len(b)), np.nan, np.float32)
    functions.linear((y, packed_as_int8(functions, W), b, x), None, from_last)
    return y


def drawn(rng, rows, inputs, outputs):
    sizes = (rows, inputs), (inputs, outputs), (outputs,)
    return [normal(rng, "float32", *size) for size in sizes]


@each_size
@both_ways
@pytest.mark.parametrize("rows", [*range(1, 10), 150])
def test_product_is_that_of_whole_numbers(rng, build, rows, sizes, from_last):
    """It is rounded once where a build fuses sums, else twice."""
    x, W, b = drawn(rng, rows, *sizes)
    y = product(build, x, W, b, from_last)
    assert_close(y, expected(x, W, b)[0].astype(np.float32), 3e-7)
    if rows > 1:
        alone = np.vstack([product(build, row[None], W, b) for row in x[:9]])
        assert alone.tobytes() == y[:9].tobytes()


@each_size
def test_largest_sums_are_exact(build, sizes):
    """127 times 127 or its opposite, everywhere: two are nearly all that 16 bits hold."""
    inputs, outputs = sizes
    signs = np.where(np.arange(inputs) % 3 % 2, -127.0, 127.0)
    x = np.stack([signs, -signs, np.abs(signs), -np.abs(signs), 0 * signs])
    W = np.outer(signs, np.where(np.arange(outputs) % 2, -1, 1))
    y = product(build, *(each.astype(np.float32) for each in (x, W, np.zeros(outputs))))
    np.testing.assert_array_equal(y, (x @ W).astype(np.float32))


def test_whole_weights_and_rows_stay_what_they_are(rng, build):
    """So that weights that were rounded once are not rounded any further."""
    x, W = rng.integers(-127, 128, (5, 77)), rng.integers(-127, 128, (77, 40))
    x[:, 0], W[0] = 127, -127
    scales = (rng.integers(1, 2**16, 40) / 2.0**20).astype(np.float32)
    y = product(build, x.astype(np.float32), (W * scales).astype(np.float32),
                np.zeros(40, np.float32))
    np.testing.assert_array_equal(y, (x @ W).astype(np.float32) * scales)


def test_errors_are_those_of_rounding(rng, build):
    """Half a 127th of the largest number of each row and column: half a per cent of outputs."""
    x, W, b = drawn(rng, 9, 300, 100)
    error = product(build, x, W, b) - (x @ W + b)
    assert 1e-4 < np.abs(error).max() / np.abs(x @ W).max() < 2e-2


@pytest.mark.parametrize("rows", [1, 4, 7])
def test_zeros_and_numbers_next_to_it_add_nothing(rng, build, rows):
    x, W, b = drawn(rng, rows, 50, 70)
    x[0], W[:, 3] = 0, 0
    x[-1, :], W[:, 69] = 1e-40, -1e-38
    y = product(build, x, W, b)
    np.testing.assert_array_equal(y[0], b)
    np.testing.assert_array_equal(y[-1], b)
    np.testing.assert_array_equal(y[:, [3, 69]], np.broadcast_to(b[[3, 69]], (rows, 2)))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf], ids=str)
def test_what_is_not_finite_makes_its_row_or_column_nan(rng, build, bad):
    x, W, b = drawn(rng, 6, 50, 70)
    before = product(build, x, W, b)
    x[2, 49], W[7, 33] = bad, bad
    y, hit = product(build, x, W, b), np.zeros((6, 70), bool)
    hit[2], hit[:, 33] = True, True
    np.testing.assert_array_equal(np.isnan(y), hit)
    np.testing.assert_array_equal(y[~hit], before[~hit])


@both_ways
def test_all_builds_that_fuse_sums_have_the_same_bits(rng, from_last):
    x, W, b = drawn(rng, 11, 101, 211)
    found = set()
    for isa in set(INSTRUCTION_SETS) - {"baseline"}:
        functions = kernels_of(isa, "float32")
        for has_vnni in (False, True):
            before = functions._multiply_as_if(has_vnni)
            found.add(product(functions, x, W, b, from_last).tobytes())
            functions._multiply_as_if(before)
    assert len(found) <= 1


def test_expected_products_tell_faults(rng):
    """That they would see a group, a sign or the shift of one number left out."""
    x, W, b = drawn(rng, 3, 33, 20)
    y, x_whole, W_whole = expected(x, W, b)
    assert np.abs(x_whole).max(axis=1).tolist() == [127] * 3
    assert np.abs(W_whole).max(axis=0).tolist() == [127] * 20
    for changed in (np.r_[x_whole[0, :32], 0], np.abs(x_whole[0]), x_whole[0] + 1):
        assert np.abs(changed @ W_whole - x_whole[0] @ W_whole).max() > 0
    assert np.isfinite(y).all()

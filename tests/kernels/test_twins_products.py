"""Products with weights, and their gradients, compiled against NumPy."""

import numpy as np
import pytest
from builds import each_dtype, each_instruction_set, kernels_of, normal
from passes import assert_close, packed_of, tolerance

from crnn.reference import layer
from crnn.reference.precision import wide

pytestmark = pytest.mark.no_backend

# Tiles are 1 to 4 rows high, panels 4 to 64 numbers wide, up to 4 of them side by side; blocks of
# a gradient's rows are 128 long.
SIZES = [(1, 3, 17), (3, 2, 33), (17, 33, 1), (33, 65, 5), (65, 17, 257), (257, 3, 65)]
SIZES += [(18, 1, 16), (144, 19, 1030), (135, 257, 129), (1, 1, 1), (1, 101, 116), (2, 77, 144)]
each_size = pytest.mark.parametrize("sizes", SIZES, ids=str)  # rows, inputs, outputs


@each_instruction_set
@each_dtype
@each_size
@pytest.mark.parametrize("from_last", [False, True], ids=["forth", "from the last"])
def test_product_equals_the_textbooks(rng, isa, dtype, sizes, from_last):
    rows, inputs, outputs = sizes
    x, W = normal(rng, dtype, 1, rows, inputs), normal(rng, dtype, inputs, outputs)
    b, y = normal(rng, dtype, outputs), np.full((rows, outputs), np.nan, dtype)
    functions = kernels_of(isa, dtype)
    functions.linear((y, packed_of(functions, W), b, x[0]), None, from_last)
    assert_close(y, layer.product(x, W)[0] + b, tolerance(dtype, inputs + 1))


@each_instruction_set
@each_dtype
@pytest.mark.parametrize("inputs", [1, 33, 400])  # from 233 on no W of these columns stays in L1
@pytest.mark.parametrize("outputs", [7, 35, 64, 72, 100, 113, 128, 150, 176])  # up to 44 panels
def test_a_row_has_the_same_bits_whatever_rows_are_beside_it(rng, isa, dtype, inputs, outputs):
    """In tiles of any height, with panels side by side or one by one, from either end."""
    functions, W = kernels_of(isa, dtype), normal(rng, dtype, inputs, outputs)
    b, packed = normal(rng, dtype, outputs), packed_of(functions, W)
    x = normal(rng, dtype, 11, inputs)
    alone = np.full((2, 11, outputs), np.nan, dtype)
    for from_last, ys in enumerate(alone):
        for row, y in zip(x, ys, strict=True):
            functions.linear((y[None], packed, b, row[None]), None, bool(from_last))
    assert alone[0].tobytes() == alone[1].tobytes()
    assert_close(alone[0], layer.product(x[None], W)[0] + b, tolerance(dtype, inputs + 1))
    for rows in range(2, 12):
        for from_last in (False, True):
            y = np.full((rows, outputs), np.nan, dtype)
            functions.linear((y, packed, b, x[:rows]), None, from_last)
            assert y.tobytes() == alone[0, :rows].tobytes()


@each_instruction_set
@each_dtype
@each_size
def test_product_with_tokens_equals_the_textbooks(rng, isa, dtype, sizes):
    rows, inputs, outputs = sizes
    x, W = rng.integers(0, inputs, (1, rows)).astype(np.intp), normal(rng, dtype, inputs, outputs)
    b, y = normal(rng, dtype, outputs), np.full((rows, outputs), np.nan, dtype)
    kernels_of(isa, dtype).linear((y, W, b), x[0], False)
    np.testing.assert_array_equal(y, layer.product(x, W)[0] + b)


@each_instruction_set
@each_dtype
@each_size
def test_gradients_of_a_product_equal_the_textbooks(rng, isa, dtype, sizes):
    """Of positive numbers: the one entry of a bias may else be all cancellation."""
    rows, inputs, outputs = sizes
    x, dy = (np.abs(normal(rng, dtype, 1, rows, size)) for size in (inputs, outputs))
    dW, db = (np.abs(normal(rng, dtype, *size)) for size in ((inputs, outputs), (outputs,)))
    expected = dW + layer.product_gradient(x, dy, dW), db + wide(dy).sum(axis=(0, 1))
    kernels_of(isa, dtype).linear_gradients((dW, db, x[0], dy[0]))
    for our, their in zip((dW, db), expected, strict=True):
        assert_close(our, their.astype(dtype), tolerance(dtype, rows))


def mostly_zeros(rng, dtype, rows, inputs):
    """Return some rows of x, of which one in twenty numbers is not 0, but all of the first row."""
    x = normal(rng, dtype, rows, inputs) * (rng.random((rows, inputs)) < 0.05)
    x[:1] = normal(rng, dtype, 1, inputs)
    return x.astype(dtype)


@each_instruction_set
@each_dtype
@pytest.mark.parametrize("sizes", [*SIZES, (5, 1100, 33)], ids=str)  # more than a row's list holds
def test_of_mostly_zeros_all_sums_have_the_same_bits(rng, isa, dtype, sizes):
    rows, inputs, outputs = sizes
    functions, x = kernels_of(isa, dtype), mostly_zeros(rng, dtype, rows, inputs)
    W, b = normal(rng, dtype, inputs, outputs), normal(rng, dtype, outputs)
    packed, dy = packed_of(functions, W), normal(rng, dtype, rows, outputs)
    y, sparse_y = np.full((2, rows, outputs), np.nan, dtype)
    functions.linear((y, packed, b, x), None, False)
    functions.linear((sparse_y, packed, b, x, W), None, False)
    assert y.tobytes() == sparse_y.tobytes()
    dW, sparse_dW, db = W.copy(), W.copy(), b.copy()
    functions.linear_gradients((dW, db, x, dy))
    functions.linear_gradients((sparse_dW, db, x, dy), True)
    assert dW.tobytes() == sparse_dW.tobytes()


@each_instruction_set
@each_dtype
@each_size
def test_rows_without_a_gradient_add_nothing(rng, isa, dtype, sizes):
    """As those of sequences that are over: whatever x is there."""
    rows, inputs, outputs = sizes
    x, dy = normal(rng, dtype, rows, inputs), normal(rng, dtype, rows, outputs)
    dy[rng.random(rows) < 0.4] = 0
    dW, db = normal(rng, dtype, inputs, outputs), normal(rng, dtype, outputs)
    expected = dW + layer.product_gradient(x[None], dy[None], dW)
    x[~dy.any(axis=1)] = np.nan
    kernels_of(isa, dtype).linear_gradients((dW, db, x, dy))
    assert_close(dW, expected.astype(dtype), tolerance(dtype, rows))

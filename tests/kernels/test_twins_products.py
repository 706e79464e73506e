"""Products with weights, and their gradients, compiled against NumPy."""

import numpy as np
import pytest
from builds import each_dtype, each_instruction_set, kernels_of, normal
from passes import assert_close, packed_of, tolerance

from crnn.reference import layer
from crnn.reference.precision import wide

pytestmark = pytest.mark.no_backend

# Tiles are 4 rows high, panels 16 to 64 numbers wide, blocks of a gradient's rows 128 long.
SIZES = [(1, 3, 17), (3, 2, 33), (17, 33, 1), (33, 65, 5), (65, 17, 257), (257, 3, 65)]
SIZES += [(18, 1, 16), (144, 19, 1030), (135, 257, 129), (1, 1, 1)]
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

"""The compiled tanh, sigmoid, exp and logarithm against exact values, in units in the last place.

On every build.
"""

import numpy as np
import pytest
from builds import INSTRUCTION_SETS, kernels_of
from passes import loss_of

pytestmark = pytest.mark.no_backend

DIGITS = {"float32": 24, "float64": 53}  # bits of the significand
SMALLEST = {"float32": -149, "float64": -1074}  # exponent of the smallest denormal
INTEGERS = {"float32": np.uint32, "float64": np.uint64}
LIMITS = {"float32": 2.5, "float64": 3.0}  # what kernels/cells/activations.pyx promises of tanh
SIGMOID_LIMIT = 2.5  # of the sigmoid, in both
EXP_LIMIT = 1.5  # and of exp
LOG_LIMIT = 5  # what kernels/passes/losses.pyx promises of log(1 + exp(-x)), always in double
# exp(-x) is seen as it is from the first on, and gives 0 from the second on, in a softmax beside 1
EXP_ALONE = {"float32": 18, "float64": 38}
EXP_ENDS = {"float32": 87, "float64": 708}

each_dtype = pytest.mark.parametrize("dtype", list(DIGITS))


def activation_of(isa, name):
    """Return an activation of one build as a function from an array to a new one."""

    def function(x):
        y = x.copy()
        kernels_of(isa, x.dtype.name).activation(y, name)
        return y

    return function


@pytest.fixture(params=INSTRUCTION_SETS)
def tanh(request):
    return activation_of(request.param, "tanh")


@pytest.fixture(params=INSTRUCTION_SETS)
def sigmoid(request):
    return activation_of(request.param, "sigmoid")


@pytest.fixture(params=INSTRUCTION_SETS)
def second_share(request):
    """Return x -> softmax([0, -x])[1] of one build as a function from an array to a new one."""

    def function(x):
        y = np.stack([np.zeros_like(x), -x], axis=1)[None]
        functions = kernels_of(request.param, x.dtype.name)
        loss_of(functions, "softmax", y, np.zeros((1, len(x)), np.intp))
        return y[0, :, 1].copy()

    return function


def bit_patterns(dtype, limit, step):
    """Return every step-th float from 0 to limit, as many of each power of two."""
    last = np.array(limit, dtype).view(INTEGERS[dtype])
    return np.arange(0, int(last) + 1, step, INTEGERS[dtype]).view(dtype)


def ulps(y, exact):
    """Return the distance of y from exact, which has more digits, in units of y's last place."""
    dtype = y.dtype.name
    exponent = np.maximum(np.frexp(exact)[1] - DIGITS[dtype], SMALLEST[dtype])
    return np.ldexp(np.abs(y.astype(exact.dtype) - exact), -exponent)


def wider(x):
    """Return x in a type with more digits."""
    if x.dtype == np.float32:
        return x.astype(np.float64)
    if np.finfo(np.longdouble).nmant < 60:
        pytest.skip("longdouble is no wider than float64 here")
    return x.astype(np.longdouble)


def exact_tanh(x):
    return np.tanh(wider(x))


@pytest.mark.parametrize(("dtype", "step"), [("float32", 499), ("float64", (1 << 44) + 12345)])
def test_error_is_within_the_promise(tanh, dtype, step):
    x = bit_patterns(dtype, 20, step)
    assert len(x) > 200_000
    exact = exact_tanh(x)
    for sign in (1, -1):
        error = ulps(tanh(sign * x), sign * exact)
        worst = error.argmax()
        assert error[worst] <= LIMITS[dtype], f"tanh({sign * x[worst]!r})"


@each_dtype
def test_error_where_it_is_hardest(tanh, rng, dtype):
    """Between 0.01 and 10 lies all that networks use, and where the pieces of exp meet."""
    meeting = np.log(2) / 4 * np.arange(1, 80, 2)  # there 2|x| / ln 2 is half-way
    near = meeting[:, None] * (1 + np.finfo(dtype).eps * np.arange(-30, 31))
    middle = [rng.uniform(0.01, 10, 100_000), rng.uniform(0.1, 0.4, 100_000)]
    x = np.concatenate([*middle, near.ravel()]).astype(dtype)
    assert ulps(tanh(x), exact_tanh(x)).max() <= LIMITS[dtype]


@pytest.mark.parametrize(("first", "last"), [(0.0585, 0.0627), (0.1245, 0.1255)])
def test_error_of_every_float_where_it_is_largest(tanh, first, last):
    """Below a power of two a unit is least, and there 2|x| is still its own r."""
    ends = np.array([first, last], np.float32).view(np.uint32)
    x = np.arange(*ends, dtype=np.uint32).view(np.float32)
    assert len(x) > 100_000
    assert ulps(tanh(x), exact_tanh(x)).max() <= LIMITS["float32"]


def exact_sigmoid(x):
    small = np.exp(-abs(wider(x)))
    return np.where(x < 0, small, 1) / (1 + small)


@pytest.mark.parametrize(("dtype", "step"), [("float32", 499), ("float64", (1 << 44) + 12345)])
def test_error_of_the_sigmoid_is_within_the_promise(sigmoid, rng, dtype, step):
    """Up to where it is 0; between 0.1 and 20 is all that is neither 0.5, 0 nor 1."""
    x = bit_patterns(dtype, EXP_ENDS[dtype], step)
    assert len(x) > 200_000
    for part in (x, rng.uniform(0.1, 20, 200_000).astype(dtype)):
        for signed in (part, -part):
            error = ulps(sigmoid(signed), exact_sigmoid(signed))
            worst = error.argmax()
            assert error[worst] <= SIGMOID_LIMIT, f"sigmoid({signed[worst]!r})"


@each_dtype
def test_special_values_of_the_sigmoid(sigmoid, dtype):
    info, end = np.finfo(dtype), np.array(EXP_ENDS[dtype], dtype)
    below = np.nextafter(-end, -np.inf, dtype=dtype)
    x = np.array([np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0, info.max, info.min, below], dtype)
    expected = np.array([np.nan, np.nan, 1, 0, 0.5, 0.5, 1, 0, 0], dtype)
    np.testing.assert_array_equal(sigmoid(x), expected)
    assert sigmoid(-end[None])[0] >= info.tiny


@each_dtype
def test_length_and_place_do_not_matter_to_the_sigmoid(sigmoid, rng, dtype):
    x = (3 * rng.standard_normal(200)).astype(dtype)
    whole = sigmoid(x)
    assert 0 < whole.min() < whole.max() < 1
    for length in range(71):
        for start in (0, 1, 3, 129 - length):
            part = slice(start, start + length)
            np.testing.assert_array_equal(sigmoid(x[part]), whole[part])


@pytest.mark.parametrize(("dtype", "step"), [("float32", 199), ("float64", (1 << 42) + 12345)])
def test_error_of_exp_is_within_the_promise(second_share, dtype, step):
    x = bit_patterns(dtype, EXP_ENDS[dtype], step)
    x = x[x >= EXP_ALONE[dtype]]
    assert len(x) > 3_000
    assert ulps(second_share(x), np.exp(-wider(x))).max() <= EXP_LIMIT


@each_dtype
def test_softmax_of_two(second_share, rng, dtype):
    """exp and three more roundings, of a half each: the sum's inverse, to real, and a product."""
    x = rng.uniform(0, EXP_ALONE[dtype], 100_000).astype(dtype)
    exact = np.exp(-wider(x)) / (1 + np.exp(-wider(x)))
    assert ulps(second_share(x), exact).max() <= EXP_LIMIT + 1.5


@each_dtype
def test_exp_ends_before_denormals(second_share, dtype):
    end = EXP_ENDS[dtype]
    x = np.array([end, np.nextafter(np.array(end, dtype), np.inf), 2 * end, np.inf], dtype)
    y = second_share(x)
    assert y[0] >= np.finfo(dtype).tiny
    np.testing.assert_array_equal(y[1:], 0)


@each_dtype
def test_special_values(tanh, dtype):
    info = np.finfo(dtype)
    x = np.array([np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0, info.max, -info.max], dtype)
    y = tanh(x)
    np.testing.assert_array_equal(y, np.array([np.nan, np.nan, 1, -1, 0, 0, 1, -1], dtype))
    np.testing.assert_array_equal(np.signbit(y[2:]), np.signbit(x[2:]))


@each_dtype
def test_denormals_are_their_own_tanh(tanh, dtype):
    smallest = np.arange(1000, dtype=INTEGERS[dtype]).view(dtype)
    x = np.concatenate([smallest, np.finfo(dtype).tiny * np.linspace(0, 1, 1001, dtype=dtype)])
    assert x[1] > 0
    np.testing.assert_array_equal(tanh(x), x)
    np.testing.assert_array_equal(tanh(-x), -x)


@each_dtype
def test_never_beyond_one(tanh, dtype):
    x = np.concatenate([np.linspace(5, 25, 100_001), np.geomspace(25, 1e38, 1001)]).astype(dtype)
    y = tanh(x)
    assert y.max() == 1
    assert y.min() > 0.9999


@each_dtype
def test_is_odd(tanh, rng, dtype):
    x = (rng.standard_normal(10_001) * np.geomspace(1e-30, 30, 10_001)).astype(dtype)
    np.testing.assert_array_equal(tanh(-x), -tanh(x))


@each_dtype
def test_length_and_place_do_not_matter(tanh, rng, dtype):
    x = (3 * rng.standard_normal(200)).astype(dtype)
    whole = tanh(x)
    for length in range(71):
        for start in (0, 1, 3, 129 - length):
            part = slice(start, start + length)
            np.testing.assert_array_equal(tanh(x[part]), whole[part])


@each_dtype
def test_one_special_value_leaves_its_neighbours_alone(tanh, rng, dtype):
    x = (3 * rng.standard_normal(37)).astype(dtype)
    expected = tanh(x)
    for place in range(len(x)):
        for value in (np.nan, np.inf, -0.0):
            disturbed = x.copy()
            disturbed[place] = value
            y = tanh(disturbed)
            others = np.arange(len(x)) != place
            np.testing.assert_array_equal(y[others], expected[others])


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
def test_error_of_the_sigmoid_loss_is_within_the_promise(isa, rng):
    """Of outputs of -x that should be 0: log(1 + exp(-x)), with all its digits near 0 too."""
    some = [rng.uniform(0, 40, 200_000), rng.uniform(0, 708, 100_000)]
    x = np.concatenate([*some, 10 ** rng.uniform(-20, 0, 50_000), [0.0, 708.0]])
    y = -x[None, :, None]
    losses = loss_of(kernels_of(isa, "float64"), "sigmoid", y, np.zeros_like(y))
    error = ulps(losses[0], np.log1p(np.exp(-wider(x))))
    assert error.max() <= LOG_LIMIT, f"at x = {x[error.argmax()]!r}"


@each_dtype
@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
def test_special_values_of_the_sigmoid_loss(isa, dtype):
    big = np.finfo(dtype).max
    y = np.array([np.nan, np.inf, -np.inf, big, -big, 0], dtype)[None, :, None]
    targets = np.array([0, 0, 0, 1, 0, 1], dtype)[None, :, None]
    losses = loss_of(kernels_of(isa, dtype), "sigmoid", y, targets)
    np.testing.assert_array_equal(losses[0, :5], [np.nan, np.nan, np.nan, 0, 0])
    np.testing.assert_allclose(losses[0, 5], np.log(2), rtol=1e-15)
    np.testing.assert_array_equal(y[0, :, 0], np.array([np.nan, 1, 0, 0, 0, -0.5], dtype))

"""A small network in double precision and what goes into it; a module says its own T."""

import numpy as np
import pytest

import crnn

B, I, H, O = 4, 3, 5, 2  # noqa: E741


@pytest.fixture
def net(backend):
    return crnn.RNN(I, H, O, dtype="float64", seed=3)


@pytest.fixture
def x(rng, request):
    return rng.standard_normal((request.module.T, B, I))


@pytest.fixture
def state(rng):
    return rng.standard_normal((1, B, H))


@pytest.fixture
def classes(rng, request):
    return rng.integers(0, O, (request.module.T, B))


def close(actual, desired):
    np.testing.assert_allclose(actual, desired, rtol=1e-10, atol=1e-12)


def equal(actual, desired):
    np.testing.assert_array_equal(actual, desired, strict=True)

"""Keras's batch normalisation, which in inference is a product and a sum for each feature."""

from typing import Any, NamedTuple

import numpy as np

from crnn.base import checks
from crnn.exchange import keras_layers
from crnn.exchange.keras_layers import CannotError


class Scaling(NamedTuple):
    """What a batch normalisation computes: x * factors + summands.

    Attributes
    ----------
    layer : KerasLayer
    factors, summands : ndarray
        One number for each feature, in double.
    """

    layer: Any
    factors: np.ndarray
    summands: np.ndarray

    def above(self, parameters):
        """Return the parameters of the layer above, as they are if they compute this, too."""
        found = dict(parameters)
        for suffix in ("", "_reverse") if "b_h_reverse" in parameters else ("",):
            W_xh, b_h = (parameters[name + suffix] for name in ("W_xh", "b_h"))
            found["W_xh" + suffix] = (self.factors[:, None] * W_xh).astype(W_xh.dtype)
            found["b_h" + suffix] = (b_h + self.summands @ W_xh.astype(float)).astype(b_h.dtype)
        return found

    def below(self, parameters):
        """Return the parameters of a linear layer below, as they are if they compute this, too."""
        W_xh, b_h = parameters["W_xh"], parameters["b_h"]
        return {"W_xh": (W_xh * self.factors).astype(W_xh.dtype),
                "b_h": (b_h * self.factors + self.summands).astype(b_h.dtype)}


def num_arrays(layer):
    """Return how many arrays a batch normalisation has."""
    return 2 + keras_layers.flag(layer, "scale") + keras_layers.flag(layer, "center")


def scaling_of(layer, arrays, rank):
    """Return the `Scaling` of a batch normalisation.

    Parameters
    ----------
    layer : KerasLayer
    arrays : list of ndarray
        gamma and beta, if it has them, the mean and the variance; each has one number a feature.
    rank : {2, 3}
        The axes of what it reads.
    """
    axis = keras_layers.setting(layer, "axis")
    if axis not in (-1, rank - 1, [-1], [rank - 1]):
        raise CannotError(f"has {axis!r} as the axis of {layer}; crnn has -1, the features")
    rest = [each.astype(float) for each in arrays]
    factors = rest.pop(0) if keras_layers.flag(layer, "scale") else 1.0
    summands = rest.pop(0) if keras_layers.flag(layer, "center") else 0.0
    mean, variance = rest
    variance = variance + checks.finite_number(
        keras_layers.setting(layer, "epsilon"), f"epsilon of {layer}")
    if not (variance > 0).all():
        raise ValueError(f"has a variance in {layer} that is not above 0")
    factors = factors / np.sqrt(variance)
    return Scaling(layer, factors, summands - mean * factors)

"""The readout and the loss of its outputs."""

from crnn.reference.formulas import (
    bias_gradients,
    linear,
    linear_gradients,
    mse_loss,
    sigmoid_loss,
    softmax_loss,
)
from crnn.reference.layer import rows, share, silent

LOSSES = {"softmax": softmax_loss, "sigmoid": sigmoid_loss, "mse": mse_loss}


class Readout:
    """The readout, and the loss of its outputs; without a readout, outputs are the states.

    Parameters
    ----------
    weights : Weights
    states : ndarray (T + 1, B, H)
        The initial one first, or a block of them.
    y : ndarray (steps, B, O)
        The outputs, or their gradient.
    """

    def __init__(self, weights, states, y):
        self._weights, self._states, self._y = weights, states, y

    def prepare_loss(self, loss, losses, targets, valid, scale):
        """Say which loss, where its values go, and what is wanted of the outputs.

        Parameters
        ----------
        loss : {"softmax", "sigmoid", "mse"}
        losses, targets, valid, scale
            As for `softmax_loss`, or `sigmoid_loss` and `mse_loss`; valid is None for softmax.
        """
        self._loss, self._losses, self._scale = LOSSES[loss], losses, scale
        self._targets = [each for each in (targets, valid) if each is not None]

    def prepare_backward(self, dh, gradient):
        """Say where gradients lie: dh (steps of a block, B, H), and the parameters' vector."""
        self._dh, self._gradients = dh, self._weights.views(gradient)

    @silent
    def forward(self, at, y_at, count, first, last):
        """Fill y[y_at : y_at + count] with the outputs of states[at + 1 : at + 1 + count]."""
        h = self._states[at + 1 : at + 1 + count, first:last]
        y = self._y[y_at : y_at + count, first:last]
        if self._weights.has_readout:
            linear(y, h, self._weights.packed("W_hy"), self._weights.parameters["b_y"])
        else:
            y[...] = h

    @silent
    def loss(self, y_at, start, count, first, last):
        """Turn y[y_at:] into its gradient, with the targets and for the losses from start on."""
        part = slice(start, start + count), slice(first, last)
        y = self._y[y_at : y_at + count, first:last]
        self._loss(self._losses[part], y, *(each[part] for each in self._targets), self._scale)

    @silent
    def backward(self, y_at, count, first, last):
        """Fill dh[:count] from the gradient of the outputs, y[y_at:]."""
        dh, dy = self._dh[:count, first:last], self._y[y_at : y_at + count, first:last]
        if self._weights.has_readout:
            linear(dh, dy, self._weights.packed("W_hy", transposed=True))
        else:
            dh[...] = dy

    @silent
    def gradients(self, at, y_at, count, first, last):
        """Add rows first to last - 1 of the gradient of W_hy, and such a share of b_y's."""
        if not self._weights.has_readout:
            return
        h = rows(self._states[at + 1 : at + 1 + count])
        dy, d = rows(self._y[y_at : y_at + count]), self._gradients
        outputs = share(dy.shape[1], first, last, h.shape[1])
        linear_gradients(d["W_hy"][first:last], h[:, first:last], dy)
        bias_gradients(d["b_y"][outputs], dy[:, outputs])

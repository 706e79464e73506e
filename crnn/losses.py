"""Losses: checked targets, the weight of each, and the kernel that does the sums."""

from typing import NamedTuple

import numpy as np

from crnn import checks

LOSSES = ("softmax", "sigmoid", "mse")
REDUCTIONS = ("mean", "sum")


class Objective(NamedTuple):
    """A loss with its targets, ready to be applied to blocks of outputs."""

    kernel: object  # the backend's softmax_loss, sigmoid_loss or mse_loss
    targets: np.ndarray  # (T, B) or (T, B, O); T is 1 when only the last outputs count
    valid: np.ndarray | None  # (T, B) of bool for sigmoid and mse
    scale: float  # what the sum of losses is multiplied with
    last_only: bool  # many to one: targets for the last valid step of each sequence

    def apply(self, y, start, stop):
        """Return the sum of the losses of y, the outputs of steps start to stop - 1.

        y (stop - start, B, O) is overwritten with the gradient.
        """
        rows = y.reshape(-1, y.shape[-1])
        if self.valid is None:
            return self.kernel(rows, self.targets[start:stop].reshape(-1), self.scale)
        targets = self.targets[start:stop].reshape(rows.shape)
        return self.kernel(rows, targets, self.valid[start:stop].reshape(-1), self.scale)


def objective(kernels, loss, targets, sequence, output_size, reduction, dtype):
    """Check the arguments of a loss and return its `Objective`.

    Parameters
    ----------
    kernels : namespace
        A backend's functions.
    loss : {"softmax", "sigmoid", "mse"}
    targets : array_like
        Softmax: integers (T, B) or (B,), -1 for none. Others: (T, B, O) or (B, O). Without B for
        one sequence.
    sequence : Sequence
        The checked input.
    output_size : int
        O.
    reduction : {"mean", "sum"}
    dtype : numpy.dtype
    """
    checks.choice(loss, "loss", LOSSES)
    checks.choice(reduction, "reduction", REDUCTIONS)
    kernel = getattr(kernels, f"{loss}_loss")
    steps, batch_size = sequence.steps, sequence.batch_size
    each = (batch_size,) if sequence.batched else ()
    features = () if loss == "softmax" else (output_size,)
    array = checks.plain_array(targets, "targets")
    last_only = _counts_last_only(array, (steps, *each), each, features)
    if loss == "softmax":
        array = _classes(array, output_size)
    else:
        array = checks.real_array(array, "targets", dtype, array.shape)
    array = array.reshape(1 if last_only else steps, batch_size, *features)
    valid = _valid(sequence, last_only)
    if loss == "softmax":
        array = array if valid is None else np.where(valid, array, -1)
        count, valid = int(np.count_nonzero(array >= 0)), None
    else:
        valid = np.ones(array.shape[:2], bool) if valid is None else valid
        count = int(valid.sum()) * output_size
    scale = 1.0 if reduction == "sum" else 1.0 / max(count, 1)
    return Objective(kernel, array, valid, scale, last_only)


def _counts_last_only(array, all_steps, last_step, features):
    if array.shape == all_steps + features:
        return False
    if array.shape == last_step + features:
        return True
    raise ValueError(
        f"targets have shape {array.shape}; {all_steps + features}, one for every step, or"
        f" {last_step + features}, one for the last step, is wanted"
    )


def _classes(array, output_size):
    array = np.array(checks.whole_array(array, "targets"))  # checked and used: it must not change
    if array.size and not (int(array.min()) >= -1 and int(array.max()) < output_size):
        bad = int(array.min()) if int(array.min()) < -1 else int(array.max())
        raise ValueError(
            f"targets have the class {bad}; the network's outputs are classes 0 to"
            f" {output_size - 1}, and -1 means no target"
        )
    return checks.ready(array, np.intp)


def _valid(sequence, last_only):
    """Return which targets count, (T, B), or (1, B) for the last step only; None: all of them."""
    lengths = sequence.lengths
    if last_only:
        return np.full((1, sequence.batch_size), sequence.steps > 0) if lengths is None else (
            lengths > 0)[None, :]
    return None if lengths is None else checks.valid_steps(lengths, sequence.steps)

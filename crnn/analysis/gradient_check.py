"""Are the gradients right? Compare them with complex-step derivatives."""

import numpy as np

from crnn.base import checks
from crnn.base.arrangement import arranged
from crnn.base.sequences import state_parts, state_widths
from crnn.network.network import Network

STEP = 1e-100  # no difference is taken, so no digits are lost however small the step


def gradcheck(
    net, x, targets, state=None, *, loss="softmax", reduction="mean", lengths=None,
    sample_weight=None, class_weight=None, missing="error", max_entries=200, seed=0,
):
    """Compare ``net.loss_and_gradients`` with complex-step derivatives of the NumPy reference.

    dL/dp = Im L(p + ih) / h, which is exact to machine precision (Squire & Trapp 1998). One loss
    is computed for each entry that is looked at.

    Parameters
    ----------
    net : RNN, GRU, LSTM or Sequential
    x, targets, state, loss, reduction, lengths, sample_weight, class_weight, missing
        As for `RNN.loss_and_gradients`.
    max_entries : int
        At most this many entries of each array are looked at, drawn at random.
    seed : int
        The seed of the draw.

    Returns
    -------
    dict of str to float
        For each parameter, "x" (unless it is tokens) and "state": the largest difference, divided
        by the largest derivative. About 1e-14 in float64 and 1e-6 in float32.

    Raises
    ------
    TypeError, ValueError, IndexError
        As `RNN.loss_and_gradients`, and if max_entries is not a whole number of at least 1.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> net = crnn.RNN(3, 5, 2, dtype="float64", seed=0)
    >>> errors = crnn.gradcheck(net, np.ones((7, 4, 3)), np.zeros((7, 4), int))
    >>> max(errors.values()) < 1e-12
    True
    """
    checks.option("net", net, Network, "a network").parameters.check_trainable()
    max_entries = checks.whole_number(max_entries, "max_entries")
    given = arranged(x, lengths, net.batch_first, net.input_size)
    x, targets, lengths = given.x, given.targets(targets, loss), given.lengths
    sample_weight = None if sample_weight is None else given.weights(sample_weight)
    options = {
        "loss": loss, "reduction": reduction, "lengths": lengths, "sample_weight": sample_weight,
        "class_weight": class_weight, "missing": missing,
    }
    vector, net = net.vector, net.without_dropout(batch_first=False)  # it differs at each pass
    net.vector = vector
    _, gradients, _ = net.loss_and_gradients(x, targets, state, **options)
    count = len(state_widths(net.engine.layers))
    names = ("state", "state c")[:count]
    first = _parts(net.engine.infer(np.asarray(x)[:0], state, None)[1], count)  # after no steps
    analytic = dict(gradients.parameters)
    analytic |= dict(zip(names, map(_flat, _parts(gradients.state, count)), strict=True))
    if gradients.x is not None:
        analytic["x"] = gradients.x
    twin = net.without_dropout(dtype="complex128", backend="reference")
    point = {name: view.astype(complex) for name, view in net.parameters.items()}
    point |= {name: _flat(part).astype(complex) for name, part in zip(names, first, strict=True)}
    point["x"] = np.asarray(x) if gradients.x is None else np.array(x, complex)

    def loss_at(name, value):
        moved, start = point | {name: value}, None
        for each in twin.parameters:
            twin.parameters[each] = moved[each]
        if state is not None or name in names:
            parts = [_shaped(moved[each], form) for each, form in zip(names, first, strict=True)]
            start = tuple(parts) if count > 1 else parts[0]
        return twin.loss(moved["x"], targets, start, **options)[0]

    generator = np.random.default_rng(seed)
    errors = {}
    for name, gradient in analytic.items():
        size = gradient.size
        entries = generator.choice(size, min(size, max_entries), replace=False)
        exact = [_derivative(loss_at, point, name, entry) for entry in entries]
        errors[name] = _error(gradient.ravel()[entries], np.array(exact))
    return errors


def _parts(state, count):
    """Return h and, for an LSTM, c of a state, or of its gradient."""
    return [part for _, part in state_parts(state, count)]


def _flat(part):
    """Return h, or c, which is an array or a list of arrays of different widths, as one vector."""
    return np.concatenate([np.ravel(each) for each in part])


def _shaped(flat, form):
    """Return a vector in the form that h, or c, had before `_flat`."""
    if not isinstance(form, list):
        return flat.reshape(form.shape)
    pieces = np.split(flat, np.cumsum([each.size for each in form])[:-1])
    return [piece.reshape(each.shape) for piece, each in zip(pieces, form, strict=True)]


def _derivative(function, point, name, entry):
    moved = point[name].copy()
    moved.flat[entry] += 1j * STEP
    return function(name, moved).imag / STEP


def _error(gradient, exact):
    if not exact.size:
        return 0.0
    largest = np.abs(exact).max()
    difference = np.abs(gradient - exact).max()
    return float(difference / largest if largest else difference)

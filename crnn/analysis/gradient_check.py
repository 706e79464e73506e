"""Are the gradients right? Compare them with complex-step derivatives."""

import numpy as np

from crnn.base import checks
from crnn.network.network import Network

STEP = 1e-100  # no difference is taken, so no digits are lost however small the step


def gradcheck(
    net, x, targets, state=None, *, loss="softmax", reduction="mean", lengths=None,
    max_entries=200, seed=0,
):
    """Compare ``net.loss_and_gradients`` with complex-step derivatives of the NumPy reference.

    dL/dp = Im L(p + ih) / h, which is exact to machine precision (Squire & Trapp 1998). One loss
    is computed for each entry that is looked at.

    Parameters
    ----------
    net : RNN, GRU or LSTM
    x, targets, state, loss, reduction, lengths
        As for `RNN.loss_and_gradients`.
    max_entries : int
        At most so many entries of each array are looked at, drawn at random.
    seed : int
        For the draw.

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
    checks.option("net", net, Network, "a network")
    max_entries = checks.whole_number(max_entries, "max_entries")
    options = {"loss": loss, "reduction": reduction, "lengths": lengths}
    config = net.config() | {"dropout": 0.0}
    del config["cell"]
    if net.dropout:  # what it zeroes differs from pass to pass
        vector, net = net.vector, type(net)(**config, backend=net.backend)
        net.vector = vector
    _, gradients, last = net.loss_and_gradients(x, targets, state, **options)
    analytic = dict(gradients.parameters) | _named(gradients.state, net)
    if gradients.x is not None:
        analytic["x"] = gradients.x
    twin = type(net)(**(config | {"dtype": "complex128"}), backend="reference")
    point = {name: view.astype(complex) for name, view in net.parameters.items()}
    for name, value in _named(last if state is None else state, net).items():
        point[name] = np.array(value, complex) if state is not None else np.zeros(
            value.shape, complex)
    point["x"] = np.asarray(x) if gradients.x is None else np.array(x, complex)

    def loss_at(moved):
        for name in twin.parameters:
            twin.parameters[name] = moved[name]
        start = (moved["state"], moved["state c"]) if "state c" in moved else moved["state"]
        return twin.loss(moved["x"], targets, start, **options)[0]

    generator = np.random.default_rng(seed)
    errors = {}
    for name, gradient in analytic.items():
        size = gradient.size
        entries = generator.choice(size, min(size, max_entries), replace=False)
        exact = [_derivative(loss_at, point, name, entry) for entry in entries]
        errors[name] = _error(gradient.ravel()[entries], np.array(exact))
    return errors


def _named(state, net):
    """Return the arrays of a state, or of its gradient, by name."""
    arrays = (array for _, array in checks.state_parts(state, net._kind.states))
    return dict(zip(("state", "state c"), arrays, strict=False))


def _derivative(function, point, name, entry):
    moved = point[name].copy()
    moved.flat[entry] += 1j * STEP
    return function(point | {name: moved}).imag / STEP


def _error(gradient, exact):
    if not exact.size:
        return 0.0
    largest = np.abs(exact).max()
    difference = np.abs(gradient - exact).max()
    return float(difference / largest if largest else difference)

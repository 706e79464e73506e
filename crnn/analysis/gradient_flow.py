"""How far back does the loss reach? The norm of its gradient at every step."""

import numpy as np

from crnn.base import checks
from crnn.engine.sequences import reverse
from crnn.kernels.memory import aligned_empty, aligned_zeros
from crnn.network.network import Network


def gradient_flow(net, x, targets, state=None, *, loss="softmax", reduction="mean", lengths=None):
    """Return the norm of dL/dh_t, the gradient of the loss with respect to each step's state.

    Where it falls by a factor with every step back the gradient vanishes, and the network does not
    learn what lies far back; where it grows it explodes (Pascanu, Mikolov & Bengio 2013). With
    targets for the last step only, that is all that is seen: column t is what is left after
    T - 1 - t steps. With targets for every step, dL/dh_t has a share from each step from t on.

    dL/dh_t is the total derivative: by way of the output of the same step, of the layer above, and
    of all steps to come. The norm is Euclidean, over the batch and the hidden units. For an LSTM
    there is a second array, of the cell state c that is handed on to the next step: its gradient
    without what goes through h_t, as that is in the first. Dropout is left out.

    Parameters
    ----------
    net : RNN, GRU or LSTM
    x, targets, state, loss, reduction, lengths
        As for `RNN.loss_and_gradients`.

    Returns
    -------
    ndarray of float64 (L * D, T), or for an LSTM a tuple of two, of h and of c
        The rows are layers and directions, in the order of the state: the last one is the top
        layer's. Column t belongs to x[t], of the second direction too. Sequences that are over
        count 0.

    Raises
    ------
    TypeError, ValueError, IndexError
        As `RNN.loss_and_gradients`.

    See Also
    --------
    crnn.plots.gradient_flow : Draws several of them.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> net = crnn.RNN(3, 5, 2, dtype="float64", seed=0)
    >>> x, last = np.ones((7, 4, 3)), np.zeros(4, int)  # T = 7 steps, a target for the last one
    >>> flow = crnn.gradient_flow(net, x, last)
    >>> flow.shape
    (1, 7)
    >>> bool((flow[0, :-1] < flow[0, 1:]).all())        # less is left with each step back
    True
    >>> h, c = crnn.gradient_flow(crnn.LSTM(3, 5, 2, num_layers=2, seed=0), x, last)
    >>> h.shape, c.shape
    ((2, 7), (2, 7))

    References
    ----------
    Pascanu, R., Mikolov, T. & Bengio, Y. (2013). On the difficulty of training recurrent neural
    networks. ICML.
    """
    checks.option("net", net, Network, "a network")
    sequence = net._sequence(x, state, lengths)
    objective = net._objective(loss, targets, sequence, reduction)
    tape, dh = net._engine.output_gradient(sequence, objective)
    norms, unused = [], np.zeros_like(net.vector)
    for number in reversed(range(len(tape.levels))):
        runs = tape.levels[number]
        halves = np.split(dh, len(runs), axis=2)
        dh, found = 0, []
        for direction, (run, half) in enumerate(zip(runs, halves, strict=True)):
            half = reverse(half, sequence.lengths) if direction else np.ascontiguousarray(half)
            squares, dx = _back(run, half, number > 0, unused)
            if direction:
                squares = [reverse(each, sequence.lengths) for each in squares]
                dx = None if dx is None else reverse(dx, sequence.lengths)
            found.append([np.sqrt(each.sum(axis=1)) for each in squares])
            dh = dh if dx is None else dh + dx
        norms = found + norms
    flows = tuple(np.array(each) for each in zip(*norms, strict=True))
    return flows if len(flows) > 1 else flows[0]


def _back(run, dh, wants_x, unused):
    """Go back through one layer in one direction, step by step.

    Parameters
    ----------
    run : Run
    dh : ndarray (T, B, H)
        What reaches its outputs. Overwritten.
    wants_x : bool
    unused : ndarray (num_parameters,)
        Where the gradients of parameters would go.

    Returns
    -------
    squares : list of ndarray (T, B)
        The squared norms of what reaches h_t, and of an LSTM c_t.
    dx : ndarray (T, B, I) or None
    """
    layer, kind, dtype = run.layer(), run.weights.kind, dh.dtype
    steps, batch, H = dh.shape
    carried = [aligned_zeros((batch, H), dtype) for _ in range(kind.states)]
    da = aligned_empty((1, batch, kind.blocks * H), dtype) if kind.keeps else None
    dkept = aligned_empty((1, batch, H), dtype) if kind.apart else None
    dx = aligned_empty(run.x.shape, dtype) if wants_x else None
    dstate, dc = (*carried, None)[:2]
    layer.prepare_backward(dh, dstate, dc, da, dkept, dx, unused)
    squares = [np.empty((steps, batch)) for _ in carried]
    for t in reversed(range(steps)):
        for square, each in zip(squares, (dh[t] + dstate, dc), strict=False):
            square[t] = np.sum(np.abs(each).astype(float) ** 2, axis=1)
        layer.backward(t, t, 1, 0, batch)
    return squares, dx

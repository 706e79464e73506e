"""How far back does the loss reach? The norm of its gradient at every step."""

import numpy as np

from crnn.base import checks
from crnn.base.arrangement import arranged
from crnn.base.objective import check_outputs, checked_objective
from crnn.base.sequences import checked_sequence
from crnn.network.network import Network
from crnn.reference import Passes


def gradient_flow(net, x, targets, state=None, *, loss="softmax", reduction="mean", lengths=None):
    """Return the norm of dL/dh_t, the gradient of the loss with respect to each step's state.

    Where the norm falls by a factor with every step back, the gradient vanishes, and the network
    does not learn what lies far back; where the norm grows, the gradient explodes (Pascanu, Mikolov
    & Bengio 2013). With targets for the last step only, column t shows what is left after T - 1 - t
    steps. With targets for every step, dL/dh_t has a share from each step from t on.

    dL/dh_t is the total derivative: by way of the output of the same step, of the layer above, and
    of all steps to come. The norm is Euclidean, over the batch and the hidden units. For an LSTM
    there is a second array, for the cell state c_t: the gradient that reaches it from the next
    step, without what reaches it through h_t, which the first array has. There is no dropout.

    It is computed by the NumPy reference, whatever the network's backend, in the network's dtype.

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
    checks.option("net", net, Network, "a network").parameters.check_trainable()
    if net.engine.mask is not None:
        raise ValueError(
            "the network leaves out steps (Masking, mask_zero), which gradient_flow does not; leave"
            " them out of x, and build the network without a mask"
        )
    layers = net.engine.layers
    given = arranged(x, lengths, net.batch_first, net.input_size)
    sequence = checked_sequence(
        given.x, state, given.lengths, layers, net.dtype, net.engine.lookout)
    targets = given.targets(targets, loss)
    objective = checked_objective(
        loss, targets, sequence, net.engine.output_size, reduction, net.dtype
    )
    check_outputs(objective, net.engine.readout, net.engine.skip)
    readout = net.engine.readout
    passes = Passes(
        layers, net.parameters, "linear" if readout is None else readout.activation,
        net.engine.skip)
    _, gradients, _ = passes.loss_and_gradients(
        sequence.x, sequence.states, sequence.lengths, objective
    )
    flows = tuple(
        np.array([norms(each[index]) for each in gradients.flow if len(each) > index])
        for index in range(max(map(len, gradients.flow)))
    )
    return flows if len(flows) > 1 else flows[0]


def norms(gradients):
    """Return the norm of each step's gradient (T, B, H), in double precision."""
    return np.sqrt(np.sum(np.abs(gradients).astype(float) ** 2, axis=(1, 2)))

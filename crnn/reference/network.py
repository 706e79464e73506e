"""A network of recurrent layers and an optional readout: its passes over whole sequences.

Each layer reads what the one below puts out, in both directions where there are two, side by side;
the readout is the same linear map at each step, y_t = h_t @ W_hy + b_y. On the way back::

    dW_hy = sum of h_t.T @ dy_t         db_y = sum of dy_t         dh_t = dy_t @ W_hy.T

and each layer hands dx down, which is the gradient of what the layer below puts out.

Where initial states are learned, each sequence that is given none begins with the same h_0 (and
c_0), so the gradient of h_0 is the sum of those of the batch's initial states.
"""

from typing import NamedTuple

import numpy as np

from crnn.reference.cells import Weights
from crnn.reference.layer import DIRECTIONS, product_gradient, valid_steps
from crnn.reference.losses import LOSSES
from crnn.reference.precision import wide

# Infinity and NaN are results that the caller sees; the compiled code does not warn of them either.
silent = np.errstate(over="ignore", invalid="ignore")


class Tape(NamedTuple):
    """What the way back needs of a pass."""

    layers: list  # for each layer the tapes of its directions
    masks: list  # for each layer except the top one what dropout left of its outputs, or None
    lengths: np.ndarray | None
    was_given: bool  # a state to begin with
    top: np.ndarray  # (T, B, D * H): what the top layer puts out


class Gradients(NamedTuple):
    """Derivatives of the loss."""

    parameters: dict  # by name
    x: np.ndarray | None  # None for tokens
    states: list  # gradients of the initial states
    flow: list  # for each layer and direction, `LayerGradients.flow`


class Passes:
    """What a network computes.

    Everywhere ``x`` is (T, B, I) floats or (T, B) integer tokens; ``states`` is a list with an
    entry for each layer and direction, from the input up: (h,), or (h, c) for an LSTM, of arrays
    (B, H), or None, to begin as `initial_states` says; ``lengths`` (B,) or None says how many of
    the T steps each sequence has.

    Parameters
    ----------
    layers : sequence
        From the input up. Each has ``kind``, with ``cell``, ``nonlinearity``, ``reset_after`` and
        ``state_names``, and ``suffixes``, the ends of its parameters' names, one for each
        direction.
    parameters : mapping of str to ndarray
        ``W_xh_l0`` and so on; ``W_hy`` and ``b_y`` where there is a readout; ``h_0_l0`` and so on
        where initial states are learned.
    dropout : float
        The share of each layer's outputs that training zeroes, except the top layer's.

    Examples
    --------
    >>> import crnn
    >>> net = crnn.RNN(3, 5, 2, num_layers=2, dtype="float64", seed=0)
    >>> passes = Passes(net.engine.layers, net.parameters)
    >>> x = np.ones((7, 4, 3))
    >>> y, states = passes.infer(x, passes.initial_states(4))
    >>> bool(np.allclose(y, net(x)[0], rtol=1e-12))
    True
    """

    def __init__(self, layers, parameters, dropout=0.0):
        self.layers, self.parameters, self.dropout = layers, parameters, dropout

    # --- forward ---------------------------------------------------------------------------------

    def initial_states(self, batch):
        """Return what a batch begins with where nothing is given: h_0 and c_0 if learned, or 0."""
        states = []
        for layer in self.layers:
            for suffix in layer.suffixes:
                W_hh = self.parameters["W_hh" + suffix]
                zeros = np.zeros(len(W_hh), W_hh.dtype)
                rows = [self.parameters.get(name + suffix, zeros) for name in
                        layer.kind.state_names]
                states.append(tuple(np.tile(row, (batch, 1)) for row in rows))
        return states

    def infer(self, x, states, lengths=None):
        """Return the outputs (T, B, O), 0 for sequences that are over, and the last states."""
        y, states, _ = self.forward(x, states, lengths)
        return y, states

    @silent
    def infer_last(self, x, states, lengths=None):
        """Return each sequence's last outputs (B, O), 0 where it has no step, and the last states.

        What the readout then reads is what `last_outputs` returns.
        """
        states, tape = self._through_layers(x, states, lengths, None)
        y = self._read_out(last_outputs(tape))
        has_steps = valid_steps(lengths, *x.shape[:2]).any(axis=0)
        return np.where(has_steps[:, None], y, 0), states

    def step(self, x, states):
        """Return the outputs (B, O) of one time step, and the states after it."""
        y, states = self.infer(x[None], states)
        return y[0], states

    @silent
    def forward(self, x, states, lengths=None, masks=None):
        """Return outputs, last states, and the `Tape` that `backward` needs.

        ``masks`` is a list for all layers except the top one: arrays of bool (T, B, D * H) that say
        which outputs dropout leaves. None: no dropout.
        """
        states, tape = self._through_layers(x, states, lengths, masks)
        y = self._read_out(tape.top)
        running = valid_steps(lengths, *y.shape[:2])
        return np.where(running[:, :, None], y, 0), states, tape

    @silent
    def loss(self, x, states, lengths, objective):
        """Return the loss and the last states.

        The objective has ``loss``, with a ``name`` and ``options``; ``targets`` and ``weights``, as
        the loss of that name in `crnn.reference.losses` takes them; ``scale``, which the sum of all
        losses is multiplied with; and ``last_only``: whether there are targets (1, B, ...) for each
        sequence's last outputs only.
        """
        states, tape = self._through_layers(x, states, lengths, None)
        read = last_outputs(tape)[None] if objective.last_only else tape.top
        losses, _ = losses_of(self._read_out(read), objective)
        return losses.sum().item() * objective.scale, states

    def _through_layers(self, x, states, lengths, masks):
        """Run all layers; return the last states and the `Tape`."""
        masks = masks or [None] * (len(self.layers) - 1)
        was_given = states is not None
        states = states if was_given else self.initial_states(x.shape[1])
        given, last, tapes = iter(states), [], []
        for number, layer in enumerate(self.layers):
            if number > 0:
                x = self._drop(x, masks[number - 1])
            outputs, own = [], []
            for suffix, (forward, _) in zip(layer.suffixes, DIRECTIONS, strict=False):
                weights = self._weights(layer, suffix)
                h, state, tape = forward(x, next(given), weights, lengths)
                outputs.append(h)
                last.append(state)
                own.append(tape)
            x = np.concatenate(outputs, axis=2)
            tapes.append(own)
        return last, Tape(tapes, masks, lengths, was_given, x)

    def _weights(self, layer, suffix):
        names = ("W_xh", "W_hh", "b_h", "b_hn")
        kind = layer.kind
        return Weights(
            *(self.parameters.get(name + suffix) for name in names),
            kind.cell, kind.nonlinearity, kind.reset_after,
        )

    def _drop(self, x, mask):
        """Zero what the mask leaves out, and scale up the rest: the same forward and back."""
        return x if mask is None else x * mask * (1 / (1 - self.dropout))

    @property
    def _has_readout(self):
        return "W_hy" in self.parameters

    def _read_out(self, h):
        if not self._has_readout:
            return h
        return h @ self.parameters["W_hy"] + self.parameters["b_y"]

    # --- backward --------------------------------------------------------------------------------

    @silent
    def backward(self, tape, dy, dstates):
        """Return the `Gradients`, given those of the outputs (T, B, O) and of the last states."""
        running = valid_steps(tape.lengths, *dy.shape[:2])
        dy = np.where(running[:, :, None], dy, 0)
        dh, gradients = self._read_out_backward(dy, tape.top)
        return self._back_through_layers(tape, dh, dstates, gradients)

    @silent
    def loss_and_gradients(self, x, states, lengths, objective, masks=None):
        """Return the loss, its `Gradients`, and the last states: the training pass."""
        states, tape = self._through_layers(x, states, lengths, masks)
        read = last_outputs(tape)[None] if objective.last_only else tape.top
        losses, dy = losses_of(self._read_out(read), objective)
        dh, gradients = self._read_out_backward(dy, read)
        if objective.last_only:
            dh = last_outputs_backward(dh[0], tape)
        none = [tuple(np.zeros_like(each) for each in state) for state in states]
        gradients = self._back_through_layers(tape, dh, none, gradients)
        return losses.sum().item() * objective.scale, gradients, states

    def _read_out_backward(self, dy, h):
        """Return the gradient of h, and those of the readout's parameters by name."""
        if not self._has_readout:
            return dy, {}
        W_hy = self.parameters["W_hy"]
        dW_hy, db_y = product_gradient(h, dy, W_hy), wide(dy).sum(axis=(0, 1))
        return dy @ W_hy.T, {"W_hy": dW_hy, "b_y": db_y}

    def _back_through_layers(self, tape, dh, dstates, gradients):
        """Return the `Gradients`, given that of what the top layer puts out."""
        dstates, dinitial, flow = list(dstates), [], []  # taken from the end, put to the front
        for number, layer in reversed(list(enumerate(self.layers))):
            halves, dx = np.split(dh, len(layer.suffixes), axis=2), []
            for direction, suffix in reversed(list(enumerate(layer.suffixes))):
                _, backward = DIRECTIONS[direction]
                own = backward(
                    halves[direction], dstates.pop(), tape.layers[number][direction],
                    self._weights(layer, suffix),
                )
                gradients |= {name + suffix: each for name, each in own.weights.items()}
                dinitial.insert(0, own.state)
                flow.insert(0, own.flow)
                dx.append(own.x)
            dx = None if dx[0] is None else sum(dx)
            if number > 0:
                dh = self._drop(dx, tape.masks[number - 1])
        gradients |= self._initial_states_backward(dinitial, tape.was_given)
        return Gradients(gradients, dx, dinitial, flow)

    def _initial_states_backward(self, dinitial, was_given):
        """Return the gradients of learned initial states by name; 0 where states were given."""
        gradients, suffixes = {}, [each for layer in self.layers for each in layer.suffixes]
        for suffix, dstate in zip(suffixes, dinitial, strict=True):
            for name, each in zip(("h_0", "c_0"), dstate, strict=False):
                if name + suffix in self.parameters:
                    total = wide(each).sum(axis=0)
                    gradients[name + suffix] = np.zeros_like(total) if was_given else total
        return gradients


def losses_of(y, objective):
    """Return the losses of outputs and their gradient."""
    loss = LOSSES[objective.loss.name]
    return loss(
        y, objective.targets, objective.weights, objective.scale, **objective.loss.options)


def last_outputs(tape):
    """Return what the top layer puts out last (B, D * H): zeros where there is no step at all.

    In two directions that is each direction's own last state, side by side: of the first one at
    the sequence's last step, of the second one, which goes the other way, at its first.
    """
    steps, batch, width = tape.top.shape
    if steps == 0:
        return np.zeros((batch, width), tape.top.dtype)
    H = width // len(tape.layers[-1])
    ahead, second = tape.top[last_steps(tape), np.arange(batch), :H], tape.top[0, :, H:]
    return np.concatenate([ahead, second], axis=1)  # nothing of a second one that is not there


def last_outputs_backward(dh, tape):
    """Return zeros (T, B, D * H), but for the rows dh (B, D * H) where `last_outputs` reads."""
    whole = np.zeros_like(tape.top)
    if len(whole):
        H = dh.shape[1] // len(tape.layers[-1])
        whole[last_steps(tape), np.arange(len(dh)), :H] = dh[:, :H]
        whole[0, :, H:] = dh[:, H:]
    return whole


def last_steps(tape):
    """Return each sequence's last valid step; 0 for one that has none."""
    steps, batch, _ = tape.top.shape
    if tape.lengths is None:
        return np.full(batch, steps - 1)
    return np.maximum(tape.lengths - 1, 0)

"""A network of layers and an optional readout: its passes over whole sequences.

Each layer reads what the one below puts out, in both directions where there are two, side by side;
most are recurrent, and some have no state (``dense.py``). The readout is such a layer too, at the
top: y_t = f(a_t) with a_t = h_t @ W_hy + b_y. A skip adds the input: y_t = f(a_t) + x_t. On the way
back::

    dW_hy = sum of h_t.T @ da_t         db_y = sum of da_t         dh_t = da_t @ W_hy.T

and each layer hands dx down, which is the gradient of what the layer below puts out. The losses
"softmax" and "sigmoid" say how to get from a_t to probabilities themselves: they read a_t.

Where only each sequence's last outputs are wanted, what the top recurrent layer puts out last goes
on to the layers above it, as a single step.

Where initial states are learned, each sequence that is given none begins with the same h_0 (and
c_0), so the gradient of h_0 is the sum of those of the batch's initial states.
"""

from typing import NamedTuple

import numpy as np

from crnn.reference import dense
from crnn.reference.cells import Weights
from crnn.reference.layer import DIRECTIONS, valid_steps
from crnn.reference.losses import LOSSES
from crnn.reference.precision import wide
from crnn.reference.products import product_gradient

# Infinity and NaN are results that the caller sees; the compiled code does not warn of them either.
silent = np.errstate(over="ignore", invalid="ignore")


class Tape(NamedTuple):
    """What the way back needs of a pass."""

    x: np.ndarray
    layers: list  # for each layer the tapes of its directions
    masks: list  # for each layer what dropout left of its outputs, or None
    lengths: np.ndarray | None
    was_given: bool  # a state to begin with
    shape: tuple  # (T, B, D * H) of what the top recurrent layer puts out
    last_only: bool
    top: np.ndarray  # (T, B, n), or (1, B, n): what the readout reads


class Gradients(NamedTuple):
    """Derivatives of the loss."""

    parameters: dict  # by name
    x: np.ndarray | None  # None for tokens
    states: list  # gradients of the initial states
    flow: list  # for each recurrent layer and direction, `LayerGradients.flow`


class Passes:
    """What a network computes.

    Everywhere ``x`` is (T, B, I) floats or (T, B) integer tokens; ``states`` is a list with an
    entry for each recurrent layer and direction, from the input up: (h,), or (h, c) for an LSTM, of
    arrays (B, H), or None, to begin as `initial_states` says; ``lengths`` (B,) or None says how
    many of the T steps each sequence has.

    Parameters
    ----------
    layers : sequence
        From the input up, without the readout. Each has ``kind``, a `crnn.base.layers.CellKind`;
        ``suffixes``, the ends of its parameters' names, one for each direction; and ``dropout``,
        the share of its outputs that training zeroes.
    parameters : mapping of str to ndarray
        ``W_xh_l0`` and so on; ``W_hy`` and ``b_y`` where there is a readout; ``h_0_l0`` and so on
        where initial states are learned.
    activation : str
        The f of the readout; see `crnn.reference.dense.activated`.
    skip : bool
        Whether the input is added to the outputs.

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

    def __init__(self, layers, parameters, activation="linear", skip=False):
        self.layers, self.parameters = layers, parameters
        self.activation, self.skip = activation, skip
        self.body = 1 + max(k for k, layer in enumerate(layers) if layer.kind.has_state)

    # --- forward ---------------------------------------------------------------------------------

    def initial_states(self, batch):
        """Return what a batch begins with where nothing is given: h_0 and c_0 if learned, or 0."""
        states = []
        for layer in self._recurrent:
            for suffix in layer.suffixes:
                W_hh = self.parameters["W_hh" + suffix]
                zeros = np.zeros(len(W_hh), W_hh.dtype)
                rows = [self.parameters.get(name + suffix, zeros) for name in
                        layer.kind.state_names]
                states.append(tuple(np.tile(row, (batch, 1)) for row in rows))
        return states

    @property
    def _recurrent(self):
        return [layer for layer in self.layers if layer.kind.has_state]

    def infer(self, x, states, lengths=None):
        """Return the outputs (T, B, O), 0 for sequences that are over, and the last states."""
        y, states, _ = self.forward(x, states, lengths)
        return y, states

    @silent
    def outputs(self, h):
        """Return the outputs of what the top recurrent layer has put out (T, B, D * H)."""
        for layer in self.layers[self.body :]:
            h, _ = dense.forward(h, *self._map(layer), layer.kind.nonlinearity)
        return dense.activated(self._readout_of(h), self.activation)

    @silent
    def infer_last(self, x, states, lengths=None):
        """Return each sequence's last outputs (B, O), 0 where it has no step, and the last states.

        What the layers above the recurrent ones then read is what `last_outputs` returns.
        """
        states, tape = self._through_layers(x, states, lengths, None, last_only=True)
        y = self._outputs(self._read_out(tape), tape)[0]
        has_steps = valid_steps(lengths, *x.shape[:2]).any(axis=0)
        return np.where(has_steps[:, None], y, 0), states

    def step(self, x, states):
        """Return the outputs (B, O) of one time step, and the states after it."""
        y, states = self.infer(x[None], states)
        return y[0], states

    @silent
    def forward(self, x, states, lengths=None, masks=None):
        """Return outputs, last states, and the `Tape` that `backward` needs.

        ``masks`` is a list for all layers: None, or an array of bool (T, B, D * H) that says which
        outputs dropout leaves. None: no dropout.
        """
        states, tape = self._through_layers(x, states, lengths, masks)
        y = self._outputs(self._read_out(tape), tape)
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
        states, tape = self._through_layers(x, states, lengths, None, objective.last_only)
        losses, _ = self._losses_of(self._read_out(tape), tape, objective)
        return losses.sum().item() * objective.scale, states

    def _through_layers(self, x, states, lengths, masks, last_only=False):
        """Run all layers; return the last states and the `Tape`."""
        masks, was_given = masks or [None] * len(self.layers), states is not None
        given, last, tapes = iter(states if was_given else self.initial_states(x.shape[1])), [], []
        read, shape = x, None
        for number, layer in enumerate(self.layers):
            if layer.kind.has_state:
                read, own = self._through_recurrent(read, layer, given, last, lengths)
            else:
                read, own = dense.forward(read, *self._map(layer), layer.kind.nonlinearity)
            read = dropped(read, masks[number], layer.dropout)
            tapes.append(own)
            if number + 1 == self.body:
                shape = read.shape
                if last_only:
                    read = last_outputs(read, lengths, len(layer.suffixes))[None]
        return last, Tape(x, tapes, masks, lengths, was_given, shape, last_only, read)

    def _through_recurrent(self, x, layer, given, last, lengths):
        """Run a layer in its directions; return what it puts out, and its tapes."""
        outputs, tapes = [], []
        for suffix, (forward, _) in zip(layer.suffixes, DIRECTIONS, strict=False):
            h, state, tape = forward(x, next(given), self._weights(layer, suffix), lengths)
            outputs.append(h)
            last.append(state)
            tapes.append(tape)
        return np.concatenate(outputs, axis=2), tapes

    def _weights(self, layer, suffix):
        names = ("W_xh", "W_hh", "b_h", "b_hn", "W_ch")
        kind = layer.kind
        return Weights(
            *(self.parameters.get(name + suffix) for name in names),
            kind.cell, kind.nonlinearity, kind.gate_activation, kind.clip, kind.reset_after,
            kind.coupled,
        )

    def _map(self, layer):
        """Return the W and the b of a layer without a state; None where it has none."""
        suffix, = layer.suffixes
        return tuple(self.parameters.get(name + suffix) for name in ("W_xh", "b_h"))

    @property
    def _has_readout(self):
        return "W_hy" in self.parameters

    def _read_out(self, tape):
        """Return a (T, B, O), of which outputs are made."""
        return self._readout_of(tape.top)

    def _readout_of(self, h):
        if not self._has_readout:
            return h
        return h @ self.parameters["W_hy"] + self.parameters["b_y"]

    def _outputs(self, a, tape):
        y = dense.activated(a, self.activation)
        return y + tape.x if self.skip else y

    def _losses_of(self, a, tape, objective):
        """Return the losses of outputs, and the gradient of a."""
        if objective.loss.name == self.activation:  # the loss goes from a to probabilities itself
            return losses_of(a, objective)
        losses, dy = losses_of(self._outputs(a, tape), objective)
        return losses, self._outputs_backward(dy, a)

    def _outputs_backward(self, dy, a):
        return dense.activated_backward(dy, dense.activated(a, self.activation), self.activation)

    # --- backward --------------------------------------------------------------------------------

    @silent
    def backward(self, tape, dy, dstates):
        """Return the `Gradients`, given those of the outputs (T, B, O) and of the last states."""
        running = valid_steps(tape.lengths, *dy.shape[:2])
        dy = np.where(running[:, :, None], dy, 0)
        da = self._outputs_backward(dy, self._read_out(tape))
        return self._back_through_layers(tape, da, dy, dstates)

    @silent
    def loss_and_gradients(self, x, states, lengths, objective, masks=None):
        """Return the loss, its `Gradients`, and the last states: the training pass."""
        states, tape = self._through_layers(x, states, lengths, masks, objective.last_only)
        losses, da = self._losses_of(self._read_out(tape), tape, objective)
        none = [tuple(np.zeros_like(each) for each in state) for state in states]
        gradients = self._back_through_layers(tape, da, da, none)
        return losses.sum().item() * objective.scale, gradients, states

    def _read_out_backward(self, da, h):
        """Return the gradient of h, and those of the readout's parameters by name."""
        if not self._has_readout:
            return da, {}
        W_hy = self.parameters["W_hy"]
        dW_hy, db_y = product_gradient(h, da, W_hy), wide(da).sum(axis=(0, 1))
        return da @ W_hy.T, {"W_hy": dW_hy, "b_y": db_y}

    def _back_through_layers(self, tape, da, dy, dstates):
        """Return the `Gradients`, given those of what the readout computes and of outputs.

        The activation of a network with a skip is linear, so that the two are then the same.
        """
        dh, gradients = self._read_out_backward(da, tape.top)
        dstates, dinitial, flow = list(dstates), [], []  # taken from the end, put to the front
        for number, layer in reversed(list(enumerate(self.layers))):
            own = tape.layers[number]
            if number + 1 == self.body and tape.last_only:
                dh = last_outputs_backward(dh[0], tape.shape, tape.lengths, len(layer.suffixes))
            dh = dropped(dh, tape.masks[number], layer.dropout)
            if layer.kind.has_state:
                dh = self._back_through_recurrent(dh, layer, own, dstates, dinitial, flow,
                                                  gradients)
                continue
            W, _ = self._map(layer)
            dh, *shares = dense.backward(dh, own, W, layer.kind.nonlinearity)
            gradients |= {name + layer.suffixes[0]: share
                          for name, share in zip(("W_xh", "b_h"), shares, strict=True)
                          if name + layer.suffixes[0] in self.parameters}
        if self.skip:
            dh = dh + dy
        gradients |= self._initial_states_backward(dinitial, tape.was_given)
        return Gradients(gradients, dh, dinitial, flow)

    def _back_through_recurrent(self, dh, layer, tapes, dstates, dinitial, flow, gradients):
        """Return the gradient of what a layer reads, None for tokens; put the others in place."""
        halves, dx = np.split(dh, len(layer.suffixes), axis=2), []
        for direction, suffix in reversed(list(enumerate(layer.suffixes))):
            _, backward = DIRECTIONS[direction]
            own = backward(halves[direction], dstates.pop(), tapes[direction],
                           self._weights(layer, suffix))
            gradients |= {name + suffix: each for name, each in own.weights.items()}
            dinitial.insert(0, own.state)
            flow.insert(0, own.flow)
            dx.append(own.x)
        return None if dx[0] is None else sum(dx)

    def _initial_states_backward(self, dinitial, was_given):
        """Return the gradients of learned initial states by name; 0 where states were given."""
        gradients, suffixes = {}, [each for layer in self._recurrent for each in layer.suffixes]
        for suffix, dstate in zip(suffixes, dinitial, strict=True):
            for name, each in zip(("h_0", "c_0"), dstate, strict=False):
                if name + suffix in self.parameters:
                    total = wide(each).sum(axis=0)
                    gradients[name + suffix] = np.zeros_like(total) if was_given else total
        return gradients


def dropped(x, mask, share):
    """Zero what the mask leaves out, and scale up the rest: the same forward and back."""
    return x if mask is None else x * mask * (1 / (1 - share))


def losses_of(y, objective):
    """Return the losses of outputs and their gradient."""
    loss = LOSSES[objective.loss.name]
    return loss(
        y, objective.targets, objective.weights, objective.scale, **objective.loss.options)


def last_outputs(outputs, lengths, directions):
    """Return what a layer puts out last (B, D * H): zeros where there is no step at all.

    In two directions that is each direction's own last state, side by side: of the first one at
    the sequence's last step, of the second one, which goes the other way, at its first.
    """
    steps, batch, width = outputs.shape
    if steps == 0:
        return np.zeros((batch, width), outputs.dtype)
    H = width // directions
    ahead = outputs[last_steps(steps, batch, lengths), np.arange(batch), :H]
    second = outputs[0, :, H:]  # nothing of a second one that is not there
    return np.concatenate([ahead, second], axis=1)


def last_outputs_backward(dh, shape, lengths, directions):
    """Return zeros (T, B, D * H), but for the rows dh (B, D * H) where `last_outputs` reads."""
    steps, batch, width = shape
    whole = np.zeros(shape, dh.dtype)
    if steps:
        H = width // directions
        whole[last_steps(steps, batch, lengths), np.arange(batch), :H] = dh[:, :H]
        whole[0, :, H:] = dh[:, H:]
    return whole


def last_steps(steps, batch, lengths):
    """Return each sequence's last valid step; 0 for one that has none."""
    if lengths is None:
        return np.full(batch, steps - 1)
    return np.maximum(lengths - 1, 0)

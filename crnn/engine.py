"""What a network computes, on checked input: passes over whole sequences, block by block.

Nothing of the size of T x B is held except what a caller asks for: the tape of hidden states for
training, the outputs for inference. Everything else lives for one block of time steps.
"""

import numpy as np

from crnn import checks
from crnn._memory import aligned_empty, aligned_transpose, aligned_zeros

# Infinity and NaN are results that the caller sees; the compiled code does not warn of them either.
SILENT = np.errstate(over="ignore", invalid="ignore")
BLOCK_ROWS = 256  # rows (time steps x sequences) that a block has


class Engine:
    """The passes of a network of one recurrent layer and an optional readout.

    Parameters
    ----------
    kernels : namespace
        A backend's functions for one dtype.
    parameters : Parameters
    nonlinearity : {"tanh", "relu"}
    """

    def __init__(self, kernels, parameters, nonlinearity):
        self.kernels = kernels
        self.nonlinearity = nonlinearity
        self.W_xh, self.W_hh, self.b_h = (parameters[f"{n}_l0"] for n in ("W_xh", "W_hh", "b_h"))
        self.W_hy, self.b_y = parameters.get("W_hy"), parameters.get("b_y")
        self.dtype = self.W_hh.dtype

    @property
    def output_size(self):
        return self.W_hh.shape[0] if self.W_hy is None else self.W_hy.shape[1]

    def stepper(self, prepare):
        """Return the backend's Stepper over these parameters."""
        return self.kernels.Stepper(
            self.W_xh, self.W_hh, self.b_h, self.W_hy, self.b_y, self.nonlinearity, prepare
        )

    # --- forward -----------------------------------------------------------------------------

    def hidden_states(self, sequence, start, stop, h0):
        """Return the hidden states (stop - start, B, H) of some steps, from the state before."""
        x = sequence.x[start:stop]
        h = aligned_empty((*x.shape[:2], len(self.W_hh)), self.dtype)
        if sequence.is_tokens:
            self.kernels.lookup(_rows(h), x.reshape(-1), self.W_xh, self.b_h)
        else:
            self.kernels.linear(_rows(h), _rows(x), self.W_xh, self.b_h)
        lengths = _remaining(sequence.lengths, start)
        self.kernels.rnn_forward(h, h0, self.W_hh, self.nonlinearity, lengths)
        return h

    def readout(self, h, y=None):
        """Return the outputs of hidden states; y, of its own memory, may be given to be filled."""
        if y is None:
            y = aligned_empty((*h.shape[:2], self.output_size), self.dtype)
        if self.W_hy is None:
            y[...] = h
        else:
            self.kernels.linear(_rows(y), _rows(h), self.W_hy, self.b_y)
        return y

    @SILENT
    def infer(self, sequence):
        """Return outputs and last state, keeping no tape."""
        if self.W_hy is None:
            y = self.hidden_states(sequence, 0, sequence.steps, sequence.h0)
            state = _last(y, sequence.h0)
        else:
            y = aligned_empty((*sequence.x.shape[:2], self.output_size), self.dtype)
            state = sequence.h0
            for start, stop, h in self._hidden_blocks(sequence):
                self.readout(h, y[start:stop])
                state = h[-1]
        state = np.array(state)  # before padding is silenced: it holds the last states
        return _silence_finished(y, sequence.lengths), state

    def _hidden_blocks(self, sequence):
        h0 = sequence.h0
        for start, stop in _blocks(sequence):
            h = self.hidden_states(sequence, start, stop, h0)
            yield start, stop, h
            h0 = h[-1]

    @SILENT
    def loss(self, sequence, objective):
        """Return the loss and the last state, keeping no tape."""
        state, sums = sequence.h0, []
        for start, stop, h in self._hidden_blocks(sequence):
            if not objective.last_only:
                sums.append(objective.apply(self.readout(h), start, stop))
            state = h[-1]
        if objective.last_only:
            sums.append(objective.apply(self.readout(state[None]), 0, 1))
        return sum(sums) * objective.scale, np.array(state)

    @SILENT
    def forward(self, sequence):
        """Return outputs, last state and the tape (T, B, H) of hidden states."""
        tape = self.hidden_states(sequence, 0, sequence.steps, sequence.h0)
        y = _silence_finished(self.readout(tape), sequence.lengths)
        return y, np.array(_last(tape, sequence.h0)), tape

    # --- backward ----------------------------------------------------------------------------

    @SILENT
    def backward(self, gradients, sequence, tape, dy, dstate):
        """Fill the gradients from those of the outputs (T, B, O) and of the last state (B, H)."""
        if sequence.lengths is not None:
            valid = checks.valid_steps(sequence.lengths, sequence.steps)
            dy = np.where(valid[:, :, None], dy, self.dtype.type(0))

        W_hy_T = self._transposed_readout()

        def from_outputs(start, stop, h):
            return self._readout_backward(gradients, dy[start:stop], h, W_hy_T)

        self._backward_through_time(gradients, sequence, tape, from_outputs, dstate)

    @SILENT
    def loss_and_gradients(self, gradients, sequence, objective):
        """Fill the gradients; return the loss and the last state."""
        tape = self.hidden_states(sequence, 0, sequence.steps, sequence.h0)
        state = _last(tape, sequence.h0)
        sums = []
        W_hy_T = self._transposed_readout()

        def from_loss(start, stop, h):
            dy = self.readout(h)
            sums.append(objective.apply(dy, start, stop))
            return self._readout_backward(gradients, dy, h, W_hy_T)

        if objective.last_only:
            dstate = from_loss(0, 1, np.array(state)[None])[0]
            self._backward_through_time(gradients, sequence, tape, self._no_gradient, dstate)
        else:
            dstate = aligned_zeros(sequence.h0.shape, self.dtype)
            self._backward_through_time(gradients, sequence, tape, from_loss, dstate)
        # added up in the order of `loss`, so that the two agree to the bit
        return sum(reversed(sums)) * objective.scale, np.array(state)

    def _transposed_readout(self):
        return None if self.W_hy is None else aligned_transpose(self.W_hy)

    def _readout_backward(self, gradients, dy, h, W_hy_T):
        """Return dL/dh of hidden states from dL/dy, in memory of its own."""
        dh = aligned_empty(h.shape, self.dtype)
        if self.W_hy is None:
            dh[...] = dy
        else:
            d = gradients.parameters
            self.kernels.linear_backward(
                _rows(dh), d["W_hy"], d["b_y"], _rows(dy), _rows(h), W_hy_T
            )
        return dh

    def _no_gradient(self, start, stop, h):
        return aligned_zeros(h.shape, self.dtype)

    def _backward_through_time(self, gradients, sequence, tape, hidden_gradient, dstate):
        """Walk the blocks from the last to the first; dstate is overwritten."""
        d = gradients.parameters
        W_hh_T = aligned_transpose(self.W_hh)
        W_xh_T = None if sequence.is_tokens else aligned_transpose(self.W_xh)
        dx = None if sequence.is_tokens else aligned_empty(sequence.x.shape, self.dtype)
        for start, stop in reversed(_blocks(sequence)):
            x, h = sequence.x[start:stop], tape[start:stop]
            h0 = tape[start - 1] if start else sequence.h0
            dh = hidden_gradient(start, stop, h)
            lengths = _remaining(sequence.lengths, start)
            self.kernels.rnn_backward(
                dh, dstate, d["W_hh_l0"], h, h0, W_hh_T, self.nonlinearity, lengths
            )
            if sequence.is_tokens:
                self.kernels.lookup_backward(
                    d["W_xh_l0"], d["b_h_l0"], _rows(dh), x.reshape(-1)
                )
            else:
                self.kernels.linear_backward(
                    _rows(dx[start:stop]), d["W_xh_l0"], d["b_h_l0"], _rows(dh), _rows(x), W_xh_T
                )
        gradients.x = sequence.unbatch(dx, 1)
        gradients.state = sequence.unbatch(dstate[None], 1)


def _blocks(sequence):
    size = max(1, BLOCK_ROWS // max(sequence.batch_size, 1))
    starts = range(0, sequence.steps, size)
    return [(start, min(start + size, sequence.steps)) for start in starts]


def _rows(array):
    return array.reshape(array.shape[0] * array.shape[1], array.shape[2])


def _last(h, h0):
    return h[-1] if len(h) else h0


def _remaining(lengths, start):
    return None if lengths is None else lengths - start


def _silence_finished(y, lengths):
    if lengths is not None:
        y[~checks.valid_steps(lengths, len(y))] = 0
    return y

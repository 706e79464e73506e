"""Recurrent networks in NumPy, written to be read: the twin of every compiled function.

Each function here has a compiled twin (``crnn/kernels/``) with the same name, arguments and
results. The compiled functions are tested against these, and these against things that are not
crnn: networks worked by hand, complex-step derivatives, PyTorch. The whole class runs on this
module with ``crnn.RNN(..., backend="reference")``.

A network with one recurrent layer and a readout computes, for t = 0, 1, ... T-1::

    a_t = x_t @ W_xh + b_h + h_{t-1} @ W_hh
    h_t = tanh(a_t)                                 (or ReLU)
    y_t = h_t @ W_hy + b_y
    L   = sum over t of loss(y_t, target_t)

Written with one time step to a row, the input's share of every a_t is a single product that needs
no state (`linear`), and so is the readout. What is left for the loop over time is `rnn_step`.

Backpropagation through time (Werbos 1990) is the chain rule along the same arrows, last step first.
Write d? for dL/d?. The loss reaches h_t directly, through y_t, and by way of h_{t+1}::

    dh_t = dy_t @ W_hy.T + da_{t+1} @ W_hh.T
    da_t = dh_t * f'(a_t)                           f' = 1 - h_t**2 for tanh, (h_t > 0) for ReLU
    dW_hy = sum of h_t.T @ dy_t                     db_y = sum of dy_t
    dW_hh = sum of h_{t-1}.T @ da_t                 db_h = sum of da_t
    dW_xh = sum of x_t.T @ da_t                     dx_t = da_t @ W_xh.T

Shapes: T time steps, B sequences in a batch, I inputs, H hidden units, O outputs; R rows, where
(T, B) is taken together. Arrays named first are written to; gradients of parameters are added to.
All functions take complex arrays too: the imaginary part of L(p + ih) / h is then dL/dp to machine
precision (Squire & Trapp 1998), which is how the gradients are checked.

References
----------
Elman, J. L. (1990). Finding structure in time. Cognitive Science 14.
Werbos, P. J. (1990). Backpropagation through time: what it does and how to do it. Proc. IEEE 78.
Squire, W. & Trapp, G. (1998). Using complex variables to estimate derivatives of real functions.
SIAM Review 40.
"""

import numpy as np

__all__ = [
    "Stepper",
    "activation",
    "linear",
    "linear_backward",
    "lookup",
    "lookup_backward",
    "mse_loss",
    "rnn_backward",
    "rnn_forward",
    "rnn_step",
    "sigmoid_loss",
    "softmax_loss",
]


# --- the activation ------------------------------------------------------------------------------


def activation(a, nonlinearity):
    """Replace ``a`` by tanh(a), or by max(a, 0) for ``"relu"``.

    Parameters
    ----------
    a : ndarray
        Pre-activations; overwritten. The compiled twin takes one axis.
    nonlinearity : {"tanh", "relu"}

    Examples
    --------
    >>> a = np.array([-1.0, 0.0, 1.0])
    >>> activation(a, "relu")
    >>> a
    array([0., 0., 1.])
    """
    if nonlinearity == "relu":
        a[a.real < 0] = 0  # NaN is not below zero: it stays
    else:
        np.tanh(a, out=a)


def slope(h, nonlinearity):
    """Return f'(a) in terms of h = f(a)."""
    return (h.real > 0).astype(h.dtype) if nonlinearity == "relu" else 1 - h * h


# --- input projection and readout ----------------------------------------------------------------


def linear(y, x, W, b):
    """Set y = x @ W + b: the input projection (x, W_xh, b_h) or the readout (h, W_hy, b_y).

    Parameters
    ----------
    y : ndarray (R, outputs)
        Overwritten.
    x : ndarray (R, inputs)
    W : ndarray (inputs, outputs)
    b : ndarray (outputs,)
    """
    y[...] = x @ W + b


def linear_backward(dx, dW, db, dy, x, W_T):
    """Backpropagate through `linear`.

    Parameters
    ----------
    dx : ndarray (R, inputs)
        Set to dy @ W.T.
    dW, db : ndarray (inputs, outputs) and (outputs,)
        x.T @ dy and the sum of dy over rows are added to them.
    dy : ndarray (R, outputs)
    x : ndarray (R, inputs)
    W_T : ndarray (outputs, inputs)
        W transposed, so that the compiled loop runs along memory.
    """
    dx[...] = dy @ W_T
    dW += x.T @ dy
    db += dy.sum(axis=0)


def lookup(y, tokens, W, b):
    """Set y = one_hot(tokens) @ W + b, which is a row of W for each token.

    Parameters
    ----------
    y : ndarray (R, outputs)
        Overwritten.
    tokens : ndarray of intp (R,)
        Each in [0, inputs).
    W : ndarray (inputs, outputs)
    b : ndarray (outputs,)
    """
    y[...] = W[tokens] + b


def lookup_backward(dW, db, dy, tokens):
    """Backpropagate through `lookup`: each row of dy belongs to one row of W.

    Parameters
    ----------
    dW, db : ndarray (inputs, outputs) and (outputs,)
        Added to.
    dy : ndarray (R, outputs)
    tokens : ndarray of intp (R,)
    """
    np.add.at(dW, tokens, dy)
    db += dy.sum(axis=0)


# --- the vanilla cell ----------------------------------------------------------------------------


def rnn_step(a, previous, W_hh, nonlinearity):
    """Return h_t = f(a_t + h_{t-1} @ W_hh).

    Parameters
    ----------
    a : ndarray (B, H)
        The input's share of the pre-activation, x_t @ W_xh + b_h.
    previous : ndarray (B, H)
        h_{t-1}.
    W_hh : ndarray (H, H)
    nonlinearity : {"tanh", "relu"}

    Returns
    -------
    ndarray (B, H)
    """
    h = a + previous @ W_hh
    activation(h, nonlinearity)
    return h


def rnn_forward(h, h0, W_hh, nonlinearity, lengths=None):
    """Run the cell over time, in place.

    Parameters
    ----------
    h : ndarray (T, B, H)
        On entry x_t @ W_xh + b_h for every t, on return h_t.
    h0 : ndarray (B, H)
        The state before the first step.
    W_hh : ndarray (H, H)
    nonlinearity : {"tanh", "relu"}
    lengths : ndarray of intp (B,), optional
        Sequence b is over at t = lengths[b]; from there on it keeps its state.
    """
    previous = h0
    for t in range(len(h)):
        h[t] = rnn_step(h[t], previous, W_hh, nonlinearity)
        if lengths is not None:
            over = lengths <= t
            h[t, over] = previous[over]
        previous = h[t]


def rnn_backward(dh, dstate, dW_hh, h, h0, W_hh_T, nonlinearity, lengths=None):
    """Backpropagate through `rnn_forward`, in place.

    Parameters
    ----------
    dh : ndarray (T, B, H)
        On entry the gradient that reaches each h_t from above (0 where a sequence is over), on
        return da_t, the gradient of each pre-activation.
    dstate : ndarray (B, H)
        On entry the gradient of the last state, on return that of h0.
    dW_hh : ndarray (H, H)
        The sum of h_{t-1}.T @ da_t is added to it.
    h, h0 : ndarray (T, B, H) and (B, H)
        As `rnn_forward` left them.
    W_hh_T : ndarray (H, H)
        W_hh transposed.
    nonlinearity, lengths
        As for `rnn_forward`.
    """
    for t in reversed(range(len(h))):
        previous = h[t - 1] if t > 0 else h0
        da = (dh[t] + dstate) * slope(h[t], nonlinearity)
        dprevious = da @ W_hh_T
        if lengths is not None:
            over = lengths <= t
            da[over] = 0
            dprevious[over] = dstate[over]
        dW_hh += previous.T @ da
        dstate[...] = dprevious
        dh[t] = da


# --- losses --------------------------------------------------------------------------------------
# Each returns the sum of the losses of the valid rows and overwrites y with scale * dL/dy: the
# outputs and their gradients are never needed at the same time.


def softmax_loss(y, targets, scale):
    """Negative log-likelihood of one class a row: -log softmax(y)[target].

    Parameters
    ----------
    y : ndarray (R, O)
        Logits; overwritten with scale * (softmax(y) - one_hot(target)).
    targets : ndarray of intp (R,)
        -1 means no target here: no loss and no gradient.
    scale : float

    Returns
    -------
    float or complex
    """
    valid = targets >= 0
    rows, chosen = y[valid], targets[valid]
    each = np.arange(len(rows))
    rows = rows - _largest(rows)
    exponentials = np.exp(rows)
    total = exponentials.sum(axis=1)
    loss = (np.log(total) - rows[each, chosen]).sum(dtype=_wide(y))
    gradient = scale * exponentials / total[:, None]
    gradient[each, chosen] -= scale
    y[...] = 0
    y[valid] = gradient
    return loss.item()


def sigmoid_loss(y, targets, valid, scale):
    """Binary cross-entropy of each output on its own: log(1 + exp(y)) - y * target.

    Parameters
    ----------
    y : ndarray (R, O)
        Logits; overwritten with scale * (sigmoid(y) - target).
    targets : ndarray (R, O)
        Between 0 and 1.
    valid : ndarray of bool (R,)
        Rows that count.
    scale : float

    Returns
    -------
    float or complex
    """
    z = y[valid].astype(_wide(y))
    positive = z.real > 0
    small = np.exp(np.where(positive, -z, z))  # exp(-|z|) cannot overflow
    loss = (np.where(positive, z, 0) - z * targets[valid] + np.log1p(small)).sum()
    sigmoid = np.where(positive, 1, small) / (1 + small)
    gradient = scale * (sigmoid - targets[valid])
    y[...] = 0
    y[valid] = gradient
    return loss.item()


def mse_loss(y, targets, valid, scale):
    """Squared error: (y - target)**2.

    Parameters
    ----------
    y : ndarray (R, O)
        Overwritten with scale * 2 * (y - target).
    targets : ndarray (R, O)
    valid : ndarray of bool (R,)
        Rows that count.
    scale : float

    Returns
    -------
    float or complex
    """
    error = y[valid].astype(_wide(y)) - targets[valid]
    y[...] = 0
    y[valid] = scale * 2 * error
    return (error * error).sum().item()


def _largest(rows):
    # a constant of each row: any value near the largest does, so its own derivative may be dropped
    return rows.real.max(axis=1, keepdims=True) if rows.size else 0


def _wide(y):
    return np.result_type(y.dtype, np.float64)


# --- one step of a whole network -----------------------------------------------------------------


class Stepper:
    """One time step at a time on a state of its own: what `crnn.Stream` runs.

    Parameters
    ----------
    W_xh, W_hh, b_h : ndarray (I, H), (H, H) and (H,)
        The layer. They are kept, not copied: a stream follows its network's parameters.
    W_hy, b_y : ndarray (H, O) and (O,), or None
        The readout, if there is one.
    nonlinearity : {"tanh", "relu"}
    prepare : callable
        ``x, out = prepare(stepper, x, out)`` checks the arguments of `step` and converts x to an
        array of the weights' dtype or of tokens.

    Attributes
    ----------
    state : ndarray (B, H)
        A copy; assignment copies in.
    batch_size : int
    batched : bool
        Whether x and y have an axis for the batch.
    """

    def __init__(self, W_xh, W_hh, b_h, W_hy, b_y, nonlinearity, prepare):
        self._W_xh, self._W_hh, self._b_h = W_xh, W_hh, b_h
        self._W_hy, self._b_y = W_hy, b_y
        self._nonlinearity = nonlinearity
        self._prepare = prepare
        self.reset(None)

    def reset(self, batch_size):
        """Zero the state; one sequence for None, else ``batch_size`` of them."""
        rows = 1 if batch_size is None else batch_size
        self._h = np.zeros((rows, len(self._W_hh)), self._W_hh.dtype)
        self.batched, self.batch_size = batch_size is not None, rows

    @property
    def state(self):
        return self._h.copy()

    @state.setter
    def state(self, value):
        self._h[...] = value

    @np.errstate(over="ignore", invalid="ignore")
    def step(self, x, out=None):
        """Return y of one time step and move the state on.

        Parameters
        ----------
        x : ndarray (B, I) or (I,), or tokens (B,) or ()
        out : ndarray (B, O) or (O,), optional
            Where to put y.

        Returns
        -------
        ndarray (B, O) or (O,)
        """
        x, out = self._prepare(self, x, out)
        if np.issubdtype(x.dtype, np.integer):
            a = self._W_xh[x.reshape(self.batch_size)] + self._b_h
        else:
            a = x.reshape(self.batch_size, len(self._W_xh)) @ self._W_xh + self._b_h
        self._h = rnn_step(a, self._h, self._W_hh, self._nonlinearity)
        y = self._h if self._W_hy is None else self._h @ self._W_hy + self._b_y
        if out is None:
            out = np.empty(y.shape if self.batched else y.shape[1:], y.dtype)
        out[...] = y if self.batched else y[0]
        return out

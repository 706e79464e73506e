"""The vanilla cell (Elman 1990): h_t = f(x_t @ W_xh + b_h + h_{t-1} @ W_hh), f tanh or ReLU."""

from crnn.reference.formulas import activation, product, slope


def step(a, before, kept_before, weights):
    """Return h_t, and None for all else that a cell might keep.

    Parameters
    ----------
    a : ndarray (B, H)
        The input's share of the pre-activation, x_t @ W_xh + b_h.
    before : ndarray (B, H)
        h_{t-1}.
    kept_before : None
    weights : LayerWeights

    Returns
    -------
    h : ndarray (B, H)
    kept, gates : None
    """
    h = a + product(before, weights.packed("W_hh"), a.shape[1])
    activation(h, weights.kind.nonlinearity)
    return h, None, None


def step_backward(dh, dc, tape, weights):
    """Go back through `step`.

    Parameters
    ----------
    dh : ndarray (B, H)
        All that reaches h_t.
    dc : None
    tape : Tape
    weights : LayerWeights

    Returns
    -------
    da : ndarray (B, H)
        The gradient of the pre-activation, dh * f'(a).
    dkept : None
    dbefore : ndarray (B, H)
        That of h_{t-1}, da @ W_hh.T.
    dc_before : None
    """
    da = dh * slope(tape.h, weights.kind.nonlinearity)
    return da, None, product(da, weights.packed("W_hh", transposed=True), da.shape[1]), None

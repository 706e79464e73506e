"""Keras's arrays of a layer, in Keras's orders, and crnn's parameters.

A layer with a state has for each direction a kernel (I, G * H), a recurrent kernel (H, G * H) and,
with ``use_bias``, a bias (G * H,): gates in the order i, f, c, o of an LSTM, which is crnn's, and
z, r, h of a GRU, where crnn has r, z, n. A GRU with ``reset_after`` has a bias (2, 3 * H), the
second row of which is added to the state's product. Directions come one after the other.
"""

import numpy as np

from crnn.layers import GRU, Activation, Dense, Dropout, Embedding, Masking


def array_shapes(layer, inputs, has_bias=True):
    """Return the shapes of Keras's arrays of a layer, in their order.

    Parameters
    ----------
    layer : object
        Of `crnn.layers`.
    inputs : int
        The features that it reads.
    has_bias : bool

    Examples
    --------
    >>> from crnn import layers
    >>> array_shapes(layers.GRU(5), 3)
    [(3, 15), (5, 15), (2, 15)]
    """
    if isinstance(layer, (Activation, Dropout, Masking)):
        return []
    if isinstance(layer, Embedding):
        return [(inputs, layer.size)]
    width = layer.kind.gates * layer.size
    bias = [(2, width) if layer.kind.reset_after else (width,)] * has_bias
    if isinstance(layer, Dense):
        return [(inputs, width), *bias]
    return [(inputs, width), (layer.size, width), *bias] * (1 + layer.bidirectional)


def parameters_of(layer, arrays, has_bias=True):
    """Return the parameters of a layer, by their names without its number, from Keras's arrays.

    They are of the shapes that `array_shapes` says. Where there is no bias it is zero.
    """
    if isinstance(layer, (Activation, Dropout, Masking)):
        return {}
    if isinstance(layer, Embedding):
        return {"W_xh": arrays[0]}
    if isinstance(layer, Dense):
        kernel, bias = arrays if has_bias else (arrays[0], None)
        return {"W_xh": kernel, "b_h": _or_zeros(bias, kernel)}
    found, each = {}, len(arrays) // (1 + layer.bidirectional)
    for number, suffix in enumerate(("", "_reverse")[: 1 + layer.bidirectional]):
        of_direction = _direction(layer, *arrays[number * each : (number + 1) * each])
        found |= {name + suffix: array for name, array in of_direction.items()}
    return found


def _direction(layer, kernel, recurrent, bias=None):
    """The parameters of a layer with a state in one direction."""
    if not isinstance(layer, GRU):
        return {"W_xh": kernel, "W_hh": recurrent, "b_h": _or_zeros(bias, kernel)}
    if layer.reset_after:
        both = np.zeros((2, kernel.shape[1]), kernel.dtype) if bias is None else bias
        bias, gates = both[0].copy(), 2 * layer.size
        bias[:gates] += both[1, :gates]
    found = {"W_xh": swapped(kernel), "W_hh": swapped(recurrent),
             "b_h": swapped(_or_zeros(bias, kernel))}
    return found | ({"b_hn": both[1, gates:]} if layer.reset_after else {})


def _or_zeros(bias, kernel):
    return np.zeros(kernel.shape[1], kernel.dtype) if bias is None else bias


def arrays_of(layer, parameters):
    """Return Keras's arrays of a layer from its parameters, as `parameters_of` names them.

    Of the two biases of a GRU with ``reset_after`` the second has the candidate's part alone: that
    of r and z, which Keras adds up, is all in the first.
    """
    if isinstance(layer, (Activation, Dropout, Masking)):
        return []
    if isinstance(layer, Embedding):
        return [parameters["W_xh"]]
    if isinstance(layer, Dense):
        return [parameters["W_xh"], parameters["b_h"]]
    found = []
    for suffix in ("", "_reverse")[: 1 + layer.bidirectional]:
        arrays = [parameters[name + suffix] for name in ("W_xh", "W_hh", "b_h")]
        if isinstance(layer, GRU):
            arrays = [swapped(each) for each in arrays]
            if layer.reset_after:
                second = np.zeros_like(arrays[2])
                second[2 * layer.size :] = parameters["b_hn" + suffix]
                arrays[2] = np.stack([arrays[2], second])
        found += arrays
    return found


def swapped(gates):
    """Return a GRU's arrays with the first two of three gates exchanged: z, r, h and r, z, n."""
    first, second, candidate = np.split(gates, 3, axis=-1)
    return np.concatenate([second, first, candidate], axis=-1)


def cudnn_shapes(layer, inputs):
    """Return the shapes of the arrays of a ``CuDNNGRU`` or ``CuDNNLSTM`` of Keras 2, in order."""
    width = layer.kind.gates * layer.size
    return [(inputs, width), (layer.size, width), (2 * width,)] * (1 + layer.bidirectional)


def without_cudnn(layer, arrays):
    """Return the arrays of a ``CuDNNGRU`` or ``CuDNNLSTM`` of Keras 2 as its GRU or LSTM has them.

    The numbers of each gate's kernel are in the order of its transpose, (H, I), and there are two
    biases, one after the other (Keras 2, ``saving.preprocess_weights_for_loading``).
    """
    found = []
    for start in range(0, len(arrays), 3):
        kernel, recurrent, bias = arrays[start : start + 3]
        for each in (kernel, recurrent):
            gates = np.split(each, layer.kind.gates, axis=1)
            found.append(np.hstack([gate.reshape(layer.size, -1).T for gate in gates]))
        both = bias.reshape(2, -1)
        found.append(both if isinstance(layer, GRU) else both[0] + both[1])
    return found

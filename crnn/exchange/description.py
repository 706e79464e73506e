"""What a network from elsewhere is, in crnn's words, before it is one."""

from dataclasses import dataclass, field

from crnn.layers import Dense, Dropout, Masking


@dataclass
class Description:
    """A network as a list of layers, with its parameters.

    Attributes
    ----------
    input_size : int
    layers : list
        Of `crnn.layers`, from the input up.
    parameters : dict of str to ndarray
        By the names of `crnn.Sequential`: W_xh_l0 and so on; with h_0_l0 and c_0_l0 where initial
        states are learned.
    skip, last, learn_state, batch_first : bool
        As for `crnn.Sequential`.
    left_out : list of str
        What of the file is not in the network, in words, because it computes nothing in inference
        or because the caller chose parts.
    metadata : dict of str to str
        For ``net.metadata``; texts that are safe to show.
    """

    input_size: int
    layers: list
    parameters: dict
    skip: bool = False
    last: bool = False
    learn_state: bool = False
    batch_first: bool = False
    left_out: list = field(default_factory=list)
    metadata: dict = field(default_factory=dict)


def named(layers, arrays):
    """Return the parameters of layers by the names that `crnn.Sequential` has for them.

    Parameters
    ----------
    layers : list
        Of `crnn.layers`, from the input up.
    arrays : list of dict of str to ndarray
        Of each layer, by their names without the layer's number: W_xh, W_xh_reverse and so on. A
        dense layer has W_xh and b_h, the last one too.

    Examples
    --------
    >>> from crnn import layers
    >>> of_gru = {"W_xh": 0, "W_hh": 0, "b_h": 0, "b_hn": 0}
    >>> list(named([layers.GRU(5), layers.Dense(2)], [of_gru, {"W_xh": 0, "b_h": 0}]))
    ['W_xh_l0', 'W_hh_l0', 'b_h_l0', 'b_hn_l0', 'W_hy', 'b_y']
    """
    found, number = {}, 0
    for place, (layer, of_layer) in enumerate(zip(layers, arrays, strict=True)):
        if isinstance(layer, Dense) and place == len(layers) - 1:
            found |= {"W_hy": of_layer["W_xh"], "b_y": of_layer["b_h"]}
        for name, array in of_layer.items() if "W_hy" not in found else ():
            stem, reverse, _ = name.partition("_reverse")
            found[f"{stem}_l{number}{reverse}"] = array
        number += not isinstance(layer, (Dropout, Masking))
    return found


def by_layer(layers, parameters):
    """Return the parameters of each layer, by their names without its number: undo `named`.

    Examples
    --------
    >>> from crnn import layers
    >>> by_layer([layers.Embedding(4), layers.RNN(5), layers.Dense(2)],
    ...          {"W_xh_l0": 0, "W_xh_l1": 1, "W_hh_l1": 2, "b_h_l1": 3, "W_hy": 4, "b_y": 5})
    [{'W_xh': 0}, {'W_xh': 1, 'W_hh': 2, 'b_h': 3}, {'W_xh': 4, 'b_h': 5}]
    """
    found, number = [], 0
    for layer in layers:
        ends = {f"_l{number}": "", f"_l{number}_reverse": "_reverse"}
        is_numbered = not isinstance(layer, (Dropout, Masking))
        found.append({
            name.removesuffix(end) + kept: array for name, array in parameters.items()
            for end, kept in ends.items() if is_numbered and name.endswith(end)
        })
        number += is_numbered
    if "W_hy" in parameters:
        found[-1] = {"W_xh": parameters["W_hy"], "b_h": parameters["b_y"]}
    return found

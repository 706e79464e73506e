"""Which symbol comes next in a text that a network writes."""

import numpy as np


def choose(logits, uniform, temperature=1.0, top_k=None, top_p=None):
    """Return the number of the symbol that a random number stands for.

    Symbols are in order: the likeliest first, and equally likely ones by their numbers. A random
    number u stands for the first one up to which probabilities, softmax(logits / temperature) of
    those that may be chosen, sum up to more than u.

    Parameters
    ----------
    logits : ndarray (V,)
    uniform : float
        From 0 up to but below 1.
    temperature : float
        0 always takes the likeliest.
    top_k : int, optional
        Choose among the k likeliest only.
    top_p : float, optional
        Choose among the likeliest that together have this probability (Holtzman et al. 2020).

    Examples
    --------
    >>> logits = np.log([0.2, 0.5, 0.3])
    >>> [choose(logits, u) for u in (0, 0.49, 0.51, 0.79, 0.81)]
    [1, 1, 2, 2, 0]
    >>> [choose(logits, u, top_k=2) for u in (0.6, 0.64, 0.99)]
    [1, 2, 2]
    """
    if temperature == 0:
        return int(logits.argmax())
    order = np.argsort(-logits, kind="stable")[:top_k]
    with np.errstate(over="ignore"):  # far below the largest is -inf: probability 0
        weights = np.exp((logits[order].astype(np.float64) - logits[order[0]]) / temperature)
    if top_p is not None:
        before = np.cumsum(weights) - weights
        weights = weights[before < top_p * weights.sum()]
    cumulative = np.cumsum(weights)
    return int(order[np.searchsorted(cumulative / cumulative[-1], uniform, side="right")])

"""The losses by name, and those that are made with numbers of their own."""

import itertools
from numbers import Real

import numpy as np

from crnn.base import checks


class Loss:
    """What outputs are compared with their targets by.

    Parameters
    ----------
    name : str
    blocks : int
        How many outputs say something of each target; they lie in so many blocks, side by side.
    terms : int
        How many terms of the mean each target gives.
    options
        Numbers, or tuples of numbers, by the names that `crnn.reference` has for them.

    Attributes
    ----------
    name, blocks, terms, options
        As given.
    numbers : ndarray of float64, or None
        All numbers of the options, as the compiled code takes them.
    """

    def __init__(self, name, blocks=1, terms=1, **options):
        self.name, self.blocks, self.terms, self.options = name, blocks, terms, options
        self.numbers = None
        if options:
            self.numbers = np.concatenate([*map(np.atleast_1d, options.values())]).astype(float)
            self.numbers.flags.writeable = False

    def __eq__(self, other):
        if not isinstance(other, Loss):
            return NotImplemented
        return (self.name, self.options) == (other.name, other.options)

    def __hash__(self):
        return hash((self.name, *self.options.values()))

    def __repr__(self):
        return repr(self.name)


class Huber(Loss):
    """The loss "huber" with another delta: squared error near the target, absolute error far off.

    With e = y - target, a term is e**2 / 2 where abs(e) <= delta, and delta * (abs(e) - delta / 2)
    elsewhere (Huber 1964): PyTorch's HuberLoss.

    Parameters
    ----------
    delta : float
        Above 0.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> net = crnn.RNN(3, 5, 2, seed=0)
    >>> loss, _ = net.loss(np.ones((7, 4, 3)), np.zeros((7, 4, 2)), loss=crnn.Huber(0.5))

    References
    ----------
    Huber, P. J. (1964). Robust estimation of a location parameter. Ann. Math. Statist. 35.
    """

    def __init__(self, delta=1.0):
        super().__init__("huber", delta=checks.positive_number(delta, "delta"))

    @property
    def delta(self):
        """Where squared error becomes absolute error."""
        return self.options["delta"]

    def __repr__(self):
        return f"Huber({self.delta})"


class Quantile(Loss):
    """The loss "quantile" with other levels: several quantiles of each target at once.

    The outputs are a block for each level, side by side: ``np.split(y, len(levels), axis=-1)``, so
    that ``output_size`` is the number of levels times that of the targets. With e = target - y, a
    term is level * e where e > 0, and (level - 1) * e elsewhere (Koenker & Bassett 1978); the mean
    is over targets and levels, as scikit-learn's ``mean_pinball_loss``.

    Parameters
    ----------
    *levels : float
        Between 0 and 1, the lowest one first. Default: 0.1, 0.5, 0.9.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> net = crnn.RNN(3, 5, 2 * 2, seed=0)
    >>> x, targets = np.ones((7, 4, 3)), np.zeros((7, 4, 2))
    >>> loss, _ = net.loss(x, targets, loss=crnn.Quantile(0.05, 0.95))
    >>> low, high = np.split(net(x)[0], 2, axis=-1)
    >>> low.shape
    (7, 4, 2)

    References
    ----------
    Koenker, R. & Bassett, G. (1978). Regression quantiles. Econometrica 46.
    """

    def __init__(self, *levels):
        levels = tuple(
            checks.option("a level", each, Real, "a number between 0 and 1",
                          lambda level: 0 < level < 1)
            for each in levels or (0.1, 0.5, 0.9)
        )
        if any(low >= high for low, high in itertools.pairwise(levels)):
            raise ValueError(f"levels are {levels}; each must be above the one before")
        super().__init__("quantile", blocks=len(levels), terms=len(levels), levels=levels)

    @property
    def levels(self):
        """The levels, the lowest one first."""
        return self.options["levels"]

    def __repr__(self):
        return f"Quantile({', '.join(map(str, self.levels))})"


LOSSES = {
    each.name: each
    for each in (Loss("softmax"), Loss("sigmoid"), Loss("mse"), Loss("mae"), Huber(), Quantile(),
                 Loss("gaussian", blocks=2))
}


def checked_loss(loss):
    """Return the `Loss` of a name, or a `Loss` itself, or raise."""
    if isinstance(loss, Loss):
        return loss
    if isinstance(loss, str):
        if loss in LOSSES:
            return LOSSES[loss]
        names = ", ".join(map(repr, LOSSES))
        raise ValueError(
            f"loss is {loss!r}; it can be {names}, crnn.Huber(...), crnn.Quantile(...)"
        )
    if callable(loss) and not isinstance(loss, type):
        raise TypeError(
            f"loss is {loss!r}; a function is a loss of crnn.fit and crnn.evaluate: here call"
            " forward, and backward with its gradient"
        )
    raise TypeError(
        f"loss is {loss!r}; a name, such as {next(iter(LOSSES))!r}, crnn.Huber(...) or"
        " crnn.Quantile(...) is wanted"
    )

"""Optimisers on one flat vector: hyperparameters and slots; the kernels have the loops.

Defaults, formulas and their order are PyTorch's, so that a trajectory from equal weights is equal
up to rounding. In the formulas w is the network's parameter vector, g the gradient's, t the number
of this step (from 1).
"""

import math
from collections.abc import Mapping
from numbers import Integral, Real

import numpy as np

from crnn._dispatch import kernels
from crnn.checks import option

_ABOVE_0 = Real, "a finite number above 0", lambda v: 0 < v < math.inf
_FROM_0 = Real, "a finite number of at least 0", lambda v: 0 <= v < math.inf
_BELOW_1 = Real, "a number of at least 0 and below 1", lambda v: 0 <= v < 1
_FLAG = bool, "True or False"
_PAIR = (tuple, list), "a pair of numbers", lambda v: len(v) == 2
_WANTED = {"lr": _ABOVE_0, "momentum": _BELOW_1, "nesterov": _FLAG, "weight_decay": _FROM_0,
           "lr_decay": _FROM_0, "initial_accumulator_value": _FROM_0, "eps": _FROM_0,
           "alpha": _BELOW_1, "centered": _FLAG, "betas": _PAIR}


def _hyperparameter(name, value):
    value = option(name, value, *_WANTED[name])
    if name == "betas":
        return tuple(option(f"betas[{i}]", beta, *_BELOW_1) for i, beta in enumerate(value))
    return value


def _kind(array):
    return f"{array.dtype} of shape {array.shape}"


class Optimizer:
    """What all optimisers share: hyperparameters, slots, the step count. Not used by itself.

    Parameters
    ----------
    lr : float
        Learning rate, above 0. It may be set between steps; the others, attributes too, are fixed.
    momentum, alpha, betas : float, float, pair of float
        What running means keep from step to step, at least 0 and below 1.
    weight_decay, eps, lr_decay, initial_accumulator_value : float
        As in the formula, at least 0.
    nesterov, centered : bool
        Choose the formula.

    Raises
    ------
    TypeError, ValueError
        A hyperparameter is of the wrong kind, or out of its range.
    """

    _options = _slot_names = ()
    _slot_start = 0.0

    def __init__(self, **options):
        for name, value in options.items():
            setattr(self, name, _hyperparameter(name, value))
        self._options = tuple(options)
        self._steps = 0
        self._slots = {}

    def __setattr__(self, name, value):
        if self._options and not name.startswith("_") and name not in self._options:
            raise AttributeError(f"no setting {name!r}; there are {', '.join(self._options)}")
        if name in self._options:
            if name != "lr":
                raise AttributeError(f"{name} is fixed; make a new {type(self).__name__}")
            value = _hyperparameter(name, value)
        super().__setattr__(name, value)

    def __repr__(self):
        options = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._options)
        return f"{type(self).__name__}({options})"

    @property
    def steps(self) -> int:
        """Number of steps taken."""
        return self._steps

    def step(self, net, grads) -> None:
        """Update the parameters of `net` in place from `grads`, which stays as it is.

        A NaN or an overflow does not raise: as in PyTorch, it shows in the parameters.

        Raises
        ------
        TypeError, ValueError
            `net` or `grads` is something else, or the gradient's length or dtype is not the
            network's, or not that of the steps before. Nothing has changed then.
        """
        gradient = self._checked_gradient(net, grads)
        # all that can fail comes before anything changes
        functions = kernels(net.backend, gradient.dtype)
        slots = self._slots or {name: np.full_like(gradient, self._slot_start)
                                for name in self._slot_names}
        with net._changing_vector() as parameters:
            self._slots = slots
            self._update(functions, parameters, gradient, self._steps + 1)
            self._steps += 1

    def config(self) -> dict:
        """Name and hyperparameters (`lr` as it is now), ready for JSON."""
        options = {name: getattr(self, name) for name in self._options}
        if "betas" in options:
            options["betas"] = list(options["betas"])
        return {"name": type(self).__name__, **options}

    def state(self) -> dict[str, np.ndarray]:
        """Copies of the slots by name; a checkpoint needs these, `steps` and `config()`."""
        return {name: slot.copy() for name, slot in self._slots.items()}

    def restore(self, steps: int, arrays: Mapping[str, np.ndarray]) -> None:
        """Put back what `steps` and `state()` gave; training then goes on bit for bit.

        Raises
        ------
        TypeError, ValueError
            `steps` is no integer of at least 0, or the arrays' names, shapes or dtypes cannot be
            those of the slots. Nothing has changed then.
        """
        option("steps", steps, Integral, "an integer of at least 0", lambda v: v >= 0)
        option("arrays", arrays, Mapping, "a mapping of slot names to arrays")
        wanted = self._slot_names if steps else ()
        if set(arrays) != set(wanted):
            raise ValueError(f"the slots are {sorted(map(str, arrays))}; after {steps} steps "
                             f"{self!r} has {sorted(wanted)}")
        for name in wanted:
            array = option(f"slot {name}", arrays[name], np.ndarray, "an array")
            kind, kind_0 = _kind(array), _kind(arrays[wanted[0]])
            if array.ndim != 1 or array.dtype not in (np.float32, np.float64) or kind != kind_0:
                raise ValueError(f"slot {name} is {kind}; wanted a float32 or float64 vector "
                                 f"like slot {wanted[0]}, {kind_0}")
        self._slots = {name: np.array(arrays[name]) for name in wanted}
        self._steps = int(steps)

    def _checked_gradient(self, net, grads):
        parameters, gradient = getattr(net, "vector", None), getattr(grads, "vector", None)
        if not isinstance(parameters, np.ndarray) or not isinstance(gradient, np.ndarray):
            raise TypeError(f"step got a {type(net).__name__} and a {type(grads).__name__}; "
                            "wanted a network and what its backward gives")
        for name, array in {"network's vector": parameters, **self._slots}.items():
            if gradient.shape != array.shape or gradient.dtype != array.dtype:
                raise ValueError(f"the gradient is {_kind(gradient)}, the {name} {_kind(array)}; "
                                 "wanted gradients and an optimiser of this network's own")
        return gradient if gradient.flags.carray else np.require(gradient, None, ["C", "A"])

    def _update(self, functions, w, g, t):
        raise NotImplementedError("use SGD, Adagrad, RMSprop, Adam or AdamW")


class SGD(Optimizer):
    """Stochastic gradient descent; parameters as in `Optimizer`.

    With g = g + weight_decay*w, then m = momentum*m + g (at the first step m = g)::

        w -= lr * g                  # momentum=0
        w -= lr * m                  # momentum above 0
        w -= lr * (g + momentum*m)   # nesterov, which needs momentum above 0

    Sutskever et al. (2013), On the importance of initialization and momentum in deep learning,
    in PyTorch's form: lr multiplies the velocity as it is used, not as it is kept.
    """

    def __init__(self, lr, momentum=0.0, nesterov=False, weight_decay=0.0):
        super().__init__(lr=lr, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay)
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov is True and momentum is 0; wanted momentum above 0")
        self._slot_names = ("momentum",) if self.momentum else ()

    def _update(self, functions, w, g, t):
        # the velocity is zeros at first, so the first m is g
        functions.sgd_update(w, self._slots.get("momentum"), g, self.lr, self.momentum,
                             self.nesterov, self.weight_decay)


class Adagrad(Optimizer):
    """Adagrad: rates fall with the sum of squared gradients; parameters as in `Optimizer`.

    With g = g + weight_decay*w and s starting at initial_accumulator_value::

        s += g*g
        w -= lr / (1 + (t - 1)*lr_decay) * g / (sqrt(s) + eps)

    Duchi, Hazan, Singer (2011), Adaptive subgradient methods for online learning.
    """

    _slot_names = ("square_sum",)

    def __init__(self, lr=1e-2, lr_decay=0.0, weight_decay=0.0, initial_accumulator_value=0.0,
                 eps=1e-10):
        super().__init__(lr=lr, lr_decay=lr_decay, weight_decay=weight_decay,
                         initial_accumulator_value=initial_accumulator_value, eps=eps)
        self._slot_start = self.initial_accumulator_value

    def _update(self, functions, w, g, t):
        rate = self.lr / (1 + (t - 1) * self.lr_decay)
        functions.adagrad_update(w, self._slots["square_sum"], g, rate, self.eps,
                                 self.weight_decay)


class RMSprop(Optimizer):
    """RMSprop: divides by the root of the mean square gradient; parameters as in `Optimizer`.

    With g = g + weight_decay*w::

        v = alpha*v + (1 - alpha)*g*g
        a += (1 - alpha)*(g - a)         # centered
        u = g / (sqrt(v) + eps)          # centered: sqrt(v - a*a)
        w -= lr * u                      # momentum=0
        m = momentum*m + u; w -= lr * m  # momentum above 0

    Centered, where a gradient hardly changes for a thousand steps, v - a*a is rounding error:
    below 0 it makes the parameter NaN, as in PyTorch.

    Tieleman, Hinton (2012), Lecture 6.5: rmsprop; centered: Graves (2013), Generating sequences
    with recurrent neural networks (eps inside the root; PyTorch has it outside).
    """

    def __init__(self, lr=1e-2, alpha=0.99, eps=1e-8, weight_decay=0.0, momentum=0.0,
                 centered=False):
        super().__init__(lr=lr, alpha=alpha, eps=eps, weight_decay=weight_decay,
                         momentum=momentum, centered=centered)
        self._slot_names = ("square_average", *["gradient_average"] * self.centered,
                            *["momentum"] * (self.momentum > 0))

    def _update(self, functions, w, g, t):
        slots = self._slots
        functions.rmsprop_update(w, slots["square_average"], slots.get("gradient_average"),
                                 slots.get("momentum"), g, self.lr, self.alpha, self.eps,
                                 self.weight_decay, self.momentum)


class Adam(Optimizer):
    """Adam: mean gradient over the root of its mean square; parameters as in `Optimizer`.

    With g = g + weight_decay*w and betas = (b1, b2)::

        m = b1*m + (1 - b1)*g
        v = b2*v + (1 - b2)*g*g
        w -= lr * m/(1 - b1**t) / (sqrt(v/(1 - b2**t)) + eps)

    Kingma, Ba (2015), Adam: a method for stochastic optimization, Algorithm 1.

    Examples
    --------
    >>> import crnn, numpy as np
    >>> net, opt = crnn.RNN(3, 5, 2, seed=0), crnn.Adam(lr=0.01)
    >>> x, targets = np.ones((7, 4, 3)), np.zeros((7, 4), dtype=int)
    >>> before, grads, state = net.loss_and_gradients(x, targets)
    >>> opt.step(net, grads)
    >>> bool(net.loss(x, targets)[0] < before)
    True
    """

    _slot_names = ("gradient_average", "square_average")

    def __init__(self, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
        super().__init__(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)

    def _update(self, functions, w, g, t):
        slots, (b1, b2) = self._slots, self.betas
        functions.adam_update(w, slots["gradient_average"], slots["square_average"], g, self.lr,
                              b1, b2, 1 - b1**t, 1 - b2**t, self.eps, *self._decay())

    def _decay(self):
        """Return the decay that is part of the gradient, and the factor on w instead of it."""
        return self.weight_decay, 1.0


class AdamW(Adam):
    """Adam with decoupled decay: w *= 1 - lr*weight_decay, then Adam's step on g alone.

    Loshchilov, Hutter (2019), Decoupled weight decay regularization, Algorithm 2, in PyTorch's
    form: lr multiplies the decay.
    """

    def __init__(self, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2):
        super().__init__(lr, betas, eps, weight_decay)

    def _decay(self):
        return 0.0, 1 - self.lr * self.weight_decay

"""What all optimizers share: hyperparameters, slots, steps."""

import math
from collections.abc import Mapping
from numbers import Integral, Real

import numpy as np

from crnn.base.checks import option

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
    """Hyperparameters (attributes), slots with one number for each parameter, and a step count.

    Not used by itself.

    Parameters
    ----------
    **options
        The hyperparameters. Only ``lr`` may be set between steps.

    Raises
    ------
    TypeError, ValueError
        If a hyperparameter is of the wrong kind, or out of its range.
    """

    _options = _slot_names = ()
    _slot_start = 0.0

    def __init__(self, **options):
        for name, value in options.items():
            setattr(self, name, _hyperparameter(name, value))
        self._options = tuple(options)
        self._steps = np.zeros(1, np.int64)  # an array, so that an update can count itself
        self._slots = {}

    def __setattr__(self, name, value):
        if self._options and not name.startswith("_") and name not in self._options:
            raise AttributeError(f"no setting {name!r}; there are {', '.join(self._options)}")
        if name in self._options:
            if name != "lr":
                raise AttributeError(f"{name} is fixed; make a new {type(self).__name__}")
            value = _hyperparameter(name, value)
        super().__setattr__(name, value)

    def __setstate__(self, state):
        """Be what a pickle has. Its arrays can be read-only, as those that Dask hands over are."""
        self.__dict__.update(state)
        self._steps = self._steps.copy()
        self._slots = {name: slot.copy() for name, slot in self._slots.items()}

    def __repr__(self):
        options = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._options)
        return f"{type(self).__name__}({options})"

    @property
    def steps(self) -> int:
        """Number of steps taken."""
        return self._steps.item()

    def step(self, net, grads) -> None:
        """Update the parameters of `net` in place from `grads`, which stays as it is.

        A NaN or an overflow does not raise: as in PyTorch, it shows in the parameters.

        Raises
        ------
        TypeError, ValueError
            `net` or `grads` is something else, or the gradient's length or dtype is not the
            network's, or not that of the steps before. Nothing has changed then.
        KeyboardInterrupt
            If Ctrl-C comes. Then either nothing has changed, or the step is done and counted.
        """
        gradient = self._checked_gradient(net, grads)
        # all that can fail comes before anything changes
        slots = self._used_slots() or {name: np.full_like(gradient, self._slot_start)
                                       for name in self._slot_names}
        with net.parameters.changing() as vector:
            self._slots = slots
            self._update(net.engine.updates, vector, gradient, self.steps + 1)

    def config(self) -> dict:
        """Name and hyperparameters (`lr` as it is now), ready for JSON."""
        options = {name: getattr(self, name) for name in self._options}
        if "betas" in options:
            options["betas"] = list(options["betas"])
        return {"name": type(self).__name__, **options}

    def state(self) -> dict[str, np.ndarray]:
        """Copies of the slots by name; a checkpoint needs these, `steps` and `config()`."""
        return {name: slot.copy() for name, slot in self._used_slots().items()}

    def _used_slots(self):
        """Return the slots of the steps taken; an interrupted first step leaves others."""
        return self._slots if self.steps else {}

    def restore(self, steps: int, arrays: Mapping[str, np.ndarray]) -> None:
        """Put back what `steps` and `state()` gave; training then goes on bit for bit.

        Raises
        ------
        TypeError, ValueError
            `steps` is no integer from 0 to below 2**53, or the arrays' names, shapes or dtypes
            cannot be those of the slots. Nothing has changed then.
        """
        option("steps", steps, Integral, "an integer from 0 to below 2**53",
               lambda v: 0 <= v < 2**53)
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
        self._steps = np.full(1, steps, np.int64)

    def _checked_gradient(self, net, grads):
        parameters, gradient = getattr(net, "vector", None), getattr(grads, "vector", None)
        if not (hasattr(net, "engine") and isinstance(gradient, np.ndarray)):
            raise TypeError(f"step got a {type(net).__name__} and a {type(grads).__name__}; "
                            "wanted a network and what its backward gives")
        for name, array in {"network's vector": parameters, **self._used_slots()}.items():
            if gradient.shape != array.shape or gradient.dtype != array.dtype:
                raise ValueError(f"the gradient is {_kind(gradient)}, the {name} {_kind(array)}; "
                                 "wanted gradients and an optimizer of this network's own")
        return gradient if gradient.flags.carray else np.require(gradient, None, ["C", "A"])

    def _update(self, functions, w, g, t):
        raise NotImplementedError("use SGD, Adagrad, RMSprop, Adam or AdamW")

"""Learning-rate schedules: functions of the share of all updates done, from 0 to 1.

What they return is a factor on the initial learning rate.
"""

import math
from collections.abc import Callable
from numbers import Real

from crnn.base.checks import option

_UP_TO_1 = Real, "a number from 0 to 1", lambda v: 0 <= v <= 1
_ABOVE_0_UP_TO_1 = Real, "a number above 0 and at most 1", lambda v: 0 < v <= 1


def constant() -> Callable[[float], float]:
    """Return the schedule of factor 1: the learning rate stays.

    Examples
    --------
    >>> import crnn
    >>> crnn.constant()(0.5)
    1.0
    """
    return exponential(1.0)


def exponential(final: float = 0.01) -> Callable[[float], float]:
    """Return the schedule of factor final**progress.

    `progress` is the share of all updates done, from 0 to 1; the factor is for the initial `lr`.

    Parameters
    ----------
    final : float
        Above 0, at most 1.

    Raises
    ------
    TypeError, ValueError
        If final is not as above.

    Examples
    --------
    >>> import crnn
    >>> schedule = crnn.exponential(0.25)
    >>> schedule(0), schedule(0.5), schedule(1)
    (1.0, 0.5, 0.25)
    """
    final = option("final", final, *_ABOVE_0_UP_TO_1)
    return lambda progress: final ** option("progress", progress, *_UP_TO_1)


def cosine(final: float = 0.0) -> Callable[[float], float]:
    """Return the schedule of factor final + (1 - final)*(1 + cos(pi*progress))/2.

    `progress` is as in `exponential`; at 1 with final=0 the factor is 0, which is no learning
    rate. Loshchilov, Hutter (2017), SGDR, equation 5.

    Parameters
    ----------
    final : float
        From 0 to 1.

    Raises
    ------
    TypeError, ValueError
        If final is not as above.

    Examples
    --------
    >>> import crnn
    >>> schedule = crnn.cosine(0.5)
    >>> schedule(0), schedule(0.5), schedule(1)
    (1.0, 0.75, 0.5)
    """
    final = option("final", final, *_UP_TO_1)
    return lambda progress: final + (1 - final) / 2 * (
        1 + math.cos(math.pi * option("progress", progress, *_UP_TO_1)))


_SCHEDULES = {"constant": constant, "exponential": exponential, "cosine": cosine}


def schedule(value) -> Callable[[float], float]:
    """Return the schedule "constant", "exponential" or "cosine" with its defaults, or a function.

    Raises
    ------
    TypeError, ValueError
        If value is neither one of these names nor a function.
    """
    for name, maker in _SCHEDULES.items():
        if value is maker:
            raise TypeError(
                f"schedule is crnn.{name} itself, which makes schedules; give {name!r} or"
                f" crnn.{name}(...)")
    if callable(value):
        return value
    if not isinstance(value, str) or value not in _SCHEDULES:
        kind = ValueError if isinstance(value, str) else TypeError
        names = ", ".join(map(repr, _SCHEDULES))
        raise kind(f"schedule is {value!r}; it can be {names} or a function such as crnn.cosine()")
    return _SCHEDULES[value]()

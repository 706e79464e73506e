"""The optimizers; the kernels have their loops.

Defaults, formulas and their order are PyTorch's, so that a trajectory from equal weights is equal
up to rounding. In the formulas w is the network's parameter vector, g the gradient's, t the number
of this step (from 1).
"""

from crnn.training.optimizer import Optimizer


class SGD(Optimizer):
    """Stochastic gradient descent.

    With g = g + weight_decay*w, then m = momentum*m + g (at the first step m = g)::

        w -= lr * g                  # momentum=0
        w -= lr * m                  # momentum above 0
        w -= lr * (g + momentum*m)   # nesterov, which needs momentum above 0

    Sutskever et al. (2013), On the importance of initialization and momentum in deep learning,
    in PyTorch's form: lr multiplies the velocity as it is used, not as it is kept.

    Parameters
    ----------
    lr : float
        Learning rate, above 0. It may be set between steps; all else is fixed.
    momentum : float
        What m keeps from step to step, at least 0 and below 1.
    nesterov : bool
    weight_decay : float
        At least 0.

    Raises
    ------
    TypeError, ValueError
        If one is of the wrong kind, or out of its range, or nesterov lacks momentum.

    Examples
    --------
    >>> import crnn
    >>> crnn.SGD(0.1, momentum=0.9)
    SGD(lr=0.1, momentum=0.9, nesterov=False, weight_decay=0.0)
    """

    def __init__(self, lr, momentum=0.0, nesterov=False, weight_decay=0.0):
        super().__init__(lr=lr, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay)
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov is True and momentum is 0; wanted momentum above 0")
        self._slot_names = ("momentum",) if self.momentum else ()

    def _update(self, functions, w, g, t):
        # the velocity is zeros at first, so the first m is g
        functions.sgd_update(w, self._slots.get("momentum"), g, self.lr, self.momentum,
                             self.nesterov, self.weight_decay, steps=self._steps)


class Adagrad(Optimizer):
    """Adagrad: rates fall with the sum of squared gradients.

    With g = g + weight_decay*w and s starting at initial_accumulator_value::

        s += g*g
        w -= lr / (1 + (t - 1)*lr_decay) * g / (sqrt(s) + eps)

    Duchi, Hazan, Singer (2011), Adaptive subgradient methods for online learning.

    Parameters
    ----------
    lr : float
        Learning rate, above 0. It may be set between steps; all else is fixed.
    lr_decay, weight_decay, initial_accumulator_value, eps : float
        At least 0.

    Raises
    ------
    TypeError, ValueError
        If one is of the wrong kind, or out of its range.

    Examples
    --------
    >>> import crnn
    >>> opt = crnn.Adagrad()
    >>> opt.lr = opt.lr / 2
    >>> opt.lr
    0.005
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
                                 self.weight_decay, steps=self._steps)


class RMSprop(Optimizer):
    """RMSprop: divides by the root of the mean square gradient.

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

    Parameters
    ----------
    lr : float
        Learning rate, above 0. It may be set between steps; all else is fixed.
    alpha : float
        What v and a keep from step to step, at least 0 and below 1.
    eps, weight_decay : float
        At least 0.
    momentum : float
        What m keeps, at least 0 and below 1.
    centered : bool

    Raises
    ------
    TypeError, ValueError
        If one is of the wrong kind, or out of its range.

    Examples
    --------
    >>> import crnn
    >>> crnn.RMSprop(alpha=0.9)
    RMSprop(lr=0.01, alpha=0.9, eps=1e-08, weight_decay=0.0, momentum=0.0, centered=False)
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
                                 self.weight_decay, self.momentum, steps=self._steps)


class Adam(Optimizer):
    """Adam: mean gradient over the root of its mean square.

    With g = g + weight_decay*w and betas = (b1, b2)::

        m = b1*m + (1 - b1)*g
        v = b2*v + (1 - b2)*g*g
        w -= lr * m/(1 - b1**t) / (sqrt(v/(1 - b2**t)) + eps)

    Kingma, Ba (2015), Adam: a method for stochastic optimization, Algorithm 1.

    Parameters
    ----------
    lr : float
        Learning rate, above 0. It may be set between steps; all else is fixed.
    betas : pair of float
        What m and v keep from step to step, at least 0 and below 1.
    eps, weight_decay : float
        At least 0.

    Raises
    ------
    TypeError, ValueError
        If one is of the wrong kind, or out of its range.

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
                              b1, b2, 1 - b1**t, 1 - b2**t, self.eps, *self._decay(),
                              steps=self._steps)

    def _decay(self):
        """Return the decay that is part of the gradient, and the factor on w instead of it."""
        return self.weight_decay, 1.0


class AdamW(Adam):
    """Adam with decoupled decay: w *= 1 - lr*weight_decay, then Adam's step on g alone.

    Loshchilov, Hutter (2019), Decoupled weight decay regularization, Algorithm 2, in PyTorch's
    form: lr multiplies the decay.

    Parameters
    ----------
    lr : float
        Learning rate, above 0. It may be set between steps; all else is fixed.
    betas : pair of float
        What m and v keep from step to step, at least 0 and below 1.
    eps, weight_decay : float
        At least 0.

    Raises
    ------
    TypeError, ValueError
        If one is of the wrong kind, or out of its range.

    Examples
    --------
    >>> import crnn
    >>> crnn.AdamW(0.002)
    AdamW(lr=0.002, betas=(0.9, 0.999), eps=1e-08, weight_decay=0.01)
    """

    def __init__(self, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2):
        super().__init__(lr, betas, eps, weight_decay)

    def _decay(self):
        return 0.0, 1 - self.lr * self.weight_decay

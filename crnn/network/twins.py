"""The networks that users build, on the NumPy reference: `crnn.reference.RNN` and so on."""

from functools import partialmethod

from crnn.network import cells, sequential


class RNN(cells.RNN):
    """A `crnn.RNN` on the NumPy reference, with the same arguments."""

    __init__ = partialmethod(cells.RNN.__init__, backend="reference")


class GRU(cells.GRU):
    """A `crnn.GRU` on the NumPy reference, with the same arguments."""

    __init__ = partialmethod(cells.GRU.__init__, backend="reference")


class LSTM(cells.LSTM):
    """A `crnn.LSTM` on the NumPy reference, with the same arguments."""

    __init__ = partialmethod(cells.LSTM.__init__, backend="reference")


class Sequential(sequential.Sequential):
    """A `crnn.Sequential` on the NumPy reference, with the same arguments."""

    __init__ = partialmethod(sequential.Sequential.__init__, backend="reference")

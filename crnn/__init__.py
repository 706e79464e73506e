"""crnn: small recurrent neural networks on a CPU.

A compiled core (``crnn.kernels``) beside a readable NumPy twin (``crnn.reference``).

>>> import crnn
>>> net = crnn.RNN(input_size=3, hidden_size=5, output_size=2, seed=0)
>>> net.num_parameters
57
"""

from crnn import reference, text
from crnn._dispatch import build_info
from crnn.cells import GRU, LSTM, RNN
from crnn.disk import FormatError
from crnn.gradcheck import gradcheck
from crnn.gradient_flow import gradient_flow
from crnn.history import History
from crnn.loading import load
from crnn.optim import SGD, Adagrad, Adam, AdamW, RMSprop
from crnn.parameters import Gradients
from crnn.schedules import constant, cosine, exponential
from crnn.streams import Stream
from crnn.threads import get_num_threads, set_num_threads
from crnn.training import Event, evaluate, fit

__version__ = "0.1.0"
__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "Event",
    "FormatError",
    "Gradients",
    "History",
    "RMSprop",
    "Stream",
    "build_info",
    "constant",
    "cosine",
    "evaluate",
    "exponential",
    "fit",
    "get_num_threads",
    "gradcheck",
    "gradient_flow",
    "load",
    "reference",
    "set_num_threads",
    "text",
]

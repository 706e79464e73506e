"""crnn: small recurrent neural networks on a CPU.

A compiled core (``crnn.kernels``) beside a readable NumPy twin (``crnn.reference``).

>>> import crnn
>>> net = crnn.RNN(input_size=3, hidden_size=5, output_size=2, seed=0)
>>> net.num_parameters
57
"""

from crnn import data, layers, reference, text
from crnn._version import __version__ as __version__
from crnn.analysis.gradient_check import gradcheck
from crnn.analysis.gradient_flow import gradient_flow
from crnn.base.backends import build_info
from crnn.base.losses import Huber, Quantile
from crnn.base.padding import pad
from crnn.engine.threads import get_num_threads, set_num_threads, threads
from crnn.files.disk import FormatError
from crnn.forecasting.forecaster import Forecaster
from crnn.network.cells import GRU, LSTM, RNN
from crnn.network.compressed import Compressed
from crnn.network.foreign import from_keras, from_nam, from_onnx, from_rtneural, from_torch
from crnn.network.parameters import Gradients
from crnn.network.prediction import softmax
from crnn.network.saving import load
from crnn.network.scaling import Scaler
from crnn.network.sequential import Sequential
from crnn.network.streams import Stream, step_many
from crnn.training.bucketing import batches
from crnn.training.evaluation import evaluate
from crnn.training.fit import fit
from crnn.training.history import History
from crnn.training.loop import Event
from crnn.training.optimizers import SGD, Adagrad, Adam, AdamW, RMSprop
from crnn.training.schedules import constant, cosine, exponential

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "Compressed",
    "Event",
    "Forecaster",
    "FormatError",
    "Gradients",
    "History",
    "Huber",
    "Quantile",
    "RMSprop",
    "Scaler",
    "Sequential",
    "Stream",
    "batches",
    "build_info",
    "constant",
    "cosine",
    "data",
    "evaluate",
    "exponential",
    "fit",
    "from_keras",
    "from_nam",
    "from_onnx",
    "from_rtneural",
    "from_torch",
    "get_num_threads",
    "gradcheck",
    "gradient_flow",
    "layers",
    "load",
    "pad",
    "reference",
    "set_num_threads",
    "softmax",
    "step_many",
    "text",
    "threads",
]

"""crnn: small recurrent neural networks on a CPU.

A compiled core (``crnn.kernels``) beside a readable NumPy twin (``crnn.reference``).

>>> import crnn
>>> net = crnn.RNN(input_size=3, hidden_size=5, output_size=2, seed=0)
>>> net.num_parameters
57
"""

import importlib
from typing import TYPE_CHECKING

from crnn import reference
from crnn._version import __version__ as __version__
from crnn.base.backends import build_info
from crnn.base.losses import Huber, Quantile
from crnn.base.padding import pad
from crnn.engine.threads import get_num_threads, set_num_threads, threads
from crnn.files.disk import FormatError
from crnn.network.cells import GRU, LSTM, RNN
from crnn.network.compressed import Compressed
from crnn.network.parameters import Gradients
from crnn.network.prediction import softmax
from crnn.network.scaling import Scaler
from crnn.network.streams import Stream, step_many

if TYPE_CHECKING:  # who reads code, such as an editor, finds here what `__getattr__` imports
    from crnn import data, layers, text
    from crnn.analysis.gradient_check import gradcheck
    from crnn.analysis.gradient_flow import gradient_flow
    from crnn.forecasting.forecaster import Forecaster
    from crnn.network.foreign import from_keras, from_nam, from_onnx, from_rtneural, from_torch
    from crnn.network.saving import load
    from crnn.network.sequential import Sequential
    from crnn.training.bucketing import batches
    from crnn.training.evaluation import evaluate
    from crnn.training.fit import fit
    from crnn.training.history import History
    from crnn.training.loop import Event
    from crnn.training.optimizers import SGD, Adagrad, Adam, AdamW, RMSprop
    from crnn.training.schedules import constant, cosine, exponential

# What a network does without: it is imported when somebody asks for it, so that a program that only
# runs a network begins sooner, and in less memory.
PLACES = {
    "data": "",
    "layers": "",
    "plots": "",
    "text": "",
    "gradcheck": "analysis.gradient_check",
    "gradient_flow": "analysis.gradient_flow",
    "Forecaster": "forecasting.forecaster",
    "batches": "training.bucketing",
    "Sequential": "network.sequential",
    "load": "network.saving",
    "fit": "training.fit",
    "evaluate": "training.evaluation",
    "History": "training.history",
    "Event": "training.loop",
    **dict.fromkeys(("SGD", "Adagrad", "Adam", "AdamW", "RMSprop"), "training.optimizers"),
    **dict.fromkeys(("constant", "cosine", "exponential"), "training.schedules"),
    **dict.fromkeys(("from_keras", "from_nam", "from_onnx", "from_rtneural", "from_torch"),
                    "network.foreign"),
}

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


def __getattr__(name):
    """Return what is in another module, or is one, imported only now; see `PLACES`."""
    if name not in PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    place = PLACES[name]
    if not place:
        return importlib.import_module(f"crnn.{name}")
    value = globals()[name] = getattr(importlib.import_module(f"crnn.{place}"), name)
    return value


def __dir__():
    return sorted({*globals(), *PLACES})

"""The layers of a `crnn.Sequential`: what each is, in a list from the input up.

>>> import crnn
>>> net = crnn.Sequential(3, [crnn.layers.LSTM(5), crnn.layers.Dense(2, "softmax")], seed=0)
"""

from crnn.layers.recurrent import GRU, LSTM, RNN
from crnn.layers.stateless import Activation, Dense, Dropout, Embedding, Masking

__all__ = ["GRU", "LSTM", "RNN", "Activation", "Dense", "Dropout", "Embedding", "Masking"]

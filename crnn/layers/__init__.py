"""The layers of a `crnn.Sequential`: what each is, in a list from the input up."""

from crnn.layers.recurrent import GRU, LSTM, RNN
from crnn.layers.stateless import Activation, Dense, Dropout, Embedding, Masking

__all__ = ["GRU", "LSTM", "RNN", "Activation", "Dense", "Dropout", "Embedding", "Masking"]

"""The table of cells: a module of two functions each, `step` and `step_backward`."""

from crnn.reference import gru, lstm, rnn

CELLS = {"RNN": rnn, "GRU": gru, "LSTM": lstm}

"""A noise suppressor of three networks with skips between them: RNNoise.

    python examples/noise_suppressor.py path/to/rnnoise_v0_3gru_relu.safetensors

RNNoise (Valin 2018) says for each 10 ms of sound how much of each of 22 bands is speech, from 42
features of it. It is no list of layers: the second network reads what the first one puts out beside
what that reads, and the third reads both. So it takes three networks of crnn, and NumPy between
them::

    d = tanh(x @ W + b)                     x (42,): the features; d (24,)
    v = GRU(d)                              24 units: is anybody speaking?
    n = GRU([d, v, x])                      48 units: what is the noise?
    gains = sigmoid(GRU([v, n, x]) @ W + b) 96 units, 22 gains

The file has the weights in Keras's orders, with features of a recording and the gains that the
original C program found for them.

Valin, J.-M. (2018). A hybrid DSP/deep learning approach to real-time full-band speech enhancement.
MMSP. arXiv:1709.08243.
"""

import argparse
import time

import numpy as np
from safetensors.numpy import load_file

import crnn
from crnn.layers import GRU, Dense

FRAME = 0.01  # seconds


class Suppressor:
    """The three networks.

    Parameters
    ----------
    arrays : dict of str to ndarray
        In Keras's orders.
    dtype : {"float32", "float64"}
    """

    def __init__(self, arrays, dtype="float32"):
        def of(name):
            return [arrays[f"{name}.{each}"] for each in ("kernel", "recurrent_kernel", "bias")
                    if f"{name}.{each}" in arrays]

        def gru(size):
            return GRU(size, reset_after=False, candidate="relu")

        options = {"batch_first": False, "dtype": dtype}
        self.W, self.b = (each.astype(dtype) for each in of("input_dense"))
        self.voice = crnn.from_keras(of("vad_gru"), layers=[gru(24)], **options)
        self.noise = crnn.from_keras(of("noise_gru"), layers=[gru(48)], **options)
        self.gains = crnn.from_keras(
            of("denoise_gru") + of("denoise_output"), layers=[gru(96), Dense(22, "sigmoid")],
            **options)

    def __call__(self, x):
        """Return the gains (T, 22) for the features (T, 42) of a whole recording."""
        d = np.tanh(x @ self.W + self.b)
        v, _ = self.voice(d)
        n, _ = self.noise(np.concatenate([d, v, x], axis=-1))
        return self.gains(np.concatenate([v, n, x], axis=-1))[0]

    def step(self, x):
        """Return the gains (22,) for the next features (42,)."""
        d = np.tanh(x @ self.W + self.b)
        v = self.voice.step(d)
        n = self.noise.step(np.concatenate([d, v, x]))
        return self.gains.step(np.concatenate([v, n, x]))


def main(arguments=None):
    """Compare with the C program; return the largest difference of all gains."""
    parser = argparse.ArgumentParser(
        description="Run RNNoise's networks on features of a recording.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    add = parser.add_argument
    add("weights", help="a safetensors file with RNNoise's weights, features and gains")
    add("--seed", type=int, default=0, help="of the features that time is taken with")
    add("--frames", type=int, default=2000, help="how many of these")
    options = parser.parse_args(arguments)
    arrays = load_file(options.weights)
    suppressor, x = Suppressor(arrays), arrays["x_features"].astype(np.float32)
    whole, steps = suppressor(x), np.stack([suppressor.step(each) for each in x])
    differences = [abs(gains - arrays["c_gains"]).max() for gains in (whole, steps)]
    print(f"{len(x)} frames; the gains differ from the C program's by at most {differences[0]:.1e},"
          f" step by step by {differences[1]:.1e}")
    frames = np.random.default_rng(options.seed).normal(size=(options.frames, x.shape[1]))
    frames, begin = frames.astype(np.float32), time.process_time()
    for frame in frames:
        suppressor.step(frame)
    taken = (time.process_time() - begin) / options.frames
    print(f"a frame lasts {1e3 * FRAME:.0f} ms, and takes {1e6 * taken:.0f} us")
    return max(differences)


if __name__ == "__main__":
    main()

"""Which outputs of layers dropout leaves in a pass."""

import numpy as np


class Dropout:
    """Draws masks for passes.

    Parameters
    ----------
    share : float
        What is zeroed of each layer's outputs, except the top layer's.
    layers : list of LayerSpec
    generator : numpy.random.Generator
    """

    def __init__(self, share, layers, generator):
        self.share, self._layers, self._generator = share, layers, generator

    def run(self, action, steps, batch):
        """Return ``action(masks)``: masks (T, B, D * H) for each layer, or None, where all stay.

        If it raises, it is as if nothing had been drawn.
        """
        if not self.share:
            return action([None] * len(self._layers))
        state = self._generator.bit_generator.state
        try:
            return action([*(self._draw(steps, batch, layer) for layer in self._layers[:-1]), None])
        except BaseException:
            self._generator.bit_generator.state = state
            raise

    def _draw(self, steps, batch, layer):
        size = steps, batch, layer.output_size
        return self._generator.random(size, np.float32) >= self.share

"""Which outputs of layers dropout leaves in a pass."""

import numpy as np


class Dropout:
    """Draws masks for passes.

    Parameters
    ----------
    layers : list of LayerSpec
        Each says which share of its outputs is zeroed.
    generator : numpy.random.Generator
    """

    def __init__(self, layers, generator):
        self._layers, self._generator = layers, generator
        self._drops = any(layer.dropout for layer in layers)
        self._body = 1 + max(k for k, layer in enumerate(layers) if layer.kind.has_state)

    def run(self, action, steps, batch, last_only=False):
        """Return ``action(masks)``: masks (T, B, D * H) for each layer, or None, where all stay.

        With ``last_only`` layers above the recurrent ones have a single step. If it raises, it is
        as if nothing had been drawn.
        """
        if not self._drops:
            return action([None] * len(self._layers))
        state = self._generator.bit_generator.state
        try:
            return action([
                self._draw(1 if last_only and number >= self._body else steps, batch, layer)
                for number, layer in enumerate(self._layers)
            ])
        except BaseException:
            self._generator.bit_generator.state = state
            raise

    def _draw(self, steps, batch, layer):
        if not layer.dropout:
            return None
        size = steps, batch, layer.output_size
        return self._generator.random(size, np.float32) >= layer.dropout

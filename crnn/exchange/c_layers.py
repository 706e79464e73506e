"""A step of each layer in C, as a block of the function that steps a network.

A block reads what the layer below puts out, and computes in place of the state, or into an array
of its own. The letters of the formulas are those of `crnn.reference`.
"""

from typing import NamedTuple

from crnn.layers import GRU, LSTM, RNN, Activation, Dense, Embedding


class Place(NamedTuple):
    """A layer, and where it stands in a network.

    Attributes
    ----------
    layer : object
        Of `crnn.layers`.
    number : int
    is_readout : bool
    inputs, size : int
        The features that it reads and that it puts out.
    x : str
        What it reads, in C.
    is_token : bool
        Whether that is a token.
    """

    layer: object
    number: int
    is_readout: bool
    inputs: int
    size: int
    x: str
    is_token: bool

    def named(self, stem):
        """Return the name of an array of the layer, of its parameters or of its own."""
        if self.is_readout:
            return {"W_xh": "W_hy", "b_h": "b_y", "y": "y"}[stem]
        return f"{stem}_l{self.number}"


class Block(NamedTuple):
    """What a layer is in C.

    Attributes
    ----------
    title : str
    formulas, lines : list of str
        What it computes; the code.
    y : str
        Where the layer's outputs are then, in C.
    scratch : int
        Floats that it needs while it computes.
    """

    title: str
    formulas: list
    lines: list
    y: str
    scratch: int = 0


class Writer:
    """Writes statements with the names of one header.

    Parameters
    ----------
    prefix : str
        What names begin with, before an underscore.
    weights : FloatWeights or Int8Weights
    """

    def __init__(self, prefix, weights):
        self._prefix, self._weights = prefix, weights

    def block(self, place):
        """Return the `Block` of a layer."""
        return BLOCKS[type(place.layer)](self, place)

    def constant(self, stem, place):
        """Return the name of a constant array."""
        return f"{self._prefix}_{place.named(stem)}"

    def function(self, name, clip=None):
        """Return what makes a call of a function of an argument, which is clipped before."""
        called = "tanhf" if name == "tanh" else f"{self._prefix}_{name.replace('0.2', '2')}"
        if clip is None:
            return lambda a: f"{called}({a})"
        return lambda a: f"{called}({self._prefix}_clip({a}, {float(clip)!r}f))"

    def copy(self, target, source, size):
        """Return the statement target = source."""
        return f"{self._prefix}_copy({target}, {source}, {size});"

    def add_product(self, a, x, matrix, inputs, outputs):
        """Return the statement a += x @ matrix."""
        arguments = self._weights.arguments(matrix)
        return f"{self._prefix}_add_product({a}, {x}, {arguments}, {inputs}, {outputs});"

    def add_input(self, a, place, outputs):
        """Return the statement a += x @ W_xh; of a token, its row."""
        matrix = self.constant("W_xh", place)
        if not place.is_token:
            return self.add_product(a, place.x, matrix, place.inputs, outputs)
        arguments = self._weights.arguments(matrix)
        return f"{self._prefix}_add_row({a}, {place.x}, {arguments}, {outputs});"

    def pre_activations(self, place, gates):
        """Return the statements a = x @ W_xh + b_h, of all gates."""
        columns = gates * place.size
        return [
            f"float a[{columns}];",
            self.copy("a", self.constant("b_h", place), columns),
            self.add_input("a", place, columns),
        ]

    def activated(self, activation, y, size):
        """Return the statements y = activation(y)."""
        if activation == "linear":
            return []
        if activation == "softmax":
            return [f"{self._prefix}_softmax({y}, {size});"]
        return for_each(size, f"{y}[j] = {self.function(activation)(f'{y}[j]')};")


def for_each(size, *statements):
    """Return a loop over j."""
    if len(statements) == 1:
        return [f"for (int j = 0; j < {size}; j++)", f"    {statements[0]}"]
    return [f"for (int j = 0; j < {size}; j++) {{", *(f"    {each}" for each in statements), "}"]


# --- layers -------------------------------------------------------------------------------------


def rnn(writer, place):
    """Return the block of an RNN."""
    layer, H, h = place.layer, place.size, f"state->{place.named('h')}"
    f = writer.function(layer.nonlinearity, layer.clip)
    return Block(
        f"RNN, {H} units",
        [f"h = {layer.nonlinearity}(x @ W_xh + b_h + h @ W_hh)"],
        [
            *writer.pre_activations(place, 1),
            writer.add_product("a", h, writer.constant("W_hh", place), H, H),
            *for_each(H, f"{h}[j] = {f('a[j]')};"),
        ],
        h, H)


def gru(writer, place):
    """Return the block of a GRU, where the last H columns of W_hh are an array W_hn."""
    layer, H, h = place.layer, place.size, f"state->{place.named('h')}"
    gate = writer.function(layer.gate_activation, layer.clip)
    f = writer.function(layer.candidate, layer.clip)
    W_hn = writer.constant("W_hn", place)
    a_r, a_z, a_n = "a[j]", f"a[{H} + j]", f"a[{2 * H} + j]"
    if layer.reset_after:
        formula = f"n = {layer.candidate}(x @ W_xn + b_n + r * (h @ W_hn + b_hn))"
        a_n = f"{a_n} + {gate(a_r)} * q[j]"
        products = [
            writer.copy("q", writer.constant("b_hn", place), H),
            writer.add_product("q", h, W_hn, H, H),
        ]
    else:
        formula = f"n = {layer.candidate}(x @ W_xn + b_n + (r * h) @ W_hn)"
        products = [
            *for_each(H, f"q[j] = {gate(a_r)} * {h}[j];"),
            writer.add_product(f"a + {2 * H}", "q", W_hn, H, H),
        ]
    return Block(
        f"GRU, {H} units",
        [f"r, z = {layer.gate_activation}(x @ W_xh + b_h + h @ W_hh)", formula,
         "h = (1 - z) * n + z * h"],
        [
            *writer.pre_activations(place, 3),
            f"float q[{H}];",
            writer.add_product("a", h, writer.constant("W_hh", place), H, 2 * H),
            *products,
            *for_each(
                H, f"const float z = {gate(a_z)};", f"const float n = {f(a_n)};",
                f"{h}[j] = (1.0f - z) * n + z * {h}[j];"),
        ],
        h, 4 * H)


def lstm(writer, place):
    """Return the block of an LSTM."""
    layer, H = place.layer, place.size
    h, c = (f"state->{place.named(name)}" for name in ("h", "c"))
    gate = writer.function(layer.gate_activation, layer.clip)
    f = writer.function(layer.nonlinearity, layer.clip)
    f_of_c = writer.function(layer.nonlinearity)
    W_ch = writer.constant("W_ch", place)
    seen = [f" + {W_ch}[{row * H} + j] * {cell}" * layer.peepholes
            for row, cell in enumerate((f"{c}[j]", f"{c}[j]", "c"))]
    gates, of_c = layer.gate_activation, layer.nonlinearity
    sees = " + c * W_ch" * layer.peepholes
    return Block(
        f"LSTM, {H} units",
        [
            f"{'i' if layer.coupled else 'i, f'} = {gates}(x @ W_xh + b_h + h @ W_hh{sees})",
            *["f = 1 - i"] * layer.coupled,
            f"g = {of_c}(x @ W_xg + b_g + h @ W_hg)",
            "c = f * c + i * g",
            f"o = {gates}(x @ W_xo + b_o + h @ W_ho{sees})",
            f"h = o * {of_c}(c)",
        ],
        [
            *writer.pre_activations(place, 4),
            writer.add_product("a", h, writer.constant("W_hh", place), H, 4 * H),
            *for_each(
                H,
                f"const float i = {gate(f'a[j]{seen[0]}')};",
                f"const float f = {'1.0f - i' if layer.coupled else gate(f'a[{H} + j]{seen[1]}')};",
                f"const float g = {f(f'a[{2 * H} + j]')};",
                f"const float c = f * {c}[j] + i * g;",
                f"const float o = {gate(f'a[{3 * H} + j]{seen[2]}')};",
                f"{c}[j] = c;",
                f"{h}[j] = o * {f_of_c('c')};",
            ),
        ],
        h, 4 * H)


def dense(writer, place):
    """Return the block of a dense layer."""
    activation, size, y = place.layer.activation, place.size, place.named("y")
    product = "x @ W_hy + b_y" if place.is_readout else "x @ W_xh + b_h"
    return Block(
        f"Dense, {size} units",
        [f"y = {product}" if activation == "linear" else f"y = {activation}({product})"],
        [
            writer.copy(y, writer.constant("b_h", place), size),
            writer.add_input(y, place, size),
            *writer.activated(activation, y, size),
        ],
        y)


def activation(writer, place):
    """Return the block of an activation by itself."""
    size, y, name = place.size, place.named("y"), place.layer.activation
    return Block(f"Activation, {size} features", [f"y = {name}(x)"],
                 [writer.copy(y, place.x, size), *writer.activated(name, y, size)], y)


def embedding(writer, place):
    """Return the block of an embedding."""
    size, y = place.size, place.named("y")
    return Block(f"Embedding, {size} features", [f"y = W_xh[{place.x}]"],
                 [*for_each(size, f"{y}[j] = 0.0f;"), writer.add_input(y, place, size)], y)


BLOCKS = {RNN: rnn, GRU: gru, LSTM: lstm, Dense: dense, Activation: activation,
          Embedding: embedding}

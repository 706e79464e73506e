"""Layers of Keras's that read one another, as a `Description`."""

import reprlib

from crnn.exchange import keras_layers, keras_normalization
from crnn.exchange.description import Description, named
from crnn.exchange.keras_layers import CannotError
from crnn.exchange.keras_orders import array_shapes, cudnn_shapes, parameters_of, without_cudnn
from crnn.layers import Activation, Dense, Dropout, Masking
from crnn.layers.recurrent import Recurrent

IN_TIME = ("Dense", "Activation", "ReLU", "Softmax", "Dropout", "BatchNormalization")
OF_TRAINING = (
    "SpatialDropout1D", "GaussianNoise", "GaussianDropout", "AlphaDropout",
    "ActivityRegularization",
)


def description(layers, parameters, inputs, last, left_out=()):
    """Return the `Description` of layers, if one of them is recurrent."""
    if not any(isinstance(each, Recurrent) for each in layers):
        raise ValueError("has no recurrent layer, and crnn's networks have at least one")
    return Description(inputs, layers, named(layers, parameters), last=last, batch_first=True,
                       left_out=list(left_out))


def num_outputs(layer, inputs):
    """Return how many features a layer of `crnn.layers` puts out."""
    if isinstance(layer, (Activation, Dropout, Masking)):
        return inputs
    return layer.size * (1 + getattr(layer, "bidirectional", False))


class Chain:
    """Layers that are taken in one after the other from the input up.

    Parameters
    ----------
    version : {2, 3} or None
        The first number of Keras's.
    arrays : callable
        Returns the arrays of a layer by its name.

    Attributes
    ----------
    left_out : list of str
        What computes nothing in inference.
    """

    def __init__(self, version, arrays):
        self._version, self._arrays = version, arrays
        self._layers, self._parameters = [], []
        self._inputs = self._features = None  # until an array tells
        self._last = False  # whether there are outputs of the last steps alone
        self._masked = False
        self._scaling = None  # that no layer contains yet
        self.left_out = []

    def add(self, layer):
        """Take in a `KerasLayer`."""
        if layer.kind not in self.READERS:
            raise CannotError(f"has {layer}, which crnn cannot express")
        self.READERS[layer.kind](self, layer)

    def description(self):
        """Return the `Description` of what was taken in."""
        self._settle()
        while self._layers and isinstance(self._layers[-1], Dropout):
            self._layers.pop()
            self._parameters.pop()
        return description(
            self._layers, self._parameters, self._inputs, self._last, self.left_out)

    # ---- layers with weights

    def _bidirectional(self, layer):
        self._recurrent(layer, keras_layers.bidirectional(layer), is_bidirectional=True)

    def _cell(self, layer):
        self._recurrent(layer, keras_layers.of_cell(layer))

    def _recurrent(self, layer, own=None, is_bidirectional=False):
        own = own or layer
        made = keras_layers.recurrent(own, self._version, is_bidirectional)
        self._check_steps(layer, own, is_bidirectional)
        self._last = not keras_layers.flag(own, "return_sequences")
        for key in ("dropout", "recurrent_dropout"):
            if own.config.get(key):
                self.left_out.append(f"the {key} of {layer}, which is of training")
        if own.kind.startswith("CuDNN"):
            arrays = self._checked(layer, lambda inputs: cudnn_shapes(made, inputs))
            self._append(layer, made, parameters_of(made, without_cudnn(made, arrays)))
        else:
            self._take(layer, made, keras_layers.flag(own, "use_bias"))

    def _check_steps(self, layer, own, is_bidirectional):
        if self._last:
            raise CannotError(f"has {layer} above a layer with return_sequences=False, the outputs"
                              " of which are no sequence")
        gives_zeros = own.config.get("zero_output_for_mask", False)
        if self._masked and gives_zeros and not is_bidirectional:  # which Keras always has do so
            raise CannotError(f"has {layer} with zero_output_for_mask; crnn's networks repeat their"
                              " last outputs where a step is masked")

    def _dense(self, layer):
        made = keras_layers.dense(layer, self._version)
        self._take(layer, made, keras_layers.flag(layer, "use_bias"))

    def _embedding(self, layer):
        self._check_first(layer)
        made = keras_layers.embedding(layer)
        self._masked = made.mask_zero
        self._features = keras_layers.setting(layer, "input_dim")
        self._take(layer, made)

    def _check_first(self, layer):
        if self._layers or self._scaling is not None:
            raise CannotError(f"has {layer} above another layer; crnn has one as the first alone")

    def _take(self, layer, made, has_bias=True):
        """Append a layer with its arrays."""
        arrays = self._checked(layer, lambda inputs: array_shapes(made, inputs, has_bias))
        self._append(layer, made, parameters_of(made, arrays, has_bias))

    def _checked(self, layer, shapes_of):
        """Return the arrays of a layer that has the shapes that shapes_of(inputs) says."""
        arrays = self._arrays(layer.name)
        if self._features is None and arrays and arrays[0].ndim:
            self._features = len(arrays[0])
        if self._inputs is None:
            self._inputs = self._features
        wanted, came = shapes_of(self._features or 0), [each.shape for each in arrays]
        if came != wanted:
            hint = "" if came else ": is the model built?"
            raise ValueError(f"has arrays of the shapes {reprlib.repr(came)} for {layer};"
                             f" {wanted} are wanted{hint}")
        if any(each.dtype.kind != "f" for each in arrays):
            raise CannotError(f"has {layer} with arrays that are no floats; save the model without"
                              " quantisation")
        return arrays

    def _append(self, layer, made, parameters):
        if self._scaling is not None:
            if "b_h" not in parameters:
                raise CannotError(f"has {self._scaling.layer} below {layer}")
            parameters = self._scaling.above(parameters)
            self._note_scaling(repr(layer.name))
        self._layers.append(made)
        self._parameters.append(parameters)
        self._features = num_outputs(made, self._features)

    # ---- batch normalisation

    def _normalization(self, layer):
        self._settle()
        count = keras_normalization.num_arrays(layer)
        arrays = self._checked(layer, lambda inputs: count * [(inputs,)])
        self._scaling = keras_normalization.scaling_of(layer, arrays, 2 if self._last else 3)

    def _settle(self):
        """Have the layer below compute a scaling that no layer above can."""
        if self._scaling is None:
            return
        place = len(self._layers) - 1
        while place > 0 and isinstance(self._layers[place], Dropout):
            place -= 1
        below = self._layers[place] if self._layers else None
        if not isinstance(below, Dense) or below.activation != "linear":
            raise CannotError(f"has {self._scaling.layer}, which is neither below a layer with"
                              " weights nor above a Dense without an activation")
        self._parameters[place] = self._scaling.below(self._parameters[place])
        self._note_scaling("the layer below it")

    def _note_scaling(self, where):
        self.left_out.append(f"{self._scaling.layer}, which is in the weights of {where}")
        self._scaling = None

    # ---- layers without weights

    def _in_time(self, layer):
        own = keras_layers.inner(layer, "layer")
        if own.kind not in IN_TIME or self._last:
            raise CannotError(f"has {layer} of a {own.kind}, which crnn cannot express")
        self.add(own)

    def _activation(self, layer):
        f = keras_layers.of_activation(layer, self._version)
        if f == "linear":
            return
        self._settle()
        below = self._layers[-1] if self._layers else None
        if below is None or isinstance(below, Masking):
            raise CannotError(f"has {layer} as the first layer; crnn has one above a layer alone")
        if isinstance(below, Dense) and below.activation == "linear":
            self._layers[-1] = Dense(below.size, f)
        else:
            self._layers.append(Activation(f))
            self._parameters.append({})

    def _masking(self, layer):
        self._check_first(layer)
        self._layers.append(keras_layers.masking(layer))
        self._parameters.append({})
        self._masked = True

    def _dropout(self, layer):
        made = Dropout(keras_layers.setting(layer, "rate"))
        if not self._layers or isinstance(self._layers[-1], (Dropout, Masking)):
            self._of_training(layer)  # crnn has it above a layer alone
        else:
            self._layers.append(made)
            self._parameters.append({})

    def _of_training(self, layer):
        self.left_out.append(f"{layer}, which is of training")

    def _flatten(self, layer):
        if not self._last:
            raise CannotError(f"has {layer}, which makes one vector of all steps")

    def _input(self, layer):
        """Take in an InputLayer: its sizes are those of the first layer with weights."""

    READERS = {  # noqa: RUF012
        "InputLayer": _input,
        **dict.fromkeys(keras_layers.RECURRENT, _recurrent),
        "RNN": _cell,
        "Bidirectional": _bidirectional,
        "Dense": _dense,
        "Embedding": _embedding,
        "BatchNormalization": _normalization,
        "TimeDistributed": _in_time,
        **dict.fromkeys(("Activation", "ReLU", "Softmax"), _activation),
        "Masking": _masking,
        "Dropout": _dropout,
        **dict.fromkeys(OF_TRAINING, _of_training),
        "Flatten": _flatten,
    }

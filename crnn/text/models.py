"""The files of models that write."""

from crnn.files import kinds
from crnn.files.disk import FormatError
from crnn.network.saving import network_from
from crnn.text.vocabulary import Vocabulary


def save_model(path, net, vocabulary, training):
    """Write a network, its vocabulary, and a dict that says how it was trained, as one file."""
    kinds.write(path, net.parameters, {
        "vocabulary": vocabulary.symbols, "training": training, "config": net.config(),
    })


def load_model(path):
    """Return network, vocabulary and the dict given to `save_model`.

    Raises
    ------
    FormatError
        If the file is not a whole character model.
    OSError
        If it cannot be read.
    """
    return model_from(path, kinds.read(path, kinds.MODEL))


def model_from(path, content):
    """Return what `load_model` does, of what `crnn.files.kinds.read` returned."""
    net, training = network_from(path, content), content.header["training"]
    try:
        vocabulary = Vocabulary(content.header["vocabulary"])
    except (TypeError, ValueError) as error:
        raise FormatError(f"{path}: {error}") from None
    if not isinstance(training, dict):
        raise FormatError(f"{path}: the account of training is not an object")
    if not net.input_size == net.output_size == len(vocabulary):
        raise FormatError(
            f"{path}: {len(vocabulary)} {vocabulary.unit}s do not fit {net.input_size} inputs and"
            f" {net.output_size} outputs"
        )
    return net, vocabulary, training

"""The files of models that write."""

from crnn.base import checks
from crnn.files import kinds
from crnn.files.disk import FormatError
from crnn.network.saving import network_from
from crnn.text.vocabulary import Vocabulary, check_fits


def save_model(path, net, vocabulary, training=None):
    """Write a network, its vocabulary, and a dict that says how it was trained, as one file.

    Parameters
    ----------
    path : str or os.PathLike
    net : RNN, GRU or LSTM
        With as many inputs and outputs as the vocabulary has symbols. Its metadata and scaler are
        kept, too.
    vocabulary : Vocabulary
    training : dict, optional
        Ready for JSON; ``crnn info`` shows it. With ``{"lines": True}`` it is a model of `lines`:
        ``crnn sample`` has it write lines, and ``crnn evaluate`` read them.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import crnn
    >>> from crnn.text import Vocabulary, load_model, save_model
    >>> save_model("ab.safetensors", crnn.GRU(2, 8, 2), Vocabulary("ab"))  # doctest: +SKIP
    >>> net, vocabulary, training = load_model("ab.safetensors")               # doctest: +SKIP
    """
    check_fits(net, vocabulary)
    training = {} if training is None else checks.option("training", training, dict, "a dict")
    header = {"vocabulary": vocabulary.symbols, "training": training, **net.header()}
    kinds.write(path, net.stored(), header, net.metadata)


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

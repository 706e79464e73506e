"""What all networks share, whatever their cell: parameters, passes, steps, copies, files.

What writes files, for itself and for other programs, is imported where it is used: most programs do
without.
"""

import contextlib
import contextvars
import copy
import reprlib
from collections.abc import Mapping

import numpy as np

from crnn.base import checks
from crnn.base.layers import parameter_shapes
from crnn.base.padding import is_list_of_arrays
from crnn.base.sequences import Lookout, valid_steps
from crnn.base.weights import ERROR, weighting
from crnn.engine import compiled, textbook
from crnn.engine.masking import MaskedEngine
from crnn.kernels.memory import aligned_empty
from crnn.network.arranged import ArrangedPasses, ArrangedTape
from crnn.network.initialization import METHODS, initialize
from crnn.network.parameters import Layout, Parameters
from crnn.network.prediction import (
    PROBABILITIES,
    other_loss,
    predictions,
    probabilities,
    replaced,
)
from crnn.network.scaling import Scaler
from crnn.network.streams import Stream

ENGINES = {"compiled": compiled.Engine, "reference": textbook.Engine}

_is_remade = contextvars.ContextVar("_is_remade", default=False)


@contextlib.contextmanager
def remaking():
    """A context in which networks are copies, whose user was warned when the first was made."""
    token = _is_remade.set(True)
    try:
        yield
    finally:
        _is_remade.reset(token)


class Elsewhere:
    """What other libraries' networks have as a method: asking for it says where it is.

    A `__getattr__` would do the same, but makes every call of a method, such as a step, a quarter
    slower.
    """

    def __init__(self, call):
        self._call = call

    def __set_name__(self, owner, name):
        self._name = name

    def __get__(self, network, owner):
        raise AttributeError(
            f"{owner.__name__} has no {self._name!r}; it is a function: {self._call}",
            name=self._name, obj=network,
        )


class NoStepsError(AttributeError, ValueError):
    """A network has no steps, and so no state."""


class Cache:
    """What `Network.backward` needs of a `Network.forward`. Opaque; it belongs to its network."""

    def __init__(self, network, tape):
        self._network, self._changes = network, network.parameters.changes.item()
        self._tape = tape

    def tape_of(self, network):
        """Return the tape, if it is this network's and its parameters have not changed since."""
        if self._network is not network or self._changes != network.parameters.changes.item():
            raise ValueError(
                "cache is not of this network as it is: call forward again after the parameters"
                " have changed"
            )
        return self._tape


class Network:
    """What all cells share: parameters, passes over sequences, steps, files.

    Not used by itself; `RNN`, `GRU` and `LSTM` say which cell runs.

    Parameters
    ----------
    configuration : Configuration
    init, seed
        As for `RNN`.
    forget_bias : float, optional
        As for `LSTM`.

    Attributes
    ----------
    engine : Engine
        It runs the passes. Internal: the one door to a pass for the rest of crnn, such as training.
    """

    def __init__(self, configuration, init, seed, forget_bias=None):
        init, layers = checks.choice(init, "init", METHODS), configuration.layers
        drops = any(layer.dropout for layer in layers)
        if configuration.dropout and not drops and not _is_remade.get():
            checks.warn(
                f"dropout={configuration.dropout} does nothing with num_layers=1: it is between"
                " layers; use num_layers=2 or more, or leave it out"
            )
        layout = Layout(parameter_shapes(layers, configuration.readout))
        vector = aligned_empty((layout.size,), configuration.dtype)
        generator = initialize(vector, layout, layers, init, seed, forget_bias)
        self._set_up(configuration, Parameters(layout, vector, configuration.backend), generator)

    def _set_up(self, configuration, parameters, generator):
        """Begin with these parameters, and with a generator of dropout."""
        self._configuration, self._metadata, self._scaler = configuration, {}, None
        self._parameters, self._generator = parameters, generator
        engine = ENGINES[configuration.backend]
        self.engine = engine(
            configuration.layers, parameters, configuration.readout, configuration.skip, generator,
            Lookout(configuration.input_size, configuration.batch_first))
        if configuration.mask is not None:
            self.engine = MaskedEngine(self.engine, configuration.mask)
        self._passes = ArrangedPasses(self.engine, configuration.batch_first)
        self._passes_over_arrays = self._passes if configuration.batch_first else self.engine
        self._gives_last = configuration.last
        self._stream = None
        if not configuration.bidirectional:
            self._stream = Stream(self.engine, None, configuration.batch_first)
        if type(self).step is Network.step and self._stream is not None:
            self.step = self._stream.step  # itself, unless a subclass has its own

    fit = Elsewhere("crnn.fit(net, (x, targets), crnn.Adam(0.001), epochs=10)")
    evaluate = Elsewhere("crnn.evaluate(net, (x, targets))")

    # --- configuration -------------------------------------------------------------------------

    @property
    def input_size(self):
        """I."""
        return self._configuration.input_size

    @property
    def hidden_size(self):
        """H; where the layers have different widths a tuple of one for each, from the input up."""
        return self._configuration.hidden_size

    @property
    def output_size(self):
        """O, or None without a readout."""
        return self._configuration.output_size

    @property
    def num_layers(self):
        """L."""
        return self._configuration.num_layers

    @property
    def bidirectional(self):
        """Whether each layer also runs from the last step to the first."""
        return self._configuration.bidirectional

    @property
    def batch_first(self):
        """Whether the batch comes before time in x, y and targets."""
        return self._configuration.batch_first

    @property
    def dropout(self):
        """The share of each layer's outputs that training zeroes, except the top layer's."""
        return self._configuration.dropout

    @property
    def learn_state(self):
        """Whether initial states are parameters."""
        return self._configuration.learn_state

    @property
    def dtype(self):
        """The NumPy dtype of parameters, states and results."""
        return self._configuration.dtype

    @property
    def backend(self):
        """"compiled" or "reference"."""
        return self._configuration.backend

    def config(self):
        """Return what, besides the parameters, makes a network equal to this one, as a dict."""
        return self._configuration.as_dict()

    def description(self):
        """Return the `Description` of the network, which other programs' formats are written from.

        Its parameters are the network's own: read-only views.
        """
        from crnn.exchange.description import Description

        own = self._configuration
        return Description(
            own.input_size, list(own.described), dict(self.parameters), skip=own.skip,
            last=own.last, learn_state=own.learn_state, batch_first=own.batch_first,
            metadata=dict(self.metadata))

    def to_keras(self):
        """Return the arrays for a model of Keras's that has the same layers, with ``use_bias``.

        Returns
        -------
        list of ndarray
            Copies, as ``model.set_weights`` takes them: of each layer with weights its kernel, its
            recurrent kernel, in Keras's order of gates, and its bias; of both directions of a
            Bidirectional one; of a GRU with ``reset_after``, as it is here, a bias (2, 3 * H).
            Dropout, Masking and activations have none.

        Raises
        ------
        ValueError
            The network has what Keras's layers have not: learned initial states, an LSTM's
            ``peepholes`` or ``coupled``, or ``clip``.

        Examples
        --------
        >>> import crnn
        >>> net = crnn.LSTM(3, 5, 2, seed=0)
        >>> [each.shape for each in net.to_keras()]
        [(3, 20), (5, 20), (20,), (5, 2), (2,)]

        Keras takes them in the model with these layers::

            model = keras.Sequential([
                keras.Input((None, 3)), keras.layers.LSTM(5, return_sequences=True),
                keras.layers.Dense(2)])
            model.set_weights(net.to_keras())
        """
        from crnn.exchange import keras

        return keras.to_arrays(self.description())

    def to_torch(self, names=None, *, initial_state=None):
        """Return the parameters as a state dict of PyTorch's has them.

        Layers of one kind and width that follow each other are one module of several layers; each
        `crnn.layers.Dense`, the readout too, is a Linear, and an Embedding an Embedding. What is
        not in parameters (activations, ``skip``, ``last``) is for the ``forward`` of your module.

        Parameters
        ----------
        names : list of str, optional
            What each module is called, from the input up; "" for a module that is no attribute of
            another. Default: "rnn", "gru", "lstm", "fc", "emb", and from the second of a kind on
            "fc2" and so on.
        initial_state : str or tuple of str, optional
            What arrays (L * D, 1, H) of learned initial states are called, h, and of LSTMs h and c:
            ("h0", "c0").

        Returns
        -------
        dict of str to ndarray
            Copies. The bias b_h is bias_ih; bias_hh is 0, but for a GRU's b_hn.

        Raises
        ------
        ValueError
            PyTorch's layers cannot compute the same: ``reset_after=False``, another candidate or
            nonlinearity of gated cells, hard gates, peepholes, ``coupled``, ``clip``, masks; or
            names are not one for each module; or states are learned and have no names.

        Examples
        --------
        >>> import crnn
        >>> state = crnn.LSTM(3, 5, 2, seed=0).to_torch(["lstm", "head"])
        >>> [(name, each.shape) for name, each in state.items()][:2]
        [('lstm.weight_ih_l0', (20, 3)), ('lstm.weight_hh_l0', (20, 5))]

        A module with ``self.lstm = nn.LSTM(3, 5)`` and ``self.head = nn.Linear(5, 2)`` takes them::

            module.load_state_dict({name: torch.tensor(each) for name, each in state.items()})
        """
        from crnn.exchange import torch_arrays

        return torch_arrays.state_dict(self.description(), names, initial_state)

    def to_onnx(self, path, *, opset=14, state=None):
        """Write the network as an ONNX model in float32, whole or not at all.

        Its input x is (T, B, I), or (B, T, I) with the batch first, and where the network begins
        with an embedding int64 tokens (T, B); T and B are open. Its outputs are y, which is what
        the network puts out when it is called, and the last states.

        The states are inputs h_0 and, of LSTMs, c_0 (L * D, B, H), and outputs h_n and c_n: give
        the outputs of one call to the next to go on, and zeros to begin. Where `state` is a list,
        each array has its own input and output, h_0_l0 and h_n_l0, h_0_l0_reverse and so on.

        It needs the package onnx. ONNX Runtime computes the same to float32's precision.

        Parameters
        ----------
        path : str or os.PathLike
        opset : int
            The version of ONNX's operators, 14 to 22.
        state : bool, optional
            Whether the states are inputs. If not, each call begins with zeros, or with the learned
            states. Default: they are, unless they are learned.

        Raises
        ------
        ValueError
            ONNX cannot hold the network: it has masks; or opset is not as above.
        OSError
            It cannot be written. A file that was there is then still there.
        ImportError
            The package onnx is missing.

        See Also
        --------
        crnn.from_onnx : the way back.

        Examples
        --------
        >>> import crnn
        >>> import onnx, os, tempfile
        >>> net = crnn.LSTM(3, 5, 2, seed=0)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     net.to_onnx(os.path.join(folder, "net.onnx"))
        ...     graph = onnx.load(os.path.join(folder, "net.onnx")).graph
        >>> [each.name for each in graph.input], [each.name for each in graph.output]
        (['x', 'h_0', 'c_0'], ['y', 'h_n', 'c_n'])
        """
        from crnn.exchange import onnx_writing

        onnx_writing.write(path, self.description(), opset, state)

    @classmethod
    def from_config(cls, config, backend):
        """Return a network of what `config` returned; its user was warned of it before."""
        arguments = {name: value for name, value in config.items() if name != "cell"}
        with remaking():
            return cls(**arguments, backend=backend)

    def without_dropout(self, *, backend=None, **changes):
        """Return a network like this one that drops nothing out, with parameters of its own.

        ``changes`` are of its configuration.
        """
        return self.from_config(
            self.config() | {"dropout": 0.0} | changes, backend or self.backend)

    def __repr__(self):
        return str(self._configuration)

    # --- parameters ----------------------------------------------------------------------------

    @property
    def parameters(self):
        """Ordered mapping from names to read-only views; assignment copies in."""
        return self._parameters

    @property
    def num_parameters(self):
        """The length of ``vector``."""
        return self._parameters.layout.size

    @property
    def vector(self):
        """All parameters as one read-only vector; assignment copies in."""
        return self._parameters.vector

    @vector.setter
    def vector(self, value):
        self._parameters.vector = value

    # --- whole sequences -----------------------------------------------------------------------

    def __call__(self, x, state=None, *, lengths=None, last=None):
        """Run over a whole sequence, for inference: no tape is kept.

        Parameters
        ----------
        x : array_like, or list of arrays
            (T, B, I) floats, or (T, B) integer tokens, which stand for one-hot rows. Without B
            for one sequence. Or B sequences of any lengths, a list of arrays (T_i, I) or of
            tokens (T_i,). With ``batch_first`` B comes before T, here and in all that lies as x
            does.
        state : array_like, optional
            The initial state (L * D, B, H), or (L * D, H) for one sequence. Where the layers have
            different widths, this and all states below are lists of L * D arrays, (B, H) or (H,).
            The state of an LSTM is a tuple of two such, h and c. Default: zeros, or what
            ``learn_state`` has learned.
        lengths : array_like of int, optional
            (B,): how many of the T steps each sequence has. Beyond them y is 0. A list has its
            own.
        last : bool, optional
            Whether only each sequence's last outputs are wanted, and only they are computed (many
            to one): those of its last step. With two directions the readout then reads each
            direction's own last state: of the second one, that at the sequence's first step. So
            do losses with a target for each sequence. Where a sequence has no step, y is 0.
            Default: False, or what a `Sequential` was told.

        Returns
        -------
        y : ndarray (T, B, O) or (T, O), or a list of arrays (T_i, O) where x is a list
            (B, O) or (O,) if ``last``. A NaN in x makes y NaN from its step on, in that sequence
            (in two directions in all of it), and the state.
        state : ndarray (L * D, B, H) or (L * D, H), or a tuple of two
            Each sequence's last state.

        Raises
        ------
        TypeError, ValueError, IndexError
            If an argument is not as above; IndexError for a token out of range.
        """
        passes = self._passes_over_arrays if type(x) is np.ndarray else self._passes
        last_only = self._gives_last if last is None else checks.flag(last, "last")
        return passes.infer(x, state, lengths, last_only)

    def forward(self, x, state=None, *, lengths=None):
        """Run over a whole sequence and keep the hidden states, for `backward`; with dropout.

        Parameters, errors and the first two results are those of calling the network.

        Returns
        -------
        y : ndarray (T, B, O) or (T, O), or a list of arrays
        state : ndarray (L * D, B, H) or (L * D, H), or a tuple of two
        cache : Cache
        """
        passes = self._passes_over_arrays if type(x) is np.ndarray else self._passes
        y, state, tape = passes.forward(x, state, lengths)
        return y, state, Cache(self, tape)

    def backward(self, cache, dy, dstate=None, *, wants_x=True):
        """Backpropagate through time.

        Parameters
        ----------
        cache : Cache
            From `forward` of this network, its parameters not changed since.
        dy : array_like, or list of array_like
            The gradient of each output, in the form of y. What it says of steps beyond a
            sequence's length is ignored.
        dstate : array_like, optional
            The gradient of the last state, in its shape. Default: zeros.
        wants_x : bool, optional
            Whether the gradient of x is wanted, too; see `loss_and_gradients`.

        Returns
        -------
        Gradients

        Raises
        ------
        TypeError
            If cache is not from `forward`, or dy, dstate or wants_x is of a wrong kind.
        ValueError
            If cache is another network's or the parameters have changed, or a shape is wrong.
        """
        if not isinstance(cache, Cache):
            raise TypeError(f"cache is a {type(cache).__name__}; what forward returned is wanted")
        tape = cache.tape_of(self)
        passes = self._passes if isinstance(tape, ArrangedTape) else self.engine
        return passes.backward(tape, dy, dstate, checks.flag(wants_x, "wants_x"))

    def loss(
        self, x, targets, state=None, *, loss="softmax", reduction="mean", lengths=None,
        sample_weight=None, class_weight=None, missing="error",
    ):
        """Return the loss over a whole sequence, keeping no tape.

        Parameters
        ----------
        x, state, lengths
            As for calling the network.
        targets : array_like
            "softmax": integers (T, B), -1 meaning no target here; the others: (T, B, O). Without
            T for each sequence's last outputs only (many to one; see `last` of calling the
            network), without B for one sequence. For a list of sequences: a list of (T_i,) or
            (T_i, O), or (B,) or (B, O) for the last outputs. "quantile" and "gaussian" take several
            outputs for each target, so that n = O / Q or n = O / 2 stands for O here.
        loss : str, crnn.Huber or crnn.Quantile
            - "softmax": negative log-likelihood of classes, in nats;
            - "sigmoid": binary cross-entropy of each output, in nats; targets are probabilities,
              from 0 to 1;
            - "mse": squared error;
            - "mae": absolute error;
            - "huber", or ``crnn.Huber(delta)``: half the squared error up to delta (1), absolute
              error beyond;
            - "quantile", or ``crnn.Quantile(*levels)``: pinball loss of Q levels (0.1, 0.5, 0.9),
              each with a block of n outputs, ``np.split(y, Q, axis=-1)``, the lowest level first;
            - "gaussian": negative log-likelihood of normal distributions, less log(2 * pi) / 2,
              where ``mean, log_variance = np.split(y, 2, axis=-1)``. A log_variance below -1400 or
              so gives an infinite loss, or NaN.

            `crnn.reference.LOSSES` has the formulas.
        reduction : {"mean", "sum"}
            The mean is over the targets whose weight is not 0, of which each of a step's numbers is
            one (and of "quantile" each level). Without any, the loss is 0.
        sample_weight : array_like, optional
            (T, B), or (B,) for all steps of each sequence; (B,) only where targets are for the last
            outputs; for a list of sequences a list of (T_i,), or (B,). It multiplies loss and
            gradients. A target of weight 0 is missing: nothing of it counts, not even a NaN.
            The mean is over the number of targets, not over the sum of weights: then what a
            sequence counts would depend on who else is in its mini-batch.
        class_weight : mapping of int to float, or "balanced", optional
            A weight for each class, 1 for those that are left out; it multiplies sample_weight.
            For "softmax", and for "sigmoid" with one output and targets 0 or 1. "balanced": n /
            (classes * count of the class), of the targets given here, so that all classes that
            occur weigh the same together.
        missing : {"error", "skip"}
            What a NaN among targets of numbers means: an invalid number, of which the loss is NaN
            (`crnn.fit` and `crnn.evaluate` refuse it), or ("skip") no target, each of a step's
            numbers on its own.

        Returns
        -------
        loss : float
        state : ndarray (L * D, B, H) or (L * D, H), or a tuple of two
            Each sequence's last one.

        Raises
        ------
        TypeError, ValueError, IndexError
            If an argument is not as above; IndexError for a token in x out of range.
        """
        weights = None
        if not (sample_weight is class_weight is None and missing is ERROR):
            weights = weighting(sample_weight, class_weight, missing)
        passes = self._passes_over_arrays if type(x) is np.ndarray else self._passes
        try:
            return passes.loss(x, targets, state, loss, reduction, lengths, weights)
        except (TypeError, ValueError) as error:
            if "targets" in str(error) and (hint := other_loss(self.metadata, loss)):
                raise type(error)(f"{error}{hint}") from error
            raise

    def loss_and_gradients(
        self, x, targets, state=None, *, loss="softmax", reduction="mean", lengths=None,
        sample_weight=None, class_weight=None, missing="error", wants_x=True,
    ):
        """Return the loss and its gradients: the training pass.

        With dropout, where the network has it. The classes of the cells say how much memory a pass
        takes; with more than one layer, or a second direction, what goes from layer to layer comes
        on top, and for float x the gradient of x. Parameters and errors are those of `loss`, and:

        Parameters
        ----------
        wants_x : bool, optional
            Whether the gradient of x is wanted, too. Without it ``gradients.x`` is None, and all
            other gradients are the same. It takes a product with the transpose of W_xh at every
            step: of wide inputs (I much larger than H) a third of the pass. Tokens have none.

        Returns
        -------
        loss : float
        gradients : Gradients
        state : ndarray (L * D, B, H) or (L * D, H), or a tuple of two

        Examples
        --------
        >>> import crnn
        >>> import numpy as np
        >>> net, x, targets = crnn.GRU(3, 5, 2, seed=0), np.ones((7, 4, 3)), np.zeros((7, 4), int)
        >>> _, grads, _ = net.loss_and_gradients(x, targets)
        >>> _, others, _ = net.loss_and_gradients(x, targets, wants_x=False)
        >>> grads.x.shape, others.x, (grads.vector == others.vector).all().item()
        ((7, 4, 3), None, True)
        """
        wants_x = checks.flag(wants_x, "wants_x")
        weights = None
        if not (sample_weight is class_weight is None and missing is ERROR):
            weights = weighting(sample_weight, class_weight, missing)
        passes = self._passes_over_arrays if type(x) is np.ndarray else self._passes
        return passes.loss_and_gradients(
            x, targets, state, loss, reduction, lengths, weights, wants_x)

    def predict_proba(self, x, *, lengths=None):
        """Return the probabilities of classes, or that each output is 1, after training by `fit`.

        After the loss "softmax", or without a training, they are `crnn.softmax` of the outputs,
        after "sigmoid" 1 / (1 + exp(-y)). They are for each sequence's last outputs if targets were
        (``net.metadata["targets"]``), else for every step.

        Parameters
        ----------
        x, lengths
            As for calling the network.

        Returns
        -------
        ndarray (T, B, O), or (B, O) of the last outputs, or a list of arrays (T_i, O)
            As calling the network returns it; 0 beyond lengths and of a sequence without steps, NaN
            where outputs are.

        Raises
        ------
        TypeError, ValueError, IndexError
            As calling the network does; ValueError if it was trained with another loss.
        """
        loss = self.meaning
        if loss not in PROBABILITIES:
            raise ValueError(
                f"the network's outputs are numbers, as after training with the loss {loss!r}, not"
                " probabilities; predict returns them"
            )
        is_one = loss == self._activation
        return self._predicted(x, lengths, lambda y, _: y if is_one else probabilities(y, loss), 0)

    def predict(self, x, *, lengths=None):
        """Return what a network predicts that `fit` trained.

        After the loss "softmax", or without a training if there are several outputs, numbers of
        classes, those of the largest outputs; after "sigmoid", or if the last layer's activation is
        that, 1 where the probability is above 1/2, else 0; after other losses the outputs. They are
        for each sequence's last outputs if targets were (``net.metadata["targets"]``), else for
        every step.

        Parameters
        ----------
        x, lengths
            As for calling the network.

        Returns
        -------
        ndarray of intp (T, B), or (B,) of the last outputs, or a list of arrays (T_i,)
            As calling the network returns it; of other losses than "softmax" with an axis (O,) at
            the end. Beyond lengths, and of a sequence without steps, classes are -1 and others 0.

        Raises
        ------
        TypeError, ValueError, IndexError
            As calling the network does; ValueError if outputs are NaN, as they are from the first
            NaN in x on. (Calling the network, `predict_proba` and `step` return NaN then.)

        Examples
        --------
        >>> import crnn
        >>> import numpy as np
        >>> x = np.arange(20)[:, None] % 3
        >>> net = crnn.RNN(3, 8, 3, seed=0)
        >>> history = crnn.fit(net, (x, (x + 1) % 3), crnn.Adam(0.05), epochs=30)
        >>> net.predict([np.array([0, 1]), np.array([2])])
        [array([1, 2]), array([0])]
        >>> net.predict_proba(x).shape
        (20, 1, 3)
        """
        loss, limit = self.meaning, 0.0
        if self._activation == "sigmoid":
            limit = 0.5
        beyond = -1 if loss == "softmax" else 0
        return self._predicted(
            x, lengths, lambda y, name: predictions(y, loss, name, limit), beyond)

    @property
    def _activation(self):
        readout = self._configuration.readout
        return "linear" if readout is None else readout.activation

    @property
    def meaning(self):
        """The loss that says what outputs mean: that of a training, or what the activation says."""
        usual = "mse" if self.engine.output_size == 1 else "softmax"  # one number is no classes
        if self._activation in PROBABILITIES:
            usual = self._activation
        return self.metadata.get("loss", usual)

    def _predicted(self, x, lengths, meaning, beyond):
        """Return what outputs mean, in their form, and ``beyond`` where there is no output."""
        last = self.metadata.get("targets", "last" if self._gives_last else "every") == "last"
        if isinstance(x, (list, tuple)) and not x:  # no sequence at all
            return meaning(np.zeros((0, self.engine.output_size), self.dtype), "y") if last else []
        y, _ = self(x, lengths=lengths, last=last)
        if isinstance(y, list):
            return [meaning(each, f"y[{number}]") for number, each in enumerate(y)]
        result = meaning(y, "y")
        if last:
            return replaced(result, self._steps_of(x, lengths, y.ndim == 2) == 0, beyond)
        if lengths is None:
            return result
        batch_first = self.batch_first and y.ndim == 3
        valid = valid_steps(np.asarray(lengths), y.shape[int(batch_first)])
        valid = (valid.T if batch_first else valid).reshape(y.shape[:-1])
        return replaced(result, ~valid, beyond)

    def _steps_of(self, x, lengths, batched):
        """Return how many steps each sequence has, or all of them."""
        if lengths is None and not is_list_of_arrays(x):
            return np.array(np.shape(x)[self.batch_first and batched])
        return np.asarray([len(each) for each in x] if lengths is None else lengths)

    # --- one step at a time --------------------------------------------------------------------

    def step(self, x, out=None):
        """Run one time step on ``net.state``: `Stream.step` of a stream of the network's own."""
        return self._own_stream().step(x, out)

    def run(self, x, out=None):
        """Run a block of time steps on ``net.state``: `Stream.run` of the network's own stream."""
        return self._own_stream().run(x, out)

    def _own_stream(self):
        if self._stream is None:
            raise NoStepsError(
                "a bidirectional network has no steps: its second direction begins at the end of a"
                " sequence; call the network with whole sequences"
            )
        return self._stream

    @property
    def state(self):
        """The state of `step`, (L, H) or (L, B, H), for an LSTM (h, c): copies; see `Stream.state`.

        Assignment copies in. Like everything about steps, it raises `NoStepsError`, an
        AttributeError, if the network is bidirectional.
        """
        return self._own_stream().state

    @state.setter
    def state(self, value):
        self._own_stream().state = value

    def reset(self, batch_size=None, rows=None):
        """Have the state of `step` go back to the initial one: see `Stream.reset`."""
        self._own_stream().reset(batch_size, rows)

    def stream(self, batch_size=None):
        """Return a `Stream`: independent state over the same weights."""
        self._own_stream()
        return Stream(self.engine, batch_size, self.batch_first)

    # --- copies and files ----------------------------------------------------------------------

    def copy(self):
        """Return an equal network of its own, its state included."""
        return copy.deepcopy(self)

    def __reduce__(self):
        arguments = (type(self), self.config(), self.backend, np.array(self.vector),
                     self._state_of_steps(), self.dropout_state)
        return _rebuild, arguments, {"_metadata": dict(self.metadata), "_scaler": self._scaler}

    def _state_of_steps(self):
        """Return what `begin_steps` has another network's steps go on from."""
        stream = self._stream
        if stream is None:
            return None, None
        return None if stream.is_at_start else stream.state, stream.batch_size

    def begin_steps(self, state, batch_size):
        """Go on from another network's steps."""
        if state is not None:
            self.state = state
        elif batch_size is not None:
            self.reset(batch_size)

    @property
    def metadata(self):
        """Texts about the network, a dict of str to str, which `save` writes and `crnn.load` reads.

        `crnn.fit` puts in "loss" and "targets", which are "every" or "last", for `predict`.
        Assignment copies in; it raises TypeError for anything else than a mapping of str to str.
        """
        return self._metadata

    @metadata.setter
    def metadata(self, value):
        is_of_texts = isinstance(value, Mapping) and all(
            isinstance(each, str) for pair in value.items() for each in pair)
        if not is_of_texts:
            raise TypeError(
                f"metadata is {reprlib.repr(value)}; a dict of str to str is wanted, {{}} for none")
        self._metadata = dict(value)

    @property
    def scaler(self):
        """A `crnn.Scaler` that is kept with the network, or None; it is not applied by itself."""
        return self._scaler

    @scaler.setter
    def scaler(self, value):
        if value is not None and (not isinstance(value, Scaler) or value.mean is None):
            raise TypeError(f"scaler is {value!r}; a crnn.Scaler that was fitted, or None")
        self._scaler = value

    @property
    def dropout_state(self):
        """The state of the generator of dropout, a dict; assignment copies in."""
        return self._generator.bit_generator.state

    @dropout_state.setter
    def dropout_state(self, value):
        value = checks.generator_state(value, "dropout_state")
        self._generator.bit_generator.state = value

    def save(self, path, metadata=None):
        """Write the network to a file, whole or not at all.

        The file is safetensors: the parameters by name, the configuration, and a SHA-256 of it
        all, ``metadata``, and ``scaler`` if there is one. It holds nothing that runs. The state of
        `step` is not saved.

        Parameters
        ----------
        path : str or os.PathLike
        metadata : dict of str to str, optional
            Texts for the file's header, besides ``net.metadata``, of which they replace those with
            the same keys. `crnn.load` makes them the ``metadata`` of the network.

        Raises
        ------
        TypeError
            If the dtype is complex128, or metadata does not map str to str.
        ValueError
            If metadata has a key that is crnn's own: config, forecaster, format, scaler,
            sha256, state, training, vocabulary.
        OSError
            If it cannot be written. A file that was there is then still there.
        """
        from crnn.files import kinds

        if not isinstance(metadata, Mapping | None):
            raise TypeError(
                f"metadata is a {type(metadata).__name__}; a dict of str to str is wanted")
        kinds.write(path, self.stored(), self.header(), self.metadata | dict(metadata or {}))

    def to_c(self, path, *, name="net", weights="float", tokens=None):
        """Write the network as one C header, which steps it on any machine, whole or not at all.

        It is C99, and C++, too, and needs nothing but ``math.h`` (with int8 weights also
        ``stdint.h``); nothing is allocated. It defines a struct ``net_state``, one for each stream,
        and the functions ``net_reset(&state)`` and ``net_step(&state, x, y)``: x and y are arrays
        of float, or x is an int, a token. Weights are constants; a comment at the top says how many
        bytes they, a state and the stack take. It computes what `step` does in float32, to 1e-6
        where numbers are about 1; parameters in float64 are rounded.

        Parameters
        ----------
        path : str or os.PathLike
        name : str
            What all names in the header begin with, so that one program can have several.
        weights : {"float", "int8"}
            "int8": each row of a matrix is rounded to int8 with a scale of its own, which takes a
            quarter of the memory; all else stays float32. That changed the outputs of published
            guitar amplifiers (LSTMs of 3 to 16 units) by 0.2 to 4 per cent (root mean square), and
            those of a voice detector (128 units) by 1.6: measure it on your data.
        tokens : bool, optional
            Whether a step takes a token. Default: whether the first layer is an embedding.

        Raises
        ------
        TypeError, ValueError
            If an argument is not as above; the network has two directions; or a parameter is not
            finite in float32.
        OSError
            If it cannot be written. A file that was there is then still there.

        Examples
        --------
        >>> import crnn
        >>> import os, tempfile
        >>> net = crnn.GRU(3, 5, 2, seed=0)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     net.to_c(os.path.join(folder, "model.h"), name="model")
        ...     with open(os.path.join(folder, "model.h")) as file:
        ...         lines = file.read().splitlines()
        >>> [line for line in lines if "model_step(" in line][1]
        'static inline void model_step(model_state *state, const float *x, float *y)'
        """
        from crnn.exchange import c_header

        c_header.write(path, self.description(), name, weights, tokens)

    def stored(self):
        """Return the arrays of a file of the network, by name."""
        return self.parameters

    def header(self):
        """Return what a file of the network has beside its parameters and metadata."""
        scaler = {} if self.scaler is None else {"scaler": self.scaler.as_dict()}
        return {"config": self.config(), **scaler}


def _rebuild(cls, config, backend, vector, steps, dropout_state):
    network = cls.from_config(config, backend)
    network.vector, network.dropout_state = vector, dropout_state
    network.begin_steps(*steps)
    return network

"""What the estimators share: parameters, training, and going on with it."""

import copy
from contextlib import contextmanager
from numbers import Real

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from crnn.base import checks
from crnn.network.cells import BY_OPTION
from crnn.network.scaling import Scaler
from crnn.sklearn.ensemble import Training, outputs, trained
from crnn.sklearn.inputs import Form, read
from crnn.sklearn.samples import Samples, canonical, checked_weights, counting
from crnn.training.history import History
from crnn.training.optimizers import AdamW

PARAMETERS = """
    cell : {"gru", "lstm", "rnn"}
    hidden_size : int, or tuple of int
        Units of each layer; or a number for each, without num_layers.
    num_layers : int
    bidirectional : bool
        Whether a second direction reads each sequence from its end.
    dropout : float
        The share of outputs dropped between layers while training.
    lr : float
        The learning rate at the start, of AdamW. In `fit` it falls to 0 in half a cosine.
    weight_decay : float
        AdamW's.
    clip_norm : float or None
        The largest norm of a gradient.
    epochs : int
        How often `fit` goes through the sequences.
    batch_size : int
    validation_fraction : float
        With patience, the share of sequences that is kept to validate on; of classes evenly.
    patience : int or None
        Stop after so many epochs without a lower validation loss, and keep the best epoch's
        parameters. None: train for all epochs, on all sequences.
    n_estimators : int
        How many networks are trained, each with a seed of its own; predictions are their mean.
    random_state : int, RandomState or None
        It fixes everything random: first parameters, the order of sequences, what is kept to
        validate on, dropout.
    warm_start : bool
        Whether `fit` goes on from the networks of the last `fit`, with their scaling, labels and
        vocabulary, and a new optimizer.
    n_jobs : int or None
        How many of several networks are trained at a time, by joblib. Results have the same bits
        for any number, and any of joblib's backends.
    verbose : int
        Above 0: show a bar for each training (the extra ``cli``).
"""
ATTRIBUTES = """
    net_ : RNN, GRU or LSTM
        The network, or the first of several. ``net_.save(path)`` makes a file of it, with
        ``net_.scaler``, the features' mean and deviation, and the labels.
    nets_ : list
        All of them.
    history_ : crnn.History
        Of the training of net_.
    n_iter_ : int
        Epochs, of the longest training.
    n_features_in_ : int
        The features of a step; of an array (n, T) its T. Not there for tokens.
"""


class SequenceEstimator(BaseEstimator):
    """A network, or several, and how sequences and targets become what it takes.

    Not used by itself. A subclass has ``_every_step`` (whether there is a target for each step of a
    sequence, or one for all) and ``_read_y(y, sequences)``, which returns y's items, and a function
    that makes `Labels` or `Numbers` of those that count.
    """

    _every_step = False

    def __init_subclass__(cls, **options):
        """Put what is said of parameters and attributes of all into the docstring."""
        super().__init_subclass__(**options)
        cls.__doc__ = cls.__doc__.replace("\n    <parameters>\n", PARAMETERS).replace(
            "\n    <attributes>\n", ATTRIBUTES)

    def __init__(
        self, cell="gru", hidden_size=32, num_layers=1, bidirectional=False, dropout=0.0, lr=0.02,
        weight_decay=0.01, clip_norm=1.0, epochs=100, batch_size=16, validation_fraction=0.1,
        patience=None, n_estimators=1, random_state=None, warm_start=False, n_jobs=None, verbose=0,
    ):
        self.cell = cell
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bidirectional = bidirectional
        self.dropout = dropout
        self.lr = lr
        self.weight_decay = weight_decay
        self.clip_norm = clip_norm
        self.epochs = epochs
        self.batch_size = batch_size
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.n_estimators = n_estimators
        self.random_state = random_state
        self.warm_start = warm_start
        self.n_jobs = n_jobs
        self.verbose = verbose

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.input_tags.three_d_array = True
        return tags

    # --- training --------------------------------------------------------------------------------

    def fit(self, X, y, sample_weight=None):
        """Train on sequences.

        Parameters
        ----------
        X : array_like (n, T) or (n, T, I), or list
            See `crnn.sklearn`.
        y : array_like or list
            What belongs to each sequence; see the class.
        sample_weight : array_like (n,), optional
            How often each sequence counts. Only how they compare matters.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError, IndexError
            If X, y, sample_weight or a parameter is not as wanted. What was fitted before is then
            still there.
        """
        with unchanged_if_it_fails(self):
            vars(self).pop("_optimizers", None)
            self._train(X, y, sample_weight, self.warm_start)
        return self

    def _fit_an_epoch(self, X, y, sample_weight, classes=None):
        """Train an epoch more: ``partial_fit``."""
        with unchanged_if_it_fails(self):
            before = self.history_ if hasattr(self, "nets_") else ()
            if not hasattr(self, "_optimizers"):
                self._optimizers, self._generator = [], check_random_state(self.random_state)
            self._train(X, y, sample_weight, True, classes)
            self.history_ = continued(before, self.history_)
            self.n_iter_ = len(self.history_)
        return self

    def _train(self, X, y, sample_weight, goes_on, classes=None):
        """Train on what is given, from the networks there are if there are some and it goes on."""
        is_partial, is_first = hasattr(self, "_optimizers"), not (
            goes_on and hasattr(self, "nets_"))
        samples = self._samples(X, y, sample_weight, is_first, classes)
        random = copy.deepcopy(self._generator) if is_partial else check_random_state(
            self.random_state)
        seeds = random.randint(
            np.iinfo(np.int32).max, size=checks.whole_number(self.n_estimators, "n_estimators"))
        nets = self._networks(seeds.tolist(), samples, is_first)
        optimizers = [AdamW(self.lr, weight_decay=self.weight_decay) for _ in nets]
        if is_partial:
            optimizers[: len(self._optimizers)] = copy.deepcopy(self._optimizers)
            for each in optimizers:
                each.lr = self.lr
        training = Training(
            loss=self._targets.loss, epochs=1 if is_partial else self.epochs,
            schedule="constant" if is_partial else "cosine", batch_size=self.batch_size,
            clip_norm=self.clip_norm, validation_fraction=checks.option(
                "validation_fraction", self.validation_fraction, Real,
                "a number above 0 and below 1", lambda share: 0 < share < 1),
            patience=None if is_partial else self.patience, verbose=self.verbose,
            class_weight=self._targets.class_weight(getattr(self, "class_weight", None), samples),
        )
        samples = self._targets.scaled(samples, is_first)
        samples = samples._replace(sequences=scaled(nets[0], samples.sequences))
        nets, optimizers, histories = trained(
            training, nets, optimizers, samples, seeds.tolist(), self.n_jobs)
        self.nets_, self.net_, self.history_ = nets, nets[0], histories[0]
        self.n_iter_ = max(map(len, histories))
        if is_partial:
            self._optimizers, self._generator = optimizers, random

    def _samples(self, X, y, sample_weight, is_first, classes):
        """Return `Samples` of those sequences that count; learn what X and y are, if first."""
        if y is None:
            raise ValueError(
                f"This {type(self).__name__} estimator requires y to be passed, but the target y is"
                " None")
        sequences = read(X, self, None if is_first else self._form)
        items, targets_of = self._read_y(y, sequences)
        weights = checked_weights(sample_weight, sequences.items, self._every_step)
        numbers = counting(weights)
        sequences, items, weights = (
            sequences._replace(items=[sequences.items[k] for k in numbers]),
            [items[k] for k in numbers], [weights[k] for k in numbers])
        if is_first:
            self._form = Form.of(sequences)
            self._targets = targets_of(items if classes is None else [classes])
            for name in ("classes_", "target_scaler_"):
                vars(self).pop(name, None)
            vars(self).update(self._targets.attributes())
        return canonical(Samples(
            self._form.arrays(sequences), self._targets.encoded(items), weights))

    def _networks(self, seeds, samples, is_first):
        """Return a network for each seed; copies of those that there are already, if not first."""
        cell = BY_OPTION[checks.choice(self.cell, "cell", BY_OPTION)]
        layers = {} if np.ndim(self.hidden_size) else {"num_layers": self.num_layers}
        nets = [
            cell(self._form.width, self.hidden_size, self._targets.output_size, **layers,
                 bidirectional=self.bidirectional, dropout=self.dropout, init="orthogonal",
                 seed=seed)
            for seed in seeds
        ]
        scaler = None
        if self._form.has_tokens:
            for net in nets:
                _silence_unknown(net)
        elif is_first:
            scaler = Scaler().fit(
                samples.sequences, sample_weight=[each.mean() for each in samples.weights])
        else:
            scaler = self.net_.scaler
        for net in nets:
            net.scaler = scaler
            net.metadata |= self._targets.metadata()
        for number, net in enumerate([] if is_first else self.nets_[: len(nets)]):
            if net.config() != nets[number].config():
                raise ValueError(
                    f"training goes on with {net!r}, but the parameters ask for {nets[number]!r};"
                    " set them back, or fit with warm_start=False")
            nets[number] = net.copy()
        return nets

    # --- prediction ------------------------------------------------------------------------------

    def _predicted(self, X):
        """Return the mean over networks of what their outputs mean, and X's `Sequences`."""
        check_is_fitted(self)
        sequences = read(X, self, self._form)
        arrays = scaled(self.net_, self._form.arrays(sequences))
        found = [outputs(net, arrays, last=not self._every_step) for net in self.nets_]
        if not self._every_step:
            return np.mean([self._targets.meaning(y) for y in found], axis=0), sequences
        return [np.mean([self._targets.meaning(y) for y in each], axis=0)
                for each in zip(*found, strict=True)], sequences


class LabelEstimator(SequenceEstimator):
    """One that can have labels. Not used by itself."""

    def __init__(
        self, cell="gru", hidden_size=32, num_layers=1, bidirectional=False, dropout=0.0, lr=0.02,
        weight_decay=0.01, clip_norm=1.0, epochs=100, batch_size=16, validation_fraction=0.1,
        patience=None, class_weight=None, n_estimators=1, random_state=None, warm_start=False,
        n_jobs=None, verbose=0,
    ):
        super().__init__(
            cell, hidden_size, num_layers, bidirectional, dropout, lr, weight_decay, clip_norm,
            epochs, batch_size, validation_fraction, patience, n_estimators, random_state,
            warm_start, n_jobs, verbose)
        self.class_weight = class_weight

    def partial_fit(self, X, y, classes=None, sample_weight=None):
        """Train for an epoch more, from the networks there are if there are some.

        Scaling, vocabulary and labels are those of the first call, be it of this or of `fit`. The
        learning rate is ``lr``, and the optimizer goes on.

        Parameters
        ----------
        X, y, sample_weight : as for `fit`
        classes : array_like, optional
            All labels there will be, in the first call; without it those of y. Later it can be left
            out.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError, IndexError
            As `fit` does; ValueError also for a label that is new. Nothing has changed then.
        """
        if classes is not None and hasattr(self, "classes_") and not np.array_equal(
                np.unique(classes), self.classes_):
            raise ValueError(
                f"classes are {list(classes)}, but those of the first call were"
                f" {self.classes_.tolist()}; leave them out")
        return self._fit_an_epoch(X, y, sample_weight, classes)


@contextmanager
def unchanged_if_it_fails(estimator):
    """Put back an estimator's attributes, if what is done to it meanwhile raises."""
    before = vars(estimator).copy()
    try:
        yield
    except BaseException:
        vars(estimator).clear()
        vars(estimator).update(before)
        raise


def scaled(net, sequences):
    """Return sequences as a network takes them: scaled, in its dtype; tokens as they are."""
    if net.scaler is None:
        return sequences
    return [each.astype(net.dtype, copy=False) for each in net.scaler.transform(sequences)]


def continued(before, after):
    """Return the history of a training and of what followed, numbered on."""
    last = before.rows[-1] if len(before) else {"epoch": 0, "update": 0}
    rows = [row | {name: row[name] + last[name] for name in ("epoch", "update")} for row in after]
    return History([*before, *rows])


def _silence_unknown(net):
    """Make the last token, which is for all that training does not know, a step without input."""
    for name in [name for name in net.parameters if name.startswith("W_xh_l0")]:
        weights = net.parameters[name].copy()
        weights[-1] = 0
        net.parameters[name] = weights

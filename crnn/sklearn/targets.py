"""What y may be: labels, which are classes to the network, or numbers, which it gets scaled."""

import json
from collections.abc import Mapping

import numpy as np

from crnn.base import checks
from crnn.base.weights import balanced
from crnn.network.prediction import softmax
from crnn.network.scaling import Scaler


class Labels:
    """Targets that are one of some labels; the loss is "softmax".

    Parameters
    ----------
    labels : array_like
        All that there are, each once or more often.

    Attributes
    ----------
    classes : ndarray
        The labels in order, each once; a target is the place of its label.
    """

    loss = "softmax"

    def __init__(self, labels):
        self.classes = np.unique(of_one_kind(labels))
        if len(self.classes) < 2:
            raise ValueError(
                f"y has one class only, {self.classes.tolist()}; a classifier needs at least two")

    @property
    def output_size(self):
        return len(self.classes)

    def attributes(self):
        """Return what an estimator shows of it."""
        return {"classes_": self.classes}

    def metadata(self):
        """Return what a network's file says of it, as ``crnn classify`` reads it."""
        return {"classes": json.dumps([str(each) for each in self.classes.tolist()])}

    def encoded(self, y):
        """Return the classes of y's items, each an array of labels."""
        flat = of_one_kind(np.concatenate([np.ravel(each) for each in y]))
        unknown = np.setdiff1d(flat, self.classes)
        if len(unknown):
            raise ValueError(
                f"y has labels that are new, {unknown.tolist()}; known are {self.classes.tolist()}."
                " Pass all there will be as classes in the first call of partial_fit; warm_start"
                " needs those of the first fit")
        codes = np.searchsorted(self.classes, flat)
        ends = np.cumsum([np.size(each) for each in y])[:-1]
        return [part.reshape(np.shape(each))
                for part, each in zip(np.split(codes, ends), y, strict=True)]

    def scaled(self, samples, is_first):
        """Return samples with targets for the network: classes are as they are."""
        return samples

    def class_weight(self, value, samples):
        """Return the weight of each class, by number, so that their mean over targets is 1."""
        if value is None:
            return None
        classes = np.concatenate([each.ravel() for each in samples.targets])
        weights = np.concatenate([np.broadcast_to(weight, target.shape).ravel()
                                  for weight, target in zip(samples.weights, samples.targets,
                                                            strict=True)])
        mass = np.bincount(classes, weights, len(self.classes))
        if isinstance(value, str):
            checks.choice(value, "class_weight", ("balanced",))
            return balanced(mass)
        table = self._table(value)
        mean = (table * mass).sum() / mass.sum()
        if not mean > 0:
            raise ValueError("class_weight is 0 for all classes of y; at least one has to count")
        return dict(enumerate((table / mean).tolist()))

    def _table(self, value):
        if not isinstance(value, Mapping):
            raise TypeError(
                f"class_weight is {value!r}; a dict of labels to weights, 'balanced', or None is"
                " wanted")
        known = self.classes.tolist()
        missing, new = [each for each in known if each not in value], set(value) - set(known)
        if missing and new:
            raise ValueError(
                f"class_weight has {sorted(map(str, new))}, which are no labels of y, and nothing"
                f" for {missing}")
        return checks.sample_weight([value.get(each, 1.0) for each in known], (len(known),))

    def meaning(self, y):
        """Return the probabilities that outputs stand for."""
        return softmax(y)

    def predicted(self, probabilities):
        """Return the labels of largest probability."""
        return self.classes[probabilities.argmax(-1)]


def check_none_is_missing(labels):
    """Raise ValueError if there is None, NaN or pandas' NA among labels."""
    for number, each in enumerate(labels):
        if type(each).__name__ in ("NoneType", "NAType") or (
                isinstance(each, float) and each != each):
            raise ValueError(
                f"y has no label in row {number}, but {each}; leave such sequences out, or give the"
                " label a name")


def of_one_kind(labels):
    """Return labels (n,), all of which can be put into one order."""
    if labels.dtype.kind == "O":
        check_none_is_missing(labels)
        if len({isinstance(each, str) for each in labels}) > 1:
            raise TypeError("y has labels that are strings and others that are not; make all of"
                            " them strings, or all numbers")
    return labels


class Numbers:
    """Targets that are numbers; the loss is "mse", of each brought to mean 0 and deviation 1.

    Parameters
    ----------
    item : ndarray
        One of them.
    is_single : bool
        Whether it has one number, or one for each step, without an axis for outputs.

    Attributes
    ----------
    scaler : Scaler
    """

    loss = "mse"

    def __init__(self, item, is_single):
        self.is_single, self.axes, self.scaler = is_single, np.ndim(item), Scaler()
        self.output_size = 1 if is_single else np.shape(item)[-1]

    def attributes(self):
        """Return what an estimator shows of it."""
        return {"target_scaler_": self.scaler}

    def metadata(self):
        """Return nothing that a network's file would say."""
        return {}

    def encoded(self, y):
        """Return y's items as float64, with an axis for outputs."""
        arrays = [np.asarray(each, np.float64) for each in y]
        for number, each in enumerate(arrays):
            if each.ndim != self.axes or not (
                    self.is_single or each.shape[-1] == self.output_size):
                raise ValueError(
                    f"y[{number}] has shape {each.shape}; {self.output_size} number"
                    f"{'' if self.is_single else 's'} for each target, as in the first fit, and"
                    f" {self.axes} axes are wanted")
        return [each[..., None] if self.is_single else each for each in arrays]

    def scaled(self, samples, is_first):
        """Return samples with targets for the network."""
        rows = [each.reshape(-1, self.output_size) for each in samples.targets]
        if is_first:
            self.scaler.fit(rows, sample_weight=[each.mean() for each in samples.weights])
        return samples._replace(targets=[
            scaled.reshape(each.shape) for scaled, each in zip(
                self.scaler.transform(rows), samples.targets, strict=True)])

    def class_weight(self, value, samples):
        """Return None: there are no classes."""
        if value is not None:
            raise ValueError("class_weight is for labels, and y has numbers; pass sample_weight")

    def meaning(self, y):
        """Return the numbers that outputs stand for."""
        return self.scaler.inverse_transform(y)

    def predicted(self, numbers):
        """Return numbers in the form that y had."""
        return numbers[..., 0] if self.is_single else numbers

"""`SequenceTagger`: a label, or numbers, for each step of each sequence."""

import numpy as np
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils import assert_all_finite, check_consistent_length
from sklearn.utils.metaestimators import available_if

from crnn.sklearn.estimator import LabelEstimator
from crnn.sklearn.samples import checked_weights
from crnn.sklearn.targets import Labels, Numbers


def _has_labels(tagger):
    if isinstance(getattr(tagger, "_targets", None), Numbers):
        raise AttributeError("probabilities are of labels, but y had numbers; call predict")
    return True


class SequenceTagger(LabelEstimator):
    """A label, or numbers, for each step of each sequence, by a recurrent network.

    X can be an array (n, T) or (n, T, I), a list of sequences of unequal lengths, or tokens or
    texts: see `crnn.sklearn`. y has an item for each sequence:

    ====================================================  =========================================
    an item of y                                          is read as
    ====================================================  =========================================
    (T_i,) of integers or strings, or a str of T_i         a label for each step
    (T_i,) of floats                                      a number for each step
    (T_i, O) of any numbers                               O numbers for each step
    ====================================================  =========================================

    Features, and numbers that are targets, are brought to mean 0 and deviation 1 first; the loss of
    numbers is the mean squared error. A step's output depends on the steps up to it, and with
    ``bidirectional=True`` on all. A step without a target is one of weight 0.

    Parameters
    ----------
    <parameters>
    class_weight : dict of labels to float, "balanced" or None
        How much steps of each label count, beside their own weights. "balanced": all labels the
        same together.

    Attributes
    ----------
    classes_ : ndarray
        The labels, in order.
    target_scaler_ : crnn.Scaler
        Of targets that are numbers, their mean and deviation.
    <attributes>

    Notes
    -----
    ``sample_weight`` is (n,), or a list of arrays (T_i,) with a weight for each step. Order, equal
    samples, weights and unknown symbols: as for `SequenceClassifier`.

    Examples
    --------
    >>> from crnn.sklearn import SequenceTagger
    >>> X = ["the cat sat".split(), "a dog ran".split(), "the dog sat".split()]
    >>> y = [["D", "N", "V"]] * 3
    >>> tagger = SequenceTagger(random_state=0).fit(X, y)
    >>> tagger.predict([["a", "cat"]])
    [array(['D', 'N'], dtype='<U1')]
    """

    _every_step = True

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False  # it takes them, but y is another than is usual then
        return tags

    def predict(self, X):
        """Return the label, or the numbers, of each step.

        Parameters
        ----------
        X : as for `fit`

        Returns
        -------
        list of ndarray (T_i,) or (T_i, O), or of X in an array one such array
            As the items of y were.

        Raises
        ------
        NotFittedError, TypeError, ValueError, IndexError
            If nothing has been fitted, or X is not as in `fit`.
        """
        found, sequences = self._predicted(X)
        found = [self._targets.predicted(each) for each in found]
        return np.array(found) if sequences.axes else found

    @available_if(_has_labels)
    def predict_proba(self, X):
        """Return the probability of each label at each step, in the order of ``classes_``.

        Parameters
        ----------
        X : as for `fit`

        Returns
        -------
        list of ndarray (T_i, labels), or of X in an array (n, T, labels)

        Raises
        ------
        NotFittedError, TypeError, ValueError, IndexError
            As for `predict`.
        """
        found, sequences = self._predicted(X)
        return np.array(found) if sequences.axes else found

    def score(self, X, y, sample_weight=None):
        """Return the share of steps whose label is right; of numbers R2, over all steps.

        Parameters
        ----------
        X, y, sample_weight : as for `fit`

        Returns
        -------
        float
        """
        found = self.predict(X)
        items = _items(y, found)
        weights = np.concatenate([
            np.broadcast_to(weight, len(each)) for weight, each in zip(
                checked_weights(sample_weight, found, for_steps=True), found, strict=True)])
        measure = accuracy_score if isinstance(self._targets, Labels) else r2_score
        return float(measure(np.concatenate(items), np.concatenate(found), sample_weight=weights))

    def _read_y(self, y, sequences):
        items = _items(y, sequences.items)
        if items[0].ndim == 1 and not any(each.dtype.kind == "f" for each in items):
            return items, lambda counting: Labels(np.concatenate(counting))
        for number, each in enumerate(items):
            assert_all_finite(each, input_name=f"y[{number}]")
        return items, lambda counting: Numbers(counting[0], counting[0].ndim == 1)


def _items(y, sequences):
    """Return y's items as arrays, one for each sequence, with something for each of its steps."""
    check_consistent_length(sequences, y)
    rows = np.asarray(y) if hasattr(y, "ndim") else y
    items = [np.asarray(list(each) if isinstance(each, str) else each) for each in rows]
    for number, (each, sequence) in enumerate(zip(items, sequences, strict=True)):
        if each.shape[:1] != (len(sequence),) or each.shape[1:] != items[0].shape[1:] or (
                each.ndim > 2):
            raise ValueError(
                f"y[{number}] has shape {each.shape}; for each of the {len(sequence)} steps of"
                f" X[{number}] a label, ({len(sequence)},), or numbers, ({len(sequence)}, O), are"
                " wanted")
    return items

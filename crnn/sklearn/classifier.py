"""`SequenceClassifier`: a label for each sequence."""

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils import assert_all_finite, check_consistent_length, column_or_1d
from sklearn.utils.multiclass import check_classification_targets

from crnn.sklearn.estimator import LabelEstimator
from crnn.sklearn.targets import Labels, check_none_is_missing, of_one_kind


class SequenceClassifier(ClassifierMixin, LabelEstimator):
    """A label for each sequence, by a recurrent network that reads it to its end.

    X can be an array (n, T) or (n, T, I), a list of sequences of unequal lengths, or tokens or
    texts: see `crnn.sklearn`. Features are brought to mean 0 and deviation 1 first.

    Parameters
    ----------
    <parameters>
    class_weight : dict of labels to float, "balanced" or None
        How much sequences of each class count, beside their own weights. "balanced": all classes
        the same together.

    Attributes
    ----------
    classes_ : ndarray
        The labels, in order.
    <attributes>

    Notes
    -----
    Training does not depend on the order of the samples, and a sample with weight 2 is the same as
    one that comes twice: equal sequences with equal targets become one, whose weight is the sum of
    theirs; those of weight 0 are left out; and the rest is put in an order by content, before
    ``random_state`` shuffles it.

    Symbols and tokens that were not among those of the first `fit` are steps without input.

    Examples
    --------
    >>> import numpy as np
    >>> from crnn.sklearn import SequenceClassifier
    >>> rng = np.random.default_rng(0)
    >>> X = [rng.standard_normal((length, 2)) for length in rng.integers(5, 10, 60)]
    >>> y = ["up" if each[0, 0] > 0 else "down" for each in X]       # what the first step says
    >>> classifier = SequenceClassifier(epochs=30, random_state=0).fit(X, y)
    >>> classifier.score(X, y) > 0.95
    True
    >>> classifier.predict_proba(X[:1]).shape
    (1, 2)
    """

    def predict_proba(self, X):
        """Return the probability of each label, in the order of ``classes_``.

        Parameters
        ----------
        X : as for `fit`

        Returns
        -------
        ndarray of float64 (n, labels)

        Raises
        ------
        NotFittedError, TypeError, ValueError, IndexError
            If nothing has been fitted, or X is not as in `fit`.
        """
        return self._predicted(X)[0]

    def predict(self, X):
        """Return the most likely label of each sequence.

        Parameters
        ----------
        X : as for `fit`

        Returns
        -------
        ndarray (n,)

        Raises
        ------
        NotFittedError, TypeError, ValueError, IndexError
            As for `predict_proba`.
        """
        probabilities = self.predict_proba(X)
        return self._targets.predicted(probabilities)

    def _read_y(self, y, sequences):
        if isinstance(y, (list, tuple)):
            check_none_is_missing(y)  # NumPy makes the text "nan" of NaN among strings
        y = column_or_1d(y, warn=True)
        check_consistent_length(sequences.items, y)
        if y.dtype.kind == "f":
            assert_all_finite(y, input_name="y")
        check_classification_targets(of_one_kind(y))
        return y, lambda counting: Labels(np.concatenate([np.ravel(each) for each in counting]))

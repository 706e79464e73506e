"""`SequenceRegressor`: a number, or several, for each sequence."""

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils import check_array, check_consistent_length

from crnn.sklearn.estimator import SequenceEstimator
from crnn.sklearn.targets import Numbers


class SequenceRegressor(RegressorMixin, SequenceEstimator):
    """A number, or several, for each sequence, by a recurrent network that reads it to its end.

    X can be an array (n, T) or (n, T, I), a list of sequences of unequal lengths, or tokens or
    texts: see `crnn.sklearn`. y is (n,) or (n, O). Features, and targets too, are brought to mean 0
    and deviation 1 first; the loss is the mean squared error.

    Parameters
    ----------
    <parameters>

    Attributes
    ----------
    target_scaler_ : crnn.Scaler
        With the mean and the deviation of the targets.
    <attributes>

    Notes
    -----
    Order, equal samples, weights and unknown symbols: as for `SequenceClassifier`.

    Examples
    --------
    >>> import numpy as np
    >>> from crnn.sklearn import SequenceRegressor
    >>> X = np.random.default_rng(0).uniform(size=(100, 6))          # 100 series of 6 steps
    >>> y = 100 * X.mean(1)
    >>> regressor = SequenceRegressor(epochs=50, random_state=0).fit(X, y)
    >>> regressor.score(X, y) > 0.95
    True
    """

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def partial_fit(self, X, y, sample_weight=None):
        """Train for an epoch more, from the networks there are if there are some.

        Scaling and vocabulary are those of the first call, be it of this or of `fit`. The learning
        rate is ``lr``, and the optimizer goes on.

        Parameters
        ----------
        X, y, sample_weight : as for `fit`

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError, IndexError
            As `fit` does. Nothing has changed then.
        """
        return self._fit_an_epoch(X, y, sample_weight)

    def predict(self, X):
        """Return the number, or numbers, of each sequence.

        Parameters
        ----------
        X : as for `fit`

        Returns
        -------
        ndarray of float64 (n,) or (n, O)
            As y was.

        Raises
        ------
        NotFittedError, TypeError, ValueError, IndexError
            If nothing has been fitted, or X is not as in `fit`.
        """
        found, _ = self._predicted(X)
        return self._targets.predicted(found)

    def _read_y(self, y, sequences):
        y = np.asarray(y) if isinstance(y, (list, tuple)) else y  # of objects, if None is in it
        y = check_array(y, ensure_2d=False, dtype="numeric", input_name="y", estimator=self)
        check_consistent_length(sequences.items, y)
        return y, lambda counting: Numbers(counting[0], y.ndim == 1)

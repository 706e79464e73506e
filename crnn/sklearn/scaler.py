"""`SequenceScaler`: features of about the same size, as a step of a pipeline."""

import numpy as np
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from crnn.network.scaling import Scaler
from crnn.sklearn.estimator import unchanged_if_it_fails
from crnn.sklearn.inputs import NUMBERS, Form, read
from crnn.sklearn.samples import checked_weights, counting


def _has_columns(scaler):
    """Whether what it gives can be a data frame: (n, T), unless it was fitted to something else."""
    return not hasattr(scaler, "_form") or scaler._form.is_table


class SequenceScaler(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Brings each feature to mean 0 and standard deviation 1, over all steps of all sequences.

    For pipelines. `SequenceClassifier` and the others scale by themselves, so it is for what comes
    before them, or after. Sequences come out in the form in which they came in: an array (n, T) is
    of one feature, whose mean is over all its numbers. ``set_output`` is for these; what else
    sequences can be stays as it is.

    Attributes
    ----------
    scaler_ : crnn.Scaler
        With ``mean`` and ``std``, each of I numbers.
    n_features_in_ : int
        I, or T of an array (n, T).

    Examples
    --------
    >>> import numpy as np
    >>> from crnn.sklearn import SequenceScaler
    >>> sequences = [np.array([[1.0, 10.0], [3.0, 20.0]]), np.array([[5.0, 30.0]])]
    >>> scaler = SequenceScaler().fit(sequences)
    >>> scaler.scaler_.mean
    array([ 3., 20.])
    >>> scaler.transform(sequences)[1].round(2)
    array([[1.22, 1.22]])
    """

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    @available_if(_has_columns)
    def get_feature_names_out(self, input_features=None):
        """Return the names of the columns of an array (n, T), which are those of X.

        Parameters
        ----------
        input_features : array_like of str (T,), optional
            Names, where X had none.

        Returns
        -------
        ndarray of str (T,)
        """
        return super().get_feature_names_out(input_features)

    def fit(self, X, y=None, sample_weight=None):
        """Take mean and standard deviation of each feature from sequences.

        Parameters
        ----------
        X : array_like (n, T) or (n, T, I), or list
            Of numbers: see `crnn.sklearn`.
        y : object
            Nothing is done with it.
        sample_weight : array_like (n,), optional
            How often each sequence counts.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            If X or sample_weight is not as above.
        """
        with unchanged_if_it_fails(self):
            sequences = self._read(X, None)
            weights = checked_weights(sample_weight, sequences.items)
            numbers = counting(weights)
            self.scaler_ = Scaler().fit(
                [sequences.items[k] for k in numbers],
                sample_weight=[weights[k].item() for k in numbers])
            self._form = Form.of(sequences)
        return self

    def transform(self, X):
        """Return (X - mean) / standard deviation.

        Parameters
        ----------
        X : as for `fit`

        Returns
        -------
        ndarray, or list of ndarray (T_i, I)
            In the form of X; of a list of (T_i,) with an axis for the feature. float32 where X is,
            else float64.

        Raises
        ------
        NotFittedError, TypeError, ValueError
            If nothing has been fitted, or X is not as above or not as in `fit`.
        """
        return self._changed(X, Scaler.transform)

    def inverse_transform(self, X):
        """Return X * standard deviation + mean: what `transform` made X of; as there."""
        return self._changed(X, Scaler.inverse_transform)

    def _changed(self, X, change):
        check_is_fitted(self)
        sequences = self._read(X, self._form)
        found = change(self.scaler_, sequences.items)
        if not sequences.axes:
            return found
        array = np.array(found)
        return array[:, :, 0] if sequences.axes == 2 else array

    def _read(self, X, form):
        sequences = read(X, self, form)
        if sequences.kind != NUMBERS:
            raise ValueError(f"X consists of {sequences.kind}; only numbers are scaled")
        return sequences

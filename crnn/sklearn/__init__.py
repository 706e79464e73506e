"""Estimators for scikit-learn over sequences of unequal lengths (the extra ``sklearn``).

They are imported when somebody asks for them: ``from crnn.sklearn import SequenceClassifier``.

What X may be, for each of them:

==============================================  =================================================
X                                               is read as
==============================================  =================================================
array or data frame (n, T) of any numbers       n series of T steps, of one feature
array (n, T, I) of any numbers                  n sequences of T steps, of I features
list of n arrays or lists (T_i, I)              sequences of their own lengths, of I features
list of n arrays or lists (T_i,) of floats      series of their own lengths, of one feature
list of n arrays or lists (T_i,) of integers    tokens, from 0 to at most a million
list, array or Series of n strings              tokens, a character each
list of n lists or arrays of T_i strings        tokens, a word each
list of n lists of T floats each                the array (n, T)
==============================================  =================================================

A list can also be a tuple, or an array of objects, and its items data frames (T_i, I): the rows of
a long frame with a column of ids are ``[rows[features] for _, rows in frame.groupby("id")]``.
Integers in an array are numbers, in a list of lists they are tokens. A series of one length (n, T)
has T of scikit-learn's features (``n_features_in_``), and can only be followed by others of that
length, as scikit-learn wants it; series in a list may have any.

In processes that joblib starts (loky, Dask, Ray) crnn keeps to the number of threads that these are
given. Where joblib works in threads, an estimator shares this process' threads among them; around a
search in threads put ``with crnn.threads(1):``.
"""

try:
    from crnn.sklearn.classifier import SequenceClassifier
    from crnn.sklearn.regressor import SequenceRegressor
    from crnn.sklearn.scaler import SequenceScaler
    from crnn.sklearn.tagger import SequenceTagger
except ImportError as error:
    if (error.name or "").split(".")[0] == "crnn":
        raise
    raise ImportError(
        "crnn.sklearn needs scikit-learn of at least 1.6; install it with:"
        f" pip install 'crnn[sklearn]' ({error})"
    ) from error

__all__ = ["SequenceClassifier", "SequenceRegressor", "SequenceScaler", "SequenceTagger"]

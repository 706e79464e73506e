"""scikit-learn's own checks of estimators: all of them pass."""

import pytest

pytest.importorskip("sklearn")

from sklearn.utils.estimator_checks import parametrize_with_checks

from crnn.sklearn import SequenceClassifier, SequenceRegressor, SequenceScaler

pytestmark = [pytest.mark.no_backend, pytest.mark.filterwarnings("default")]
FEW = {"epochs": 30}  # which are enough, and quicker than the default


@parametrize_with_checks(
    [SequenceClassifier(**FEW), SequenceRegressor(**FEW), SequenceScaler()])
def test_scikit_learns_checks(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks([SequenceClassifier(), SequenceRegressor()])
def test_scikit_learns_checks_of_the_defaults(estimator, check):
    check(estimator)

"""`SequenceScaler`: `crnn.Scaler` as a step of a pipeline."""

import numpy as np
import pytest

pytest.importorskip("sklearn")

import sklearn
from sequence_data import ragged, same
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import (
    check_global_output_transform_pandas,
    check_set_output_transform,
    check_set_output_transform_pandas,
    check_transformer_get_feature_names_out,
    check_transformer_get_feature_names_out_pandas,
)

import crnn
from crnn.sklearn import SequenceScaler

pytestmark = pytest.mark.no_backend
X, _, _ = ragged()


def test_lists_are_scaled_as_by_a_scaler():
    found, expected = SequenceScaler().fit_transform(X), crnn.Scaler().fit_transform(X)
    assert same(found, expected)
    back = SequenceScaler().fit(X).inverse_transform(found)
    for one, other in zip(back, X, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_arrays_come_back_as_arrays(dtype):
    whole = np.random.default_rng(0).standard_normal((6, 5, 3)).astype(dtype) * 7 + 3
    found = SequenceScaler().fit_transform(whole)
    assert found.shape == whole.shape
    assert found.dtype == whole.dtype
    np.testing.assert_allclose(found.mean((0, 1)), 0, atol=1e-6)
    np.testing.assert_allclose(found.std((0, 1)), 1, rtol=1e-5)
    series = SequenceScaler().fit_transform(whole[:, :, 0])
    assert series.shape == (6, 5)
    np.testing.assert_allclose(series, found[:, :, 0], rtol=1e-5)
    assert SequenceScaler().fit(whole[:, :, 0]).n_features_in_ == 5
    assert SequenceScaler().fit(whole).n_features_in_ == 3


def test_weights():
    weights = np.arange(12.0)
    found = SequenceScaler().fit(X, sample_weight=weights)
    steps = np.repeat(weights, [len(each) for each in X])
    np.testing.assert_allclose(
        found.scaler_.mean, np.average(np.concatenate(X), axis=0, weights=steps))


def test_frames_come_out_where_sequences_are_rows():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(np.arange(12.0).reshape(4, 3), columns=list("abc"), index=list("wxyz"))
    found = SequenceScaler().set_output(transform="pandas").fit_transform(frame)
    assert found.columns.tolist() == list("abc")
    assert found.index.tolist() == list("wxyz")
    assert same(found.to_numpy(), SequenceScaler().fit_transform(frame))


@pytest.mark.parametrize("sequences", [X, np.ones((3, 4, 2))], ids=["list", "array"])
def test_other_sequences_stay_what_they_are(sequences):
    pytest.importorskip("pandas")
    plain = SequenceScaler().fit_transform(sequences)
    with sklearn.config_context(transform_output="pandas"):
        assert same(SequenceScaler().fit_transform(sequences), plain)
        assert not hasattr(SequenceScaler().fit(sequences), "get_feature_names_out")
    pipeline = make_pipeline(SequenceScaler(), SequenceScaler()).set_output(transform="pandas")
    assert type(pipeline.fit_transform(sequences)) is type(plain)


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("check", [
    check_set_output_transform, check_set_output_transform_pandas,
    check_global_output_transform_pandas, check_transformer_get_feature_names_out,
    check_transformer_get_feature_names_out_pandas])
def test_scikit_learns_checks_of_its_own_transformers(check):
    check("SequenceScaler", SequenceScaler())

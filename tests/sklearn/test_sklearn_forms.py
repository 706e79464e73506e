"""What X may be: each form is read as the table in `crnn.sklearn` says."""

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sequence_data import FEW, LABELS, ragged, same

from crnn.sklearn import SequenceClassifier, SequenceRegressor, SequenceTagger

pytestmark = pytest.mark.no_backend
N, T, I = 8, 5, 3  # noqa: E741
Y = LABELS[np.arange(N) % 3]
SERIES = np.random.default_rng(1).standard_normal((N, T))
FEATURES = np.random.default_rng(2).standard_normal((N, T, I))
TOKENS = np.random.default_rng(3).integers(0, 6, (N, T))
WORDS = np.array(["ant", "bee", "cat", "dog", "eel", "fox"])
TEXTS = ["".join(word[0] for word in WORDS[each]) for each in TOKENS]


def fitted(X, y=Y):
    return SequenceClassifier(**FEW).fit(X, y)


def of_pandas(name):
    pandas = pytest.importorskip("pandas")
    return getattr(pandas, name)


FORMS = {  # equal in every form
    "series": [
        lambda: SERIES, lambda: SERIES[:, :, None], lambda: SERIES.tolist(),
        lambda: list(SERIES), lambda: tuple(SERIES), lambda: list(SERIES[:, :, None]),
        lambda: SERIES[:, :, None].tolist(), lambda: SERIES.astype(object),
        lambda: np.asfortranarray(SERIES), lambda: of_pandas("DataFrame")(SERIES),
    ],
    "features": [
        lambda: FEATURES, lambda: list(FEATURES), lambda: FEATURES.tolist(),
        lambda: np.asfortranarray(FEATURES), lambda: [each.tolist() for each in FEATURES],
        lambda: [of_pandas("DataFrame")(each, columns=list("xyz")) for each in FEATURES],
    ],
    "tokens": [
        lambda: list(TOKENS), lambda: TOKENS.tolist(), lambda: list(TOKENS.astype(np.uint8)),
        lambda: [list(map(np.int32, each)) for each in TOKENS],
        lambda: [of_pandas("Series")(each) for each in TOKENS],
    ],
    "characters": [
        lambda: TEXTS, lambda: tuple(TEXTS), lambda: np.array(TEXTS),
        lambda: np.array(TEXTS, object), lambda: of_pandas("Series")(TEXTS),
    ],
    "words": [
        lambda: list(WORDS[TOKENS]), lambda: WORDS[TOKENS].tolist(),
        lambda: [tuple(each) for each in WORDS[TOKENS].tolist()],
    ],
}


@pytest.mark.parametrize("name", FORMS)
def test_one_data_in_many_forms_is_the_same(name):
    first = fitted(FORMS[name][0]())
    expected = first.predict_proba(FORMS[name][0]())
    for form in FORMS[name]:
        found = fitted(form())
        assert same(found.net_.vector, first.net_.vector)
        assert same(found.predict_proba(form()), expected)
        assert same(first.predict_proba(form()), expected)


def test_tokens_and_texts_are_the_same_network():
    of_tokens, of_texts, of_words = fitted(TOKENS.tolist()), fitted(TEXTS), fitted(
        WORDS[TOKENS].tolist())
    assert of_tokens.net_.input_size == 7  # 6, and the one for what is unknown
    assert same(of_tokens.predict_proba(TOKENS.tolist()), of_texts.predict_proba(TEXTS))
    assert same(of_tokens.predict_proba(TOKENS.tolist()), of_words.predict_proba(
        WORDS[TOKENS].tolist()))
    assert of_tokens.net_.scaler is None


def test_a_float32_array_is_as_a_float64_one():
    series = SERIES.astype(np.float32)
    assert same(fitted(series).net_.vector, fitted(series.astype(np.float64)).net_.vector)


def test_integers_of_an_array_are_numbers():
    found = fitted(TOKENS)
    assert found.net_.input_size == 1
    assert same(found.net_.vector, fitted(TOKENS.astype(float)).net_.vector)
    assert fitted([each[:, None] for each in TOKENS]).net_.input_size == 1
    assert fitted([[1.0, 2.0], [1, 2, 3]] * 4).net_.input_size == 1  # a float among integers


def test_integers_that_seem_to_measure_something_are_warned_of():
    with pytest.warns(UserWarning, match="1,001 rows of weights.*as floats"):
        fitted([[1, 2, 1000]] * N)
    fitted(TOKENS.tolist())


def test_how_many_features_there_are():
    X, y, _ = ragged()
    assert fitted(SERIES).n_features_in_ == T
    assert fitted(FEATURES).n_features_in_ == I
    assert fitted(X, y).n_features_in_ == 3
    assert fitted(list(SERIES)).n_features_in_ == 1
    refitted = fitted(SERIES).fit(TEXTS, Y)
    assert not hasattr(refitted, "n_features_in_")


def test_names_of_a_frames_columns_are_kept():
    pandas = pytest.importorskip("pandas")
    found = fitted(pandas.DataFrame(SERIES, columns=list("abcde")))
    assert found.feature_names_in_.tolist() == list("abcde")
    assert not hasattr(found.fit(list(SERIES), Y), "feature_names_in_")


def test_series_may_be_of_another_length_where_they_were_in_a_list():
    of_list, of_array = fitted(list(SERIES)), fitted(SERIES)
    assert of_list.predict(SERIES[:, :2]).shape == (N,)
    assert of_array.predict(list(SERIES[:, :2])).shape == (N,)
    with pytest.raises(ValueError, match=r"2 features.*expecting 5 features"):
        of_array.predict(SERIES[:, :2])


@pytest.mark.parametrize("bidirectional", [False, True])
def test_what_is_unknown_is_a_step_without_input(bidirectional):
    """A network of numbers, all 0 there, gives the same."""
    options = FEW | {"bidirectional": bidirectional}
    texts, tokens = ["ab", "bca", "cc"] * 3, [[0, 1], [1, 2, 0], [2, 2]] * 3
    for X, unknown, empty in ((texts, "axb", "x"), (tokens, [0, 3, 1], [99])):
        found = SequenceClassifier(**options).fit(X, Y[[0, 1, 2] * 3])
        steps = np.zeros((3, found.net_.input_size))
        steps[[0, 2], [0, 1]] = 1
        y = found.net_(steps, last=True)[0].astype(float)
        expected = np.exp(y) / np.exp(y).sum()
        np.testing.assert_allclose(found.predict_proba([unknown])[0], expected, rtol=1e-6)
        assert np.isfinite(found.predict_proba([empty])).all()


def test_a_vocabulary_is_of_what_counts():
    weights = np.ones(9)
    weights[::3] = 0
    X = ["xy", "ab", "ba"] * 3
    found = SequenceClassifier(**FEW).fit(X, Y[[0, 1, 2] * 3], sample_weight=weights)
    assert found.net_.input_size == 3
    assert found.classes_.tolist() == ["level", "up"]


def test_many_sequences_are_predicted_in_parts():
    X, _, sums = ragged(600)
    regressor = SequenceRegressor(**FEW).fit(X[:20], sums[:20])
    whole = regressor.predict(X)
    assert same(whole, np.concatenate([regressor.predict([each]) for each in X]))
    tagger = SequenceTagger(**FEW).fit(X[:20], X[:20])
    assert same(tagger.predict(X), [tagger.predict([each])[0] for each in X])


def test_rows_of_a_long_frame_become_sequences_by_their_ids():
    pandas = pytest.importorskip("pandas")
    x, y, _ = ragged()
    numbers = np.repeat(np.arange(len(x)), [len(each) for each in x])
    frame = pandas.DataFrame(np.concatenate(x), columns=list("abc")).assign(walk=numbers)
    rows = [rows[list("abc")] for _, rows in frame.groupby("walk")]
    found = SequenceClassifier(**FEW).fit(rows, pandas.Series(y))
    assert same(found.predict_proba(rows), SequenceClassifier(**FEW).fit(x, y).predict_proba(x))

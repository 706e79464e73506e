"""What is easily mistaken: it is warned of, or refused with what to do."""

import copy
import pickle
import warnings

import numpy as np
import pytest

import crnn

T, B, I, H, O = 6, 4, 5, 3, 7  # noqa: E741
ROLL = np.eye(I, dtype=np.int64)[[0, 1, 4, 2, 3, 2]]  # one-hot rows (T, I)
PLAIN = np.arange(T * I).reshape(T, I) % I           # tokens (T, B), with B = I


def make(**options):
    return crnn.GRU(I, H, O, seed=0, **options)


# --- integer features ------------------------------------------------------------------------

CLASSES = np.zeros((T, I), int)
USES = {
    "call": lambda net, x: net(x),
    "forward": lambda net, x: net.forward(x),
    "loss": lambda net, x: net.loss(x, CLASSES[: len(x), : x.shape[1]]),
    "loss_and_gradients":
        lambda net, x: net.loss_and_gradients(x, CLASSES[: len(x), : x.shape[1]]),
    "fit": lambda net, x: crnn.fit(
        net, (x, CLASSES[: len(x), : x.shape[1]]), crnn.SGD(0.1), epochs=1),
    "evaluate": lambda net, x: crnn.evaluate(net, (x, CLASSES[: len(x), : x.shape[1]])),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("dtype", ["int64", "int8", "uint8"])
def test_features_that_are_integers_are_warned_of(use, dtype, backend):
    with pytest.warns(UserWarning, match=r"\(6, 5\).*x\.astype\(float\).*x\[:, None\]") as seen:
        USES[use](make(), ROLL.astype(dtype))
    assert {each.filename for each in seen} == {__file__}  # the caller's line, not crnn's


TOKENS = {
    "tokens": PLAIN,
    "more than 0 and 1": np.where(ROLL, 2, 0),
    "another batch": ROLL[:, :4],
    "one step": ROLL[:1],
    "one sequence": np.array([0, 1, 1, 0, 1]),
    "no step": ROLL[:0],
    "zeros, with which streams begin": np.zeros((T, I), int),
    "ones": np.ones((T, I), int),
}


@pytest.mark.parametrize("case", TOKENS)
def test_tokens_are_not_warned_of(case, backend):
    x = TOKENS[case]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make()(x)
        make().loss(x, np.zeros(x.shape, int))
        make().loss(x, np.zeros(x.shape, int))


def test_two_inputs_are_tokens(backend):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        crnn.RNN(2, 3, 2)(np.array([[0, 1], [1, 1]]))


def test_features_as_floats_or_as_a_batch_of_one_are_not_warned_of(backend):
    net = make()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        expected = net(ROLL.astype(float))[0]
        assert np.array_equal(net(ROLL[:, None])[0][:, 0], expected)
        net([ROLL, ROLL[:3]])


def test_a_step_that_looks_like_features_is_warned_of(backend):
    net = make()
    with pytest.warns(UserWarning, match="astype"):
        net.step(ROLL[0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make().step(ROLL[0].astype(float))
        make().step(PLAIN[0])
        stream = make().stream(I)
        stream.step(ROLL[0])                              # a batch was asked for: tokens
        make().step(ROLL[0, :2])
        make().step(1)
        for tokens in ([0] * I, [1] * I, [0, 1, 1, 0, 1]):    # few, and not one alone is 1
            make().step(np.array(tokens))
    with pytest.warns(UserWarning, match=r"\(9,\) and was read as tokens of 9 sequences"):
        crnn.GRU(9, H).step(np.array([0, 1, 1, 0, 1, 0, 0, 0, 1]))


def test_tokens_of_a_list_or_with_lengths_are_not_warned_of(backend):
    net = make()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net([*ROLL[:, :4].T, ROLL[:3, 4]])
        net(ROLL, lengths=[6, 5, 6, 6, 6])


def test_batch_first_looks_at_x_as_it_came(backend):
    with pytest.warns(UserWarning, match=r"\(6, 5\).*tokens of 6 seq.*float\), or x\[None\] as"):
        make(batch_first=True)(ROLL)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net = make(batch_first=True)
        net(PLAIN)
        net(ROLL[:, :3])
        as_many_as_inputs = ROLL.T                        # B = I sequences
        net(as_many_as_inputs)
        net.loss(as_many_as_inputs, np.zeros((I, T), int))
        crnn.fit(net, (as_many_as_inputs, np.zeros((I, T), int)), crnn.SGD(0.1), epochs=1)


@pytest.mark.parametrize("use", [*USES, "step"])
def test_a_network_is_warned_of_once(use, backend):
    net = make()
    with pytest.warns(UserWarning, match=r"\(6, 5\)"):
        net(ROLL)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net(ROLL)
        (USES | {"step": lambda net, x: net.step(x[0])})[use](net, ROLL[:4])


def test_functions_as_losses_and_analyses_warn_too(backend):
    def loss(y, targets):
        return 1.0, np.zeros_like(y)

    with pytest.warns(UserWarning, match="astype"):
        crnn.fit(make(), (ROLL, CLASSES), crnn.SGD(0.1), epochs=1, loss=loss)
    with pytest.warns(UserWarning, match="astype"):
        crnn.gradient_flow(make(), ROLL, CLASSES)


# --- dropout ---------------------------------------------------------------------------------


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("cell", [crnn.RNN, crnn.GRU, crnn.LSTM])
def test_dropout_of_one_layer_is_warned_of(cell, backend):
    with pytest.warns(UserWarning, match=r"dropout=0\.2 does nothing.*num_layers=2") as seen:
        cell(I, H, dropout=0.2)
    assert [each.filename for each in seen] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cell(I, H, dropout=0.2, num_layers=2)
        cell(I, H)
        cell(I, (H, 2), dropout=0.2)


@pytest.mark.filterwarnings("ignore:dropout")
def test_copies_and_files_are_not_warned_of(tmp_path, backend):
    net = make(dropout=0.2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        others = [net.copy(), copy.deepcopy(net), pickle.loads(pickle.dumps(net))]
        net.save(tmp_path / "net.safetensors")
        others.append(crnn.load(tmp_path / "net.safetensors"))
    assert [other.dropout for other in others] == [0.2] * 4
    with pytest.warns(UserWarning, match="does nothing"):
        make(dropout=0.2)


# --- shapes ----------------------------------------------------------------------------------

X = np.zeros((32, 50, I))


def one_hot(*shape):
    return np.eye(O)[np.arange(np.prod(shape)).reshape(shape) % O]


REFUSED = {
    "features": (lambda net: net(X[..., :3]), ValueError,
                 r"\(32, 50, 3\).*T = 32 steps of B = 50 sequences with 3 features.*=5"),
    "features of one sequence": (lambda net: net(X[0, :, :3]), ValueError,
                                 r"one sequence of T = 50 steps.*\(T, B, 5\)"),
    "lengths": (lambda net: net(X, lengths=[50] * 32), ValueError,
                r"\(32,\).*T = 32 steps of B = 50 sequences.*batch_first=True"),
    "targets": (lambda net: net.loss(X, np.zeros(32, int)), ValueError,
                r"\(32,\).*T = 32 steps of B = 50 sequences.*batch_first=True"),
    "state": (lambda net: net(X, np.zeros((1, 32, H))), ValueError,
              r"\(1, 32, 3\).*\(1, 50, 3\).*T = 32 steps of B = 50.*batch_first=True"),
    "targets in training": (
        lambda net: crnn.fit(net, (X, np.zeros(32, int)), crnn.SGD(0.1), epochs=1), ValueError,
        "T = 32 steps of B = 50 sequences.*batch_first=True"),
    "one-hot": (lambda net: net.loss(X, one_hot(32, 50)), ValueError,
                r"\(32, 50, 7\).*argmax\(-1\)"),
    "one-hot integers": (lambda net: net.loss(X, one_hot(50).astype(int)), ValueError,
                         r"\(50, 7\).*argmax\(-1\)"),
    "one-hot of one sequence": (lambda net: net.loss(X[:, 0], one_hot(32)), ValueError,
                                r"\(32, 7\).*argmax\(-1\)"),
    "one-hot of unequal lengths": (
        lambda net: net.loss([X[:9, 0], X[:5, 0]], [one_hot(9), one_hot(5)]), ValueError,
        r"argmax\(-1\), in a list that of each"),
    "one-hot rows, one a sequence, as lists": (
        lambda net: net.loss([X[:9, 0], X[:5, 0]], one_hot(2).tolist()), ValueError,
        r"x\[0\] has 9 steps; .*one-hot rows.*np.argmax\(targets, axis=-1\)"),
    "several classes": (lambda net: net.loss(X, 1 - one_hot(32, 50)), ValueError,
                        "rows of 0 and 1, .*loss='sigmoid'"),
    "several classes, or none": (lambda net: net.loss(X, np.zeros((50, O), int)), ValueError,
                                 "rows of 0 and 1, .*loss='sigmoid'"),
    "classes from 1": (
        lambda net: net.loss(X, np.arange(1, 1 + 32 * 50).reshape(32, 50) % O + 1), ValueError,
        "class 7; .*0 to 6, .*from 1 take targets - 1"),
    "features first": (lambda net: net(X[:, 0].T), ValueError, r"axis 0, pass x\.T$"),
    "features in the middle": (lambda net: net(np.moveaxis(X, 2, 1)), ValueError,
                               r"axis 1, pass np\.moveaxis\(x, 1, -1\)$"),
    "features first, in a list": (lambda net: net([X[:9, 0].T, X[:5, 0].T]), ValueError,
                                  r"x\[1\] has shape \(5, 5\).*pass each one's \.T"),
    "a number a step, of unequal lengths": (
        lambda net: net.loss([X[:9, 0], X[:5, 0]], [np.ones(9), np.ones(5)], loss="mse"),
        ValueError, r"targets\[0\] has shape \(9,\), a number for each step; .*\[:, None\]"),
    "lists of unequal lengths": (lambda net: net([[1.0, 2.0], [3.0]]), ValueError,
                                 "^x is no array, but a list whose items have un.*np.asarray"),
    "lists of unequal lengths in training": (
        lambda net: crnn.fit(net, (X, [[1, 2], [3]]), crnn.SGD(0.1), epochs=1), ValueError,
        "^data: targets is no array, but a list whose items have unequal lengths. Those of"),
    "batches": (lambda net: net.predict(crnn.batches([X[:9, 0]], [0])), TypeError,
                "crnn.batches returns is for crnn.fit.*a list of arrays"),
    "float classes": (lambda net: net.loss(X, np.zeros((32, 50))), TypeError,
                      r"float64.*integers.*astype\(int\)"),
    "strings": (lambda net: net(["abc", "de"]), TypeError, "vocabulary.*encode"),
    "a string": (lambda net: net("abc"), TypeError, "vocabulary.*encode"),
    "ragged": (lambda net: net([np.zeros(3), np.zeros(4)]), ValueError, r"list of arrays.*None"),
    "numbers without a loss": (lambda net: net.loss(X, np.full((32, 50, O), 0.5)), ValueError,
                               "numbers are for another loss, such as loss='mse'"),
    "numbers without an axis": (
        lambda net: crnn.GRU(I, H, 1).loss(X, np.zeros((32, 50)), loss="mse"), ValueError,
        r"of one number each: targets\[\.\.\., None\]"),
    "numbers without an axis, in a list": (
        lambda net: crnn.GRU(I, H, 1).loss([X[:, 0]] * 3, [np.zeros(32)] * 3, loss="mse"),
        ValueError, r"a number for each step, in a list: \[:, None\] of each"),
    "last numbers without an axis": (
        lambda net: crnn.GRU(I, H, 2).loss(X, np.zeros(50), loss="gaussian"), ValueError,
        r"of one number each: targets\[\.\.\., None\]"),
    "one feature": (lambda net: crnn.GRU(1, H)(np.zeros(9)), ValueError, r"\(9,\).*x\[:, None\]"),
    "a batch of one feature": (lambda net: crnn.GRU(1, H)(np.zeros((9, 4))), ValueError,
                               r"4 features each \(.*x\[\.\.\., None\]"),
    "ragged lists": (lambda net: net([[0, 1], [2]]), ValueError, "list of arrays.*np.asarray"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_with_what_to_do(case, backend):
    action, kind, message = REFUSED[case]
    with pytest.raises(kind, match=message):
        action(make())


@pytest.mark.no_backend
@pytest.mark.parametrize("sizes", [range(3, 5), np.array([3, 4])], ids=["range", "array"])
def test_widths_are_a_tuple_or_a_list(sizes):
    with pytest.raises(TypeError, match=r"hidden_size is .*tuple or list"):
        crnn.RNN(I, sizes)


@pytest.mark.parametrize("metadata", ["abc", ["ab"], 3, {"a": 1}, {1: "a"}])
def test_metadata_of_another_kind_is_a_type_error(metadata, tmp_path, backend):
    with pytest.raises(TypeError, match="metadata"):
        make().save(tmp_path / "net.safetensors", metadata=metadata)
    assert not list(tmp_path.iterdir())

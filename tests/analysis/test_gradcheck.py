"""`gradcheck`: near rounding where gradients are right, large and in the right place elsewhere."""

import numpy as np
import pytest

import crnn

T, B, I, H, O = 7, 4, 3, 5, 2  # noqa: E741
PARAMETERS = ["W_xh_l0", "W_hh_l0", "b_h_l0", "W_hy", "b_y"]
STATE = np.random.default_rng(4).uniform(-0.5, 0.5, (1, B, H))
X = np.random.default_rng(5).standard_normal((T, B, I))
TOKENS = np.random.default_rng(6).integers(0, I, (T, B))
CLASSES = np.random.default_rng(7).integers(0, O, (T, B))
NUMBERS = np.random.default_rng(8).uniform(0, 1, (T, B, O))
LENGTHS = [7, 1, 4, 6]
CASES = {
    "features": (X, CLASSES, {}),
    "state": (X, CLASSES, {"state": STATE}),
    "tokens": (TOKENS, CLASSES, {"state": STATE}),
    "one sequence": (X[:, 0], CLASSES[:, 0], {"state": STATE[:, 0]}),
    "lengths": (X, CLASSES, {"state": STATE, "lengths": LENGTHS}),
    "many to one": (X, CLASSES[0], {"state": STATE}),
    "many to one, lengths": (TOKENS, CLASSES[0], {"lengths": LENGTHS}),
    "no target at some steps": (X, np.where(TOKENS == 0, -1, CLASSES), {}),
    "sum": (X, CLASSES, {"state": STATE, "reduction": "sum"}),
    "sigmoid": (X, NUMBERS, {"state": STATE, "loss": "sigmoid"}),
    "mse": (X, NUMBERS, {"state": STATE, "loss": "mse", "lengths": LENGTHS}),
}


def make(dtype="float64", **options):
    return crnn.RNN(I, H, O, dtype=dtype, seed=2, **options)


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
@pytest.mark.parametrize(("x", "targets", "options"), CASES.values(), ids=CASES)
def test_right_gradients(x, targets, options, nonlinearity):
    errors = crnn.gradcheck(make(nonlinearity=nonlinearity), x, targets, **options)
    tokens = x is TOKENS
    assert list(errors) == [*PARAMETERS, "state"] + ["x"] * (not tokens)
    # sums of at most T*B = 28 products, of a relative error of eps each
    np.testing.assert_array_less(list(errors.values()), 28 * 20 * np.finfo(float).eps)
    assert all(type(error) is float for error in errors.values())


def test_the_state_of_an_lstm_may_be_a_list():
    net, state = crnn.LSTM(I, H, O, dtype="float64", seed=2), (STATE, 2 * STATE)
    errors = crnn.gradcheck(net, X, CLASSES, list(state))
    assert list(errors) == [*PARAMETERS, "state", "state c", "x"]
    assert errors == crnn.gradcheck(net, X, CLASSES, state)


@pytest.mark.parametrize(("x", "targets", "options"), CASES.values(), ids=CASES)
def test_right_gradients_in_float32(x, targets, options):
    errors = crnn.gradcheck(make("float32"), x, targets, **options)
    np.testing.assert_array_less(list(errors.values()), 1e-5)
    assert max(errors.values()) > 1e-9  # it is float32 that was looked at


def test_without_a_readout():
    net = crnn.RNN(I, H, dtype="float64", seed=2)
    targets = np.random.default_rng(9).standard_normal((T, B, H))
    errors = crnn.gradcheck(net, X, targets, loss="mse")
    assert list(errors) == [*PARAMETERS[:3], "state", "x"]
    assert max(errors.values()) < 1e-12


@pytest.mark.parametrize("name", [*PARAMETERS, "state", "x"])
@pytest.mark.parametrize("wrong", ["one entry", "1 per mille", "zero", "swapped sign"])
def test_a_wrong_gradient_shows_in_its_own_place(monkeypatch, name, wrong):
    right = crnn.RNN.loss_and_gradients

    def planted(self, *args, **kwargs):
        loss, gradients, state = right(self, *args, **kwargs)
        array = gradients.parameters.get(name)
        array = getattr(gradients, name) if array is None else array
        if wrong == "one entry":
            array.flat[np.abs(array).argmax()] *= 1.5
        else:
            array *= {"1 per mille": 1.001, "zero": 0, "swapped sign": -1}[wrong]
        return loss, gradients, state

    monkeypatch.setattr(crnn.RNN, "loss_and_gradients", planted)
    errors = crnn.gradcheck(make(), X, CLASSES, STATE)
    expected = {"one entry": 0.5, "1 per mille": 0.001, "zero": 1.0, "swapped sign": 2.0}[wrong]
    np.testing.assert_allclose(errors.pop(name), expected, rtol=1e-9)
    assert max(errors.values()) < 1e-12


def test_a_first_step_left_out_shows(monkeypatch):
    right = crnn.RNN.loss_and_gradients

    def planted(self, x, targets, state=None, **options):
        _, gradients, _ = right(self, x, targets, state, **options)
        loss, part, last = right(self, x, targets, np.zeros((1, B, H)), **options)
        gradients.parameters["W_hh_l0"][...] = part.parameters["W_hh_l0"]
        return loss, gradients, last

    monkeypatch.setattr(crnn.RNN, "loss_and_gradients", planted)
    assert crnn.gradcheck(make(), X, CLASSES, STATE)["W_hh_l0"] > 1e-4


@pytest.mark.parametrize("entries", [1, 4, 1000])
def test_max_entries(monkeypatch, entries):
    calls, loss = [], crnn.RNN.loss

    def counted(self, *args, **kwargs):
        calls.append(self.dtype)
        return loss(self, *args, **kwargs)

    monkeypatch.setattr(crnn.RNN, "loss", counted)
    crnn.gradcheck(make(), X, CLASSES, max_entries=entries)
    sizes = [I * H, H * H, H, H * O, O, B * H, T * B * I]
    assert calls == [np.complex128] * sum(min(size, entries) for size in sizes)


def test_both_sides_get_the_same_options(monkeypatch):
    """Or right gradients of another loss would do."""
    seen = []

    def spy(function):
        def spied(self, *args, **options):
            seen.append(options)
            return function(self, *args, **options)
        return spied

    for name in ("loss", "loss_and_gradients"):
        monkeypatch.setattr(crnn.RNN, name, spy(getattr(crnn.RNN, name)))
    options = {"loss": "mse", "reduction": "sum", "lengths": LENGTHS, "class_weight": None,
               "sample_weight": [1, 0, 2, 1], "missing": "skip"}
    crnn.gradcheck(make(), X, NUMBERS, max_entries=1, **options)
    assert len(seen) > 7
    assert all(each == options for each in seen)


def test_the_seed_draws_the_entries():
    draws = [crnn.gradcheck(make("float32"), X, CLASSES, max_entries=2, seed=s) for s in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]


def test_nothing_is_changed():
    net, x, state = make(), X.copy(), STATE.copy()
    net.state = STATE[:, 0]
    before = net.vector.copy()
    crnn.gradcheck(net, x, CLASSES, state)
    assert np.array_equal(net.vector, before)
    assert np.array_equal(net.state, STATE[:, 0])
    assert np.array_equal(x, X)
    assert np.array_equal(state, STATE)


def test_no_target_at_all_is_no_error():
    errors = crnn.gradcheck(make(), X, np.full((T, B), -1))
    assert set(errors.values()) == {0.0}


def test_bad_arguments_are_refused_as_by_the_network():
    with pytest.raises(ValueError, match="features"):
        crnn.gradcheck(make(), X[..., :2], CLASSES)
    with pytest.raises(ValueError, match="loss is 'hinge'"):
        crnn.gradcheck(make(), X, CLASSES, loss="hinge")

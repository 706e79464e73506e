"""Lists of sequences of unequal lengths: every result is that of each sequence alone."""

import cell_networks as cells
import numpy as np
import pytest
from cell_networks import H, I, O, arrays, build, each_cell, floats_or_tokens

import crnn

LENGTHS = (4, 1, 6, 3)
T, B = max(LENGTHS), len(LENGTHS)


def draw_list(rng, net, tokens=False):
    """Return sequences, their targets, a state, and gradients of the outputs and of the state."""
    sequences = [cells.draw_input(rng, net, tokens=tokens, shape=(n,)) for n in LENGTHS]
    targets = [rng.integers(-1, O, n) for n in LENGTHS]
    dy = [rng.standard_normal((n, O)) for n in LENGTHS]
    return sequences, targets, cells.draw_state(rng, net, B), dy, cells.draw_state(rng, net, B)


def one(state, number):
    return cells.like(state, [each[:, number] for each in arrays(state)])


def same_bits(ours, theirs):
    assert cells.identity(ours) == cells.identity(theirs)


def same(ours, theirs, backend):
    """Check for the same bits, or of the reference, whose products NumPy splits, nearly so."""
    if backend == "compiled":
        same_bits(np.ascontiguousarray(ours), np.ascontiguousarray(theirs))
    else:
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-14)


@each_cell
@floats_or_tokens
@pytest.mark.parametrize(("layers", "both"), [(1, False), (2, True)])
def test_results_are_those_of_each_sequence_alone(cell, layers, both, tokens, rng, backend):
    net = build(cell, layers, both)
    sequences, targets, state, dy, dstate = draw_list(rng, net, tokens)
    y, last = net(sequences, state)
    y_forward, _, cache = net.forward(sequences, state)
    gradients = net.backward(cache, dy, dstate)
    options = {"reduction": "sum"}
    loss, grads, last_trained = net.loss_and_gradients(sequences, targets, state, **options)
    loss_alone, grad_alone, backward_alone = 0, 0, 0
    assert [type(each) for each in (y, y_forward)] == [list, list]
    for k, sequence in enumerate(sequences):
        y_k, last_k = net(sequence, one(state, k))
        same(y[k], y_k, backend)
        same(y_forward[k], y_k, backend)
        for ours in (last, last_trained):
            for a, b in zip(arrays(one(ours, k)), arrays(last_k), strict=True):
                same(a, b, backend)
        alone = net.backward(net.forward(sequence, one(state, k))[2], dy[k], one(dstate, k))
        loss_k, trained, _ = net.loss_and_gradients(
            sequence, targets[k], one(state, k), **options)
        for found, found_alone in ((gradients, alone), (grads, trained)):
            if not tokens:
                same(found.x[k], found_alone.x, backend)
            for a, b in zip(arrays(one(found.state, k)), arrays(found_alone.state), strict=True):
                same(a, b, backend)
        loss_alone, grad_alone = loss_alone + loss_k, grad_alone + trained.vector
        backward_alone = backward_alone + alone.vector
    assert loss == pytest.approx(loss_alone, rel=1e-12)
    assert net.loss(sequences, targets, state, **options)[0] == loss
    np.testing.assert_allclose(grads.vector, grad_alone, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(gradients.vector, backward_alone, rtol=1e-9, atol=1e-12)
    if tokens:
        assert gradients.x is grads.x is None


def test_the_mean_is_over_the_valid_targets_of_all(rng, backend):
    net = build("GRU")
    sequences, targets, *_ = draw_list(rng, net)
    count = sum(int((each >= 0).sum()) for each in targets)
    total = sum(net.loss(x, t, reduction="sum")[0]
                for x, t in zip(sequences, targets, strict=True))
    assert net.loss(sequences, targets)[0] == pytest.approx(total / count, rel=1e-12)
    values = [rng.standard_normal((n, O)) for n in LENGTHS]
    squares = sum(((net(x)[0] - v) ** 2).sum() for x, v in zip(sequences, values, strict=True))
    expected = squares / (sum(LENGTHS) * O)
    assert net.loss(sequences, values, loss="mse")[0] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("form", [list, tuple, np.array])
def test_targets_for_the_last_steps(form, rng, backend):
    net = build("LSTM")
    sequences, *_ = draw_list(rng, net)
    classes = rng.integers(0, O, B)
    alone = [net.loss(x, c)[0] for x, c in zip(sequences, classes, strict=True)]
    assert net.loss(sequences, form(classes.tolist()))[0] == pytest.approx(np.mean(alone))
    values = rng.standard_normal((B, O))
    alone = [net.loss(x, v, loss="mse")[0] for x, v in zip(sequences, values, strict=True)]
    given = form(list(values))
    assert net.loss(sequences, given, loss="mse")[0] == pytest.approx(np.mean(alone))


@pytest.mark.parametrize("steps", [B, B + 1], ids=["as many steps as sequences", "other steps"])
def test_an_array_beside_a_list_has_the_sequences_first(steps, rng, backend):
    net = build("GRU")
    sequences = [rng.standard_normal((steps, I)) for _ in range(B)]
    classes, values = rng.integers(0, O, (B, steps)), rng.standard_normal((B, steps, O))
    weights = rng.random((B, steps))
    for targets, loss in ((classes, "softmax"), (values, "mse")):
        options = {"loss": loss, "reduction": "sum"}
        expected = [net.loss(x, t, sample_weight=w, **options)[0]
                    for x, t, w in zip(sequences, targets, weights, strict=True)]
        found = net.loss(sequences, targets, sample_weight=weights, **options)[0]
        assert found == pytest.approx(sum(expected), rel=1e-12)
    unequal = np.empty(2, object)
    unequal[:] = classes[0, :2], classes[1, :3]
    parts = [sequences[0][:2], sequences[1][:3]]
    assert net.loss(parts, unequal)[0] == net.loss(parts, list(unequal))[0]
    dy = rng.standard_normal((B, steps, O))
    same_bits(*(net.backward(net.forward(sequences)[2], each).vector for each in (dy, list(dy))))


@pytest.mark.parametrize("last", [False, True], ids=["every step", "last step"])
def test_training_and_evaluation_are_those_of_the_padded_batch(last, rng, backend):
    sequences, targets, *_ = draw_list(rng, build("GRU"))
    classes = rng.integers(0, O, B)
    x, lengths = crnn.pad(sequences)
    assert (x.shape, lengths.tolist()) == ((T, B, I), list(LENGTHS))
    padded = classes if last else np.full((T, B), -1)
    for k, each in enumerate(targets):
        if not last:
            padded[: len(each), k] = each
    results = []
    for batch in ((sequences, list(classes) if last else targets), (x, padded, lengths)):
        net = build("GRU")
        history = crnn.fit(net, batch, crnn.Adam(), epochs=2, validation=batch,
                           truncation=None if last else 2)
        results.append((net.vector.tobytes(), history.rows, crnn.evaluate(net, batch)))
    assert results[0] == results[1]


def test_the_targets_of_a_list_may_be_a_tuple(rng, backend):
    x, targets = [rng.standard_normal((n, 3)) for n in (4, 2)], [np.zeros(4, int), np.ones(2, int)]
    net = crnn.GRU(3, 4, 2, seed=0)
    assert crnn.evaluate(net, (x, tuple(targets))) == crnn.evaluate(net, (x, targets))


def test_the_analyses_take_lists(rng, backend):
    net = build("GRU", 2)
    sequences, targets, state, *_ = draw_list(rng, net)
    errors = crnn.gradcheck(net, sequences, targets, state, max_entries=20)
    assert max(errors.values()) < 1e-10
    flow = crnn.gradient_flow(net, sequences, targets, state)
    x, lengths = crnn.pad(sequences)
    padded = np.full((T, B), -1)
    for k, each in enumerate(targets):
        padded[: len(each), k] = each
    same_bits(flow, crnn.gradient_flow(net, x, padded, state, lengths=lengths))


class Tensor:
    """An array of another library."""

    def __init__(self, values):
        self._values = values
        self.ndim = values.ndim

    def __len__(self):
        return len(self._values)

    def __array__(self, dtype=None, copy=None):
        return self._values


def test_items_may_be_any_arrays(rng, backend):
    net = build("RNN")
    sequences, *_ = draw_list(rng, net)
    expected = net(sequences)[0]
    odd = [np.asfortranarray(sequences[0]), Tensor(sequences[1]), sequences[2][::-1][::-1],
           sequences[3].astype("f4")]
    expected[3] = net(odd[3])[0]
    for ours, wanted in zip(net(tuple(odd))[0], expected, strict=True):
        same(ours, wanted, backend)
    steps = net([np.zeros((0, I)), sequences[0]])[0]
    assert [each.shape for each in steps] == [(0, O), (LENGTHS[0], O)]
    steps = net([np.array([]), np.array([1, 2])])[0]           # no tokens are tokens
    assert [each.shape for each in steps] == [(0, O), (2, O)]


def test_lists_of_numbers_are_arrays_as_ever(rng, backend):
    net = build("RNN")
    x = rng.standard_normal((T, B, I))
    vectors = list(x[:, 0])                                   # (T, I)
    for given, plain in ((x.tolist(), x), (vectors, x[:, 0]), ([[0, 1], [2, 0]], [[0, 1], [2, 0]])):
        same_bits(net(given)[0], net(np.array(plain))[0])


TWO = [np.zeros((3, I)), np.zeros((5, I))]
TWO_TARGETS = [np.zeros(3, int), np.zeros(5, int)]
REFUSED = {
    "lengths beside it": (lambda net: net(TWO, lengths=[3, 5]), TypeError, "leave out lengths"),
    "other features": (lambda net: net([TWO[0], np.zeros((5, I + 1))]), ValueError,
                       r"x\[1\] has shape \(5, 4\).*\(3, 3\)"),
    "floats and tokens": (lambda net: net([TWO[0], np.zeros(5, int)]), ValueError, r"x\[1\]"),
    "a vector of floats": (lambda net: net([TWO[0], np.zeros(5)]), ValueError,
                           r"x\[1\].*\[:, None\]"),
    "a string": (lambda net: net([TWO[0], "abc"]), TypeError, r"x\[1\] is a str.*encode"),
    "three axes": (lambda net: net([TWO[0], np.zeros((5, 1, I))]), ValueError, r"\(5, 1, 3\)"),
    "complex": (lambda net: net([TWO[0], TWO[1] * 1j]), TypeError, "complex"),
    "token out of range": (lambda net: net([np.array([0, 1]), np.array([I])]), IndexError, "3"),
    "an array of arrays": (lambda net: net(np.array(TWO, object)), TypeError, r"list\(x\)"),
    "unequal nested lists": (lambda net: net([[0, 1], [2]]), ValueError,
                             "a list whose items have unequal.*np.asarray"),
    "vectors of floats": (lambda net: net([np.zeros(3), np.zeros(5)]), ValueError, "None"),
    "targets of fewer": (lambda net: net.loss(TWO, TWO_TARGETS[:1]), ValueError,
                         "list of 1; x is a list of 2"),
    "targets too short": (lambda net: net.loss(TWO, [TWO_TARGETS[0], TWO_TARGETS[0]]), ValueError,
                          r"targets\[1\] has shape \(3,\).*5 steps"),
    "last targets of fewer": (lambda net: net.loss(TWO, [0]), ValueError, r"targets.*\(1,\)"),
    "dy in one array": (lambda net: net.backward(net.forward(TWO)[2], np.zeros((5, 2, O))),
                        ValueError, "dy is a ndarray of 5"),
    "numbers for dy": (lambda net: net.backward(net.forward(TWO)[2], [0.0, 1.0]), ValueError,
                       r"dy\[0\] has shape \(\).*3 steps"),
    "weights of steps and of sequences": (
        lambda net: net.loss(TWO, TWO_TARGETS, sample_weight=[1.0, np.ones(5)]), ValueError,
        r"sample_weight\[0\] has shape \(\).*3 steps"),
    "weights in one array, time first": (
        lambda net: net.loss(TWO, TWO_TARGETS, sample_weight=np.ones((5, 2))), ValueError,
        "sample_weight is a ndarray of 5"),
    "dy too long": (lambda net: net.backward(net.forward(TWO)[2], [np.zeros((5, O))] * 2),
                    ValueError, r"dy\[0\]"),
    "dy of other outputs": (lambda net: net.backward(
        net.forward(TWO)[2], [np.zeros((3, H)), np.zeros((5, H))]), ValueError, "dy"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused(case, backend):
    action, kind, message = REFUSED[case]
    net = build("RNN")
    before = net.vector.tobytes(), net.state.tobytes()
    with pytest.raises(kind, match=message):
        action(net)
    assert (net.vector.tobytes(), net.state.tobytes()) == before


def test_training_says_which_batch_does_not_fit(backend):
    net = build("RNN")
    with pytest.raises(ValueError, match=r"batch 1 of data: x\[1\] has shape"):
        crnn.fit(net, [(TWO, TWO_TARGETS), ([TWO[0], TWO[1][:, :1]], TWO_TARGETS)], crnn.SGD(0.1),
                 epochs=1)


# --- pad -----------------------------------------------------------------------------------------


@pytest.mark.no_backend
def test_pad():
    first, second = np.arange(6, dtype="f4").reshape(3, 2), np.array([[7, 8]], "f4")
    x, lengths = crnn.pad([first, second])
    assert (x.dtype, x.flags.c_contiguous, lengths.dtype) == (np.float32, True, np.intp)
    assert x.tolist() == [[[0, 1], [7, 8]], [[2, 3], [0, 0]], [[4, 5], [0, 0]]]
    assert lengths.tolist() == [3, 1]
    swapped, again = crnn.pad([first, second], batch_first=True)
    assert np.array_equal(swapped, x.swapaxes(0, 1))
    assert swapped.flags.c_contiguous
    assert again.tolist() == [3, 1]
    both = np.empty(2, object)
    both[:] = first, second
    for given in (both, (first, second)):
        assert np.array_equal(crnn.pad(given)[0], x)
    assert np.array_equal(crnn.pad(x)[0], x.swapaxes(0, 1))  # an array of three sequences
    tokens, _ = crnn.pad([np.array([5], np.uint8), np.array([1, 2], np.int16)])
    assert (tokens.dtype, tokens.tolist()) == (np.int16, [[5, 1], [0, 2]])


@pytest.mark.no_backend
def test_pad_takes_what_comes_with_sequences():
    weights, _ = crnn.pad([np.array([0.5, 2.0]), np.array([1.0])])
    assert weights.T.tolist() == [[0.5, 2], [1, 0]]
    parts, _ = crnn.pad([np.ones((2, 3, 4)), np.ones((1, 3, 4))])
    assert parts.shape == (2, 2, 3, 4)


@pytest.mark.no_backend
def test_pad_encodes_texts():
    vocabulary = crnn.text.Vocabulary("abc")
    x, lengths = crnn.pad(["cab", "", "b"], vocabulary=vocabulary)
    assert (x.T.tolist(), lengths.tolist()) == ([[2, 0, 1], [0, 0, 0], [1, 0, 0]], [3, 0, 1])


BAD_PADS = {
    "no sequences": ([], {}, ValueError, "no sequence"),
    "a text": ("abc", {}, TypeError, "str"),
    "texts alone": (["abc"], {}, TypeError, "vocabulary"),
    "an array of numbers": (np.zeros(3), {}, TypeError, "ndarray"),
    "numbers": ([1, 2], {}, ValueError, r"sequences\[0\]"),
    "no vocabulary": (["abc"], {"vocabulary": "abc"}, TypeError, "crnn.text.Vocabulary"),
    "unknown character": (["abd"], {"vocabulary": crnn.text.Vocabulary("abc")}, ValueError, "'d'"),
    "batch_first": ([TWO[0]], {"batch_first": 1}, TypeError, "batch_first"),
}


@pytest.mark.no_backend
@pytest.mark.parametrize("case", BAD_PADS)
def test_pad_refuses(case):
    sequences, options, kind, message = BAD_PADS[case]
    with pytest.raises(kind, match=message):
        crnn.pad(sequences, **options)


@pytest.mark.parametrize("kinds", [("i8", "u8"), ("u8", "i4"), ("i1", "u8")], ids=str)
def test_tokens_of_all_types_of_integers(kinds, backend):
    """Of int64 beside uint64 NumPy makes floats."""
    net = crnn.GRU(I, H, O, seed=0)
    tokens = [np.array([0, 2, 1], kinds[0]), np.array([1, 0], kinds[1])]
    wanted = net([each.astype(np.int64) for each in tokens])[0]
    for ours, theirs in zip(net(tokens)[0], wanted, strict=True):
        same_bits(ours, theirs)
    assert crnn.pad(tokens)[0].dtype.kind == "i"
    assert [x.dtype.kind for x, _, _ in crnn.batches(tokens)] == ["i"]
    assert crnn.pad([np.ones(2, "i8"), np.ones(2)])[0].dtype == np.float64

"""Steps that are none: Masking, and Embedding(mask_zero=True), against sequences cut by hand."""

import numpy as np
import pytest
from cell_networks import arrays

import crnn
from crnn import layers

T, B, I, H, O = 7, 6, 3, 5, 2  # noqa: E741
VALID = np.array([  # a row for each sequence: steps missing in front, between and behind, all, none
    [0, 0, 1, 1, 1, 1, 1], [1, 1, 0, 0, 1, 0, 1], [1, 1, 1, 1, 0, 0, 0], [0, 1, 0, 1, 1, 0, 0],
    [0, 0, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1, 1]], bool).T
LENGTHS = np.array([7, 5, 7, 4, 7, 6])
CELLS = {"RNN": layers.RNN, "GRU": layers.GRU, "LSTM": layers.LSTM}
each_cell = pytest.mark.parametrize("cell", CELLS)
one_or_both = pytest.mark.parametrize("both", [False, True], ids=["one way", "both ways"])
floats_or_tokens = pytest.mark.parametrize("tokens", [False, True], ids=["floats", "tokens"])
full_or_ragged = pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "ragged"])


def build(cell="LSTM", both=False, tokens=False, masked=True, above=True, **options):
    """Return a network of two recurrent layers; of equal parameters with a mask and without one."""
    first = [layers.Embedding(4, mask_zero=masked)] if tokens else [layers.Masking(-1.5)] * masked
    stack = [*first, CELLS[cell](H, bidirectional=both), CELLS[cell](H - 1, bidirectional=both)]
    if above:
        stack += [layers.Dense(3, "tanh"), layers.Dense(O)]
    return crnn.Sequential(I, stack, **{"seed": 1, "dtype": "float64"} | options)


def draw(rng, tokens=False, valid=VALID):
    if tokens:
        return rng.integers(1, I, valid.shape) * valid
    return np.where(valid[..., None], rng.standard_normal((*valid.shape, I)), -1.5)


def steps_left(lengths):
    return VALID if lengths is None else VALID & (np.arange(T)[:, None] < lengths)


def cut(array, valid):
    return [array[valid[:, b], b] for b in range(B)]


def close(actual, desired):
    np.testing.assert_allclose(actual, desired, rtol=1e-12, atol=1e-14)


@each_cell
@one_or_both
@floats_or_tokens
@full_or_ragged
def test_steps_and_last_state_are_those_of_sequences_cut_by_hand(rng, cell, both, tokens, lengths):
    net, plain = (build(cell, both, tokens, masked) for masked in (True, False))
    x, valid = draw(rng, tokens), steps_left(lengths)
    y, state = net(x, lengths=lengths)
    expected, of_cut = plain(cut(x, valid))
    for b in range(B):
        close(y[valid[:, b], b], expected[b])
    for own, other in zip(arrays(state), arrays(of_cut), strict=True):
        for one, two in zip(own, other, strict=True):
            close(one, two)
    assert lengths is None or not y[np.arange(T)[:, None] >= lengths].any()
    last, _ = net(x, lengths=lengths, last=True)
    close(np.delete(last, 4, axis=0), np.delete(plain(cut(x, valid), last=True)[0], 4, axis=0))


@each_cell
@pytest.mark.parametrize("above", [True, False], ids=["readout", "states"])
def test_other_steps_repeat_the_outputs_before_them(rng, cell, above):
    net = build(cell, above=above)
    x = draw(rng)
    y, _ = net(x)
    nothing, _ = net(np.full((1, 1, I), -1.5))
    for b in range(B):
        before = nothing[0, 0]
        for t in range(T):
            before = y[t, b] if VALID[t, b] else before
            close(y[t, b], before)
    close(net(x, last=True)[0], y[-1])
    assert (np.abs(nothing) > 0).any() == above  # a readout of zeros is not 0


def test_two_directions_put_out_zeros_at_other_steps(rng):
    whole, states = build(both=True), build(both=True, above=False)
    for name in states.parameters:
        states.parameters[name] = whole.parameters[name]
    x = draw(rng)
    h, _ = states(x)
    assert not h[~VALID].any()
    assert h[VALID].all()
    p = whole.parameters
    dense = np.tanh(h @ p["W_xh_l2"] + p["b_h_l2"])
    close(whole(x)[0], dense @ p["W_hy"] + p["b_y"])
    first = VALID.argmax(axis=0)
    last = T - 1 - VALID[::-1].argmax(axis=0)
    own = [[*h[last[b], b, : H - 1], *h[first[b], b, H - 1 :]] for b in range(B)]
    close(states(x, last=True)[0], own)


@one_or_both
@floats_or_tokens
@full_or_ragged
@pytest.mark.parametrize("every_step", [True, False], ids=["every step", "last"])
def test_losses_and_gradients_are_those_of_sequences_cut_by_hand(
    rng, both, tokens, lengths, every_step
):
    net, plain = (build("GRU", both, tokens, masked) for masked in (True, False))
    x, valid = draw(rng, tokens), steps_left(lengths)
    targets = rng.standard_normal((T, B, O) if every_step else (B, O))
    weights = rng.random((T, B) if every_step else B)
    of_cut = [cut(each, valid) for each in (targets, weights)] if every_step else [targets, weights]
    if every_step:
        targets[~valid] = np.nan  # nothing of it counts
    value, gradients, _ = net.loss_and_gradients(
        x, targets, loss="mse", lengths=lengths, sample_weight=weights)
    expected, others, _ = plain.loss_and_gradients(
        cut(x, valid), of_cut[0], loss="mse", sample_weight=of_cut[1])
    close(value, expected)
    close(net.loss(x, targets, loss="mse", lengths=lengths, sample_weight=weights)[0], expected)
    close(gradients.vector, others.vector)
    if not tokens:
        assert not gradients.x[~valid].any()
        for b in range(B):
            close(gradients.x[valid[:, b], b], others.x[b])
    of_sequences = rng.random(B)
    value, _ = net.loss(x, targets, loss="mse", lengths=lengths, sample_weight=of_sequences)
    close(value, plain.loss(
        cut(x, valid), of_cut[0], loss="mse", sample_weight=of_sequences)[0])


@each_cell
@one_or_both
@floats_or_tokens
def test_gradients_are_those_of_complex_steps(rng, cell, both, tokens):
    targets = rng.integers(0, O, (T, B))
    errors = crnn.gradcheck(build(cell, both, tokens), draw(rng, tokens), targets, max_entries=20)
    assert max(errors.values()) < 1e-12


@one_or_both
def test_backward_ignores_what_is_said_of_steps_that_are_none(rng, both):
    net, plain = (build("RNN", both, masked=masked) for masked in (True, False))
    x, dy = draw(rng), rng.standard_normal((T, B, O))
    y, _, cache = net.forward(x)
    close(y, net(x)[0])
    gradients = net.backward(cache, dy)
    others = plain.backward(plain.forward(cut(x, VALID))[2], cut(dy, VALID))
    close(gradients.vector, others.vector)
    assert gradients.x.shape == x.shape
    assert not gradients.x[~VALID].any()
    with pytest.raises(ValueError, match=r"\(7, 6, 2\)"):
        net.backward(cache, dy[1:])


@floats_or_tokens
def test_batch_first_lists_and_single_sequences(rng, tokens):
    net, turned = build(tokens=tokens), build(tokens=tokens, batch_first=True)
    x = draw(rng, tokens)
    y, _ = net(x)
    close(turned(x.swapaxes(0, 1))[0], y.swapaxes(0, 1))
    of_list, _ = net([x[:n, b] for b, n in enumerate(LENGTHS)])
    for b, n in enumerate(LENGTHS):
        close(of_list[b], y[:n, b])
        alone, state = net(x[:, b])
        close(alone, y[:, b])
        assert alone.shape == (T, O)
        assert state[0][0].shape == (H,)
    targets = rng.integers(0, O, (T, B))
    value = net.loss(x, targets)[0]
    close(turned.loss(x.T if tokens else x.swapaxes(0, 1), targets.T)[0], value)
    close(net.loss(list(x.swapaxes(0, 1)), list(targets.T))[0], value)
    counts = VALID.sum(axis=0)
    each = [net.loss(x[:, b], targets[:, b])[0] for b in range(B)]
    close(np.dot(each, counts) / counts.sum(), value)


def test_a_state_goes_on_over_steps_that_are_none(rng):
    net, x = build("GRU"), draw(rng)
    whole, end = net(x)
    first, state = net(x[:3])
    second, last = net(x[3:], state)
    close(np.concatenate([first, second]), whole)
    for one, two in zip(last, end, strict=True):
        close(one, two)


@each_cell
@floats_or_tokens
@pytest.mark.parametrize("learn_state", [False, True])
def test_streams_leave_out_the_same_steps(rng, cell, tokens, learn_state):
    net = build(cell, tokens=tokens, learn_state=learn_state)
    net.vector = rng.standard_normal(net.num_parameters)
    x = draw(rng, tokens)
    y, end = net(x)
    stream = net.stream()
    for each, row in zip(x, y, strict=True):
        out = np.empty((B, O)) if stream.batch_size else None
        got = stream.step(each, out)
        assert out is None or got is out
        close(got, row)
    for one, two in zip(arrays(stream.state), arrays(end), strict=True):
        for own, other in zip(one, two, strict=True):
            close(own, other)
    for b in range(B):
        net.reset()
        close(np.array([net.step(each) for each in x[:, b]]), y[:, b])
    blocks = net.stream(B)
    close(np.concatenate([blocks.run(x[:2]), blocks.run(x[2:], np.empty((T - 2, B, O)))]), y)
    for one, two in zip(arrays(blocks.state), arrays(end), strict=True):
        for own, other in zip(one, two, strict=True):
            close(own, other)
    stream.reset(rows=[1])
    nothing = np.zeros(B, int) if tokens else np.full((B, I), -1.5)
    expected = y[-1].copy()
    expected[1] = net.stream().step(nothing[1])
    close(stream.step(nothing), expected)


@pytest.mark.parametrize("loss", ["softmax", "mse"])
def test_fit_and_evaluate_are_those_of_sequences_cut_by_hand(rng, loss):
    net, plain = build(tokens=True), build(tokens=True, masked=False)
    x = draw(rng, True)
    targets = rng.integers(0, O, (T, B)) if loss == "softmax" else rng.standard_normal((T, B, O))
    keep = np.delete(np.arange(B), 4)  # fit warns of sequences without steps
    whole = x[:, keep], targets[:, keep]
    of_cut = tuple([cut(each, VALID)[b] for b in keep] for each in (x, targets))
    metrics = ["accuracy"] if loss == "softmax" else ["mae"]
    for one, other in ((net, plain), (plain, net)):
        assert one.num_parameters == other.num_parameters
    found, expected = (crnn.evaluate(*data, loss=loss, metrics=metrics)
                       for data in ((net, whole), (plain, of_cut)))
    close([*found.values()], [*expected.values()])
    histories = [crnn.fit(*data, crnn.Adam(0.01), loss=loss, epochs=3, metrics=metrics)
                 for data in ((net, whole), (plain, of_cut))]
    close(*([row["loss"] for row in each.rows] for each in histories))
    np.testing.assert_allclose(net.vector, plain.vector, rtol=1e-7, atol=1e-9)
    if loss == "softmax":
        predicted = net.predict(whole[0])
        for b, own in enumerate(plain.predict(of_cut[0])):
            np.testing.assert_array_equal(predicted[VALID[:, keep[b]], b], own)


def test_truncation_counts_only_targets_of_steps(rng):
    net, x, targets = build(), draw(rng), rng.integers(0, O, (T, B))
    close(crnn.evaluate(net, (x, targets), truncation=2), net.loss(x, targets)[0])
    x[4:] = -1.5  # a chunk of nothing but such steps is no update
    history = crnn.fit(net, (x, targets), crnn.SGD(0.0001), epochs=1, truncation=2)
    assert history.rows[0]["update"] == 2


def test_balanced_classes_are_those_of_steps(rng):
    net, plain, x = build(), build(masked=False), draw(rng)
    targets = rng.integers(0, O, (T, B))
    values = [one.loss(*data, class_weight="balanced")[0]
              for one, data in ((net, (x, targets)), (plain, (cut(x, VALID), cut(targets, VALID))))]
    close(*values)


def test_without_such_steps_the_bits_are_those_without_a_mask(rng):
    net, plain = build(), build(masked=False)
    x = rng.standard_normal((T, B, I))
    np.testing.assert_array_equal(net(x)[0], plain(x)[0], strict=True)
    x = draw(rng).astype(np.float32)
    single = build(dtype="float32")
    assert single(x)[0].dtype == np.float32
    np.testing.assert_allclose(single(x)[0], net(x)[0], rtol=1e-4, atol=1e-6)


@pytest.mark.no_backend
@one_or_both
def test_any_part_of_a_batch_has_the_same_bits(rng, both):
    net = build(both=both, learn_state=True, backend="compiled")
    net.vector = rng.standard_normal(net.num_parameters)
    valid = rng.random((T, 64)) < 0.5
    valid[:, ::7] = False
    x = draw(rng, valid=valid)
    for last in (False, True):
        whole = net(x, last=last)[0]
        for part in (slice(0, 1), slice(0, 13), slice(13, 64)):
            found = net(x[:, part], last=last)[0]
            np.testing.assert_array_equal(found, whole[..., part, :])


def test_a_file_keeps_the_mask(rng, tmp_path):
    for net in (build(), build(tokens=True)):
        net.save(tmp_path / "net.safetensors")
        again = crnn.load(tmp_path / "net.safetensors")
        x = draw(rng, tokens=isinstance(net.layers[0], layers.Embedding))
        assert again.layers == net.layers
        np.testing.assert_array_equal(again(x)[0], net(x)[0])
        np.testing.assert_array_equal(net.copy()(x)[0], net(x)[0])


def test_what_masks_do_not_go_with_is_refused(rng):
    net, x = build(), draw(rng)
    with pytest.raises(TypeError, match="mask_zero=True"):
        net(np.zeros((T, B), int))
    with pytest.raises(TypeError, match="mask_zero=True"):
        net.step(1)
    with pytest.raises(TypeError, match="table"):
        build(tokens=True)(x)
    with pytest.raises(ValueError, match="skip"):
        crnn.Sequential(I, [layers.Masking(), layers.RNN(I)], skip=True)
    with pytest.raises(ValueError, match="function"):
        crnn.evaluate(net, (x, np.zeros((T, B), int)), loss=lambda y, targets: (0.0, y))
    with pytest.raises(ValueError, match="leaves out steps"):
        crnn.gradient_flow(net, x, np.zeros((T, B), int))
    with pytest.raises(ValueError, match=r"targets have shape \(6, 6\)"):
        net.loss(x, np.zeros((T - 1, B), int))
    with pytest.raises(ValueError, match="state"):
        net(x, ([np.zeros((2, H))] * 2, [np.zeros((2, H))] * 2))


# --- Keras ---------------------------------------------------------------------------------------


@pytest.fixture
def keras(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    pytest.importorskip("torch")
    return pytest.importorskip("keras")


def keras_network(keras, cell, both, tokens, every_step):
    """Return a Keras model of the layers that `build` makes, with random parameters."""
    of = {"RNN": "SimpleRNN"}.get(cell, cell)
    first = keras.layers.Embedding(I, 4, mask_zero=True) if tokens else keras.layers.Masking(-1.5)

    def layer(size, sequences):
        made = getattr(keras.layers, of)(size, return_sequences=sequences)
        return keras.layers.Bidirectional(made) if both else made

    return keras.Sequential([
        keras.layers.Input((T,) if tokens else (T, I)), first, layer(H, True),
        layer(H - 1, every_step), keras.layers.Dense(3, "tanh"), keras.layers.Dense(O)])


def take_weights(net, model, cell, tokens):
    """Copy a Keras model's parameters into a network of the same layers."""
    given, p = iter(model.get_weights()), net.parameters
    names = [name for name in p if not name.startswith("b_hn")]
    for name in names:
        if cell == "GRU" and ("W_hh" + name[4:] in p or "W_hh" + name[3:] in p):
            weight = next(given)
            width = weight.shape[-1] // 3
            order = np.r_[width : 2 * width, :width, 2 * width : 3 * width]  # Keras: z, r, n
            weight = weight[..., order]
            if weight.shape[0] == 2 and name.startswith("b_h"):
                p["b_hn" + name[3:]] = weight[1, 2 * width :]
                weight = weight[0] + np.r_[weight[1, : 2 * width], np.zeros(width)]
            p[name] = weight
        else:
            p[name] = next(given)
    assert next(given, None) is None


@pytest.mark.no_backend
@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # of Keras under NumPy 2
@pytest.mark.parametrize(("cell", "tokens"), [
    ("RNN", False), ("GRU", True), ("LSTM", False), ("LSTM", True)])
@one_or_both
@pytest.mark.parametrize("every_step", [True, False], ids=["every step", "last"])
def test_masks_are_those_of_keras(rng, keras, cell, both, tokens, every_step):
    model = keras_network(keras, cell, both, tokens, every_step)
    model.set_weights([rng.uniform(-0.7, 0.7, each.shape) for each in model.get_weights()])
    x, targets = draw(rng, tokens), rng.standard_normal((T, B, O) if every_step else (B, O))
    expected = np.asarray(model(x.swapaxes(0, 1)).detach())
    if every_step:
        model.compile(loss="mse")
        value = model.evaluate(x.swapaxes(0, 1), targets.swapaxes(0, 1), verbose=0)
    for backend in ("compiled", "reference"):
        net = build(cell, both, tokens, dtype="float32", last=not every_step, backend=backend)
        take_weights(net, model, cell, tokens)
        y, _ = net(x)
        np.testing.assert_allclose(y.swapaxes(0, 1) if every_step else y, expected, atol=2e-6)
        if every_step:
            found, _ = net.loss(x, targets, loss="mse")
            np.testing.assert_allclose(found, value, rtol=1e-5)

"""A crnn.Sequential: its gradients, its backends, its steps, its files, and what it refuses."""

import copy
import json
import pickle

import numpy as np
import pytest
from layer_networks import (
    DROPPING,
    B,
    I,
    T,
    build,
    each_network,
    every_step_or_last,
    flat,
    full_or_ragged,
    input_of,
    losses_of,
    state_of,
    targets_of,
)

import crnn
from crnn.files import container
from crnn.layers import GRU, LSTM, RNN, Activation, Dense, Dropout, Embedding, Masking

each_dropping = pytest.mark.parametrize("name", DROPPING)


def close(found, wanted, tolerance=1e-12):
    np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance)


def states_close(found, wanted):
    for one, other in zip(flat(found), flat(wanted), strict=True):
        close(one, other)


def can_be_last(net, last):
    if last and net.skip:
        pytest.skip("a skip has no last outputs")


# --- numbers --------------------------------------------------------------------------------------


@each_network
@full_or_ragged
@every_step_or_last
def test_gradients_are_those_of_complex_steps(name, lengths, last):
    net, rng = build(name), np.random.default_rng(0)
    can_be_last(net, last)
    x = input_of(name, rng)
    for loss in losses_of(net):
        targets = targets_of(net, loss, rng, last=last)
        state = state_of(net, rng)
        errors = crnn.gradcheck(net, x, targets, state, loss=loss, lengths=lengths, max_entries=4)
        assert max(errors.values()) < 1e-11, errors


@pytest.mark.no_backend
@each_network
@full_or_ragged
def test_both_backends_agree(name, lengths):
    net, rng = build(name, backend="compiled"), np.random.default_rng(1)
    twin = build(name, backend="reference")
    x, state = input_of(name, rng), state_of(net, rng)
    for last in (False, True)[: 2 - net.skip]:
        y, after = net(x, state, lengths=lengths, last=last)
        wanted, after_twin = twin(x, state, lengths=lengths, last=last)
        close(y, wanted)
        states_close(after, after_twin)
        for loss in losses_of(net):
            targets = targets_of(net, loss, rng, last=last)
            options = {"loss": loss, "lengths": lengths, "sample_weight": rng.uniform(0.5, 2, B)}
            value, grads, after = net.loss_and_gradients(x, targets, state, **options)
            wanted, grads_twin, after_twin = twin.loss_and_gradients(x, targets, state, **options)
            close(value, wanted)
            close(net.loss(x, targets, state, **options)[0], wanted)
            close(grads.vector, grads_twin.vector)
            states_close(grads.state, grads_twin.state)
            states_close(after, after_twin)
            if grads_twin.x is not None:
                close(grads.x, grads_twin.x)


@pytest.mark.no_backend
@each_network
@full_or_ragged
def test_forward_and_backward_agree(name, lengths):
    net, rng = build(name, backend="compiled"), np.random.default_rng(2)
    twin = build(name, backend="reference")
    x, state = input_of(name, rng), state_of(net, rng)
    found, wanted = [each.forward(x, state, lengths=lengths) for each in (net, twin)]
    close(found[0], wanted[0])
    close(found[0], net(x, state, lengths=lengths)[0], 0)
    dy, dstate = rng.standard_normal(found[0].shape), state_of(net, rng)
    found[0][...] = np.nan  # the caller's own: the way back may not read it
    found, wanted = (each.backward(one[2], dy, dstate) for each, one in
                     ((net, found), (twin, wanted)))
    close(found.vector, wanted.vector)
    states_close(found.state, wanted.state)
    if wanted.x is not None:
        close(found.x, wanted.x)


@each_network
def test_steps_have_the_bits_of_a_sequence(name):
    net, rng = build(name, dtype="float32"), np.random.default_rng(3)
    if net.bidirectional:
        pytest.skip("no steps")
    x = input_of(name, rng)
    x = x if x.dtype.kind == "i" else x.astype(np.float32)
    y, state = net(x)
    net.reset(B)
    assert np.array([net.step(each) for each in x]).tobytes() == y.tobytes()
    for one, other in zip(flat(net.state), flat(state), strict=True):
        assert one.tobytes() == other.tobytes()
    stream, alone = net.stream(), net(x[:, 1])[0]
    out = np.empty(alone.shape[1:], np.float32)
    assert np.array([stream.step(each, out).copy() for each in x[:, 1]]).tobytes() == (
        alone.tobytes())


@each_network
def test_a_call_of_parts_goes_on_where_it_ended(name):
    net, rng = build(name), np.random.default_rng(4)
    if net.bidirectional:
        pytest.skip("a second direction begins at the end")
    x, state = input_of(name, rng), state_of(net, rng)
    y, last = net(x, state)
    first, middle = net(x[:4], state)
    second, end = net(x[4:], middle)
    close(np.concatenate([first, second]), y, 0)
    states_close(end, last)


def test_short_forms_are_the_same_networks():
    for cell, layer, options in (
        (crnn.RNN, RNN, {"nonlinearity": "relu"}), (crnn.GRU, GRU, {"reset_after": False}),
        (crnn.LSTM, LSTM, {}),
    ):
        short = cell(I, (5, 4), 2, bidirectional=True, seed=7, **options)
        net = crnn.Sequential(
            I, [layer(5, bidirectional=True, **options), layer(4, bidirectional=True, **options),
                Dense(2)], seed=7)
        assert list(net.parameters) == list(short.parameters)
        assert net.vector.tobytes() == short.vector.tobytes()
        x = np.random.default_rng(0).standard_normal((T, B, I)).astype(np.float32)
        assert net(x)[0].tobytes() == short(x)[0].tobytes()


def test_pytorch_computes_the_same():
    torch = pytest.importorskip("torch")
    net, rng = build("mixed directions"), np.random.default_rng(5)
    p = {name: torch.tensor(np.array(each)) for name, each in net.parameters.items()}
    x = torch.tensor(rng.standard_normal((T, B, I)), requires_grad=True)
    gru = torch.nn.GRU(I, 5, bidirectional=True, dtype=torch.float64)
    lstm = torch.nn.LSTM(6, 4, dtype=torch.float64)
    with torch.no_grad():
        for suffix in ("_l0", "_l0_reverse"):
            getattr(gru, f"weight_ih{suffix}").copy_(p[f"W_xh{suffix}"].T)
            getattr(gru, f"weight_hh{suffix}").copy_(p[f"W_hh{suffix}"].T)
            getattr(gru, f"bias_ih{suffix}").copy_(p[f"b_h{suffix}"])
            getattr(gru, f"bias_hh{suffix}").zero_()[10:].copy_(p[f"b_hn{suffix}"])
        lstm.weight_ih_l0.copy_(p["W_xh_l2"].T)
        lstm.weight_hh_l0.copy_(p["W_hh_l2"].T)
        lstm.bias_ih_l0.copy_(p["b_h_l2"])
        lstm.bias_hh_l0.zero_()
    h = torch.relu(gru(x)[0] @ p["W_xh_l1"] + p["b_h_l1"])
    h = torch.tanh(lstm(h)[0] @ p["W_xh_l3"] + p["b_h_l3"])
    logits = h @ p["W_hy"] + p["b_y"]
    targets = rng.integers(0, 3, (T, B))
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), torch.tensor(targets).ravel())
    loss.backward()
    close(net(x.detach().numpy())[0], torch.softmax(logits, -1).detach().numpy())
    value, grads, _ = net.loss_and_gradients(x.detach().numpy(), targets)
    close(value, loss.item())
    close(grads.x, x.grad.numpy())
    close(grads.parameters["W_xh_l0"], gru.weight_ih_l0.grad.numpy().T)
    close(grads.parameters["W_hh_l2"], lstm.weight_hh_l0.grad.numpy().T)


# --- last outputs ---------------------------------------------------------------------------------


def test_last_is_what_calls_give_by_default():
    layers = [LSTM(5, bidirectional=True), Dense(4, "relu"), Dense(2, "softmax")]
    net = crnn.Sequential(I, layers, last=True, seed=0)
    x = np.random.default_rng(0).standard_normal((T, B, I))
    assert net.last
    assert net(x)[0].shape == (B, 2)
    assert net(x[:, 0])[0].shape == (2,)
    assert net(x, last=False)[0].shape == (T, B, 2)
    np.testing.assert_array_equal(net(x)[0], net(x, last=True)[0])
    assert net.predict(x).tolist() == net(x)[0].argmax(-1).tolist()
    assert net.predict_proba(x).tobytes() == net(x)[0].tobytes()


def test_layers_above_read_what_each_direction_puts_out_last():
    net = build("both ways")
    x = np.random.default_rng(6).standard_normal((T, B, I))
    bare = crnn.Sequential(I, net.layers[:2], dtype="float64", seed=0)
    bare.vector = net.vector[: bare.num_parameters]
    h = bare(x, last=True)[0]
    p = net.parameters
    h = crnn.softmax(h @ p["W_xh_l2"] + p["b_h_l2"])
    h = np.tanh(h @ p["W_xh_l3"] + p["b_h_l3"])
    close(net(x, last=True)[0], crnn.softmax(h @ p["W_hy"] + p["b_y"]))


# --- dropout --------------------------------------------------------------------------------------


@pytest.mark.no_backend
@each_dropping
@every_step_or_last
def test_both_backends_drop_the_same(name, last):
    rng = np.random.default_rng(7)
    nets = [build(name, backend=each) for each in ("compiled", "reference")]
    x = input_of(name, rng)
    targets = targets_of(nets[0], "softmax", rng, last=last)
    found = [[net.loss_and_gradients(x, targets) for _ in range(2)] for net in nets]
    for one, other in zip(*found, strict=True):
        close(one[0], other[0])
        close(one[1].vector, other[1].vector)
    assert found[0][0][0] != found[0][1][0]
    bare = nets[0].without_dropout()
    bare.vector = nets[0].vector
    close(nets[0](x)[0], bare.forward(x)[0], 0)


def test_dropout_above_the_top_layer_by_hand():
    net = build("below the readout")
    x = np.random.default_rng(8).standard_normal((T, B, I))
    generator = np.random.default_rng()
    generator.bit_generator.state = net.dropout_state
    kept = generator.random((T, B, 5), np.float32) >= np.float32(0.4)
    bare = crnn.Sequential(I, [LSTM(5)], dtype="float64", seed=0)
    bare.vector = net.vector[: bare.num_parameters]
    h = bare(x)[0] * kept / (1 - 0.4)
    close(net.forward(x)[0], crnn.softmax(h @ net.parameters["W_hy"] + net.parameters["b_y"]))


# --- training, copies and files -------------------------------------------------------------------


@pytest.mark.parametrize("name", ["softmax", "table", "mixed cells", "both ways"])
def test_fit_lowers_the_loss(name):
    net, rng = build(name), np.random.default_rng(9)
    x = input_of(name, rng)
    targets = targets_of(net, "softmax", rng)
    history = crnn.fit(net, (x, targets), crnn.Adam(0.02), epochs=40, seed=0)
    assert history["loss"][-1] < 0.8 * history["loss"][0]
    assert net.predict(x).shape == targets.shape


@each_network
def test_copies_and_files_are_equal(name, tmp_path):
    net, rng = build(name), np.random.default_rng(10)
    x = input_of(name, rng)
    if not net.bidirectional:
        net.step(x[0])
    net.save(tmp_path / "net.safetensors")
    loaded = crnn.load(tmp_path / "net.safetensors")
    copies = [net.copy(), copy.deepcopy(net), pickle.loads(pickle.dumps(net))]
    assert json.loads(json.dumps(net.config())) == net.config()
    for other in [loaded, *copies]:
        assert type(other) is type(net)
        assert other.layers == net.layers
        assert repr(other) == repr(net)
        assert other.vector.tobytes() == net.vector.tobytes()
        assert other(x)[0].tobytes() == net(x)[0].tobytes()
    if not net.bidirectional:
        for one, other in zip(flat(copies[0].state), flat(net.state), strict=True):
            assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize("layers", [
    [Embedding(np.int32(4), mask_zero=np.True_), RNN(np.uint8(5), nonlinearity=np.str_("relu"))],
    [Masking(np.float32(2)), LSTM(5, clip=np.float32(0.5), peepholes=np.True_),
     Activation(np.str_("relu")), Dropout(np.float32(0.25)), Dense(2, np.str_("softmax"))],
], ids=["tokens", "floats"])
def test_what_numpy_says_of_layers_is_kept_as_python_does(layers, tmp_path):
    net = crnn.Sequential(I, layers, seed=0)
    net.save(tmp_path / "net.safetensors")
    assert repr(crnn.load(tmp_path / "net.safetensors")) == repr(net)
    assert "np." not in repr(net)


def test_a_stream_of_mixed_layers_is_saved(tmp_path):
    net, rng = build("mixed cells"), np.random.default_rng(11)
    x = input_of("mixed cells", rng)
    stream = net.stream(B)
    stream.step(x[0])
    stream.save(tmp_path / "state.safetensors")
    other = net.stream()
    other.load(tmp_path / "state.safetensors")
    assert other.step(x[1]).tobytes() == stream.step(x[1]).tobytes()
    h, c = stream.state
    assert (len(h), len(c)) == (4, 2)


def test_a_checkpoint_of_mixed_layers_is_resumed(tmp_path):
    rng = np.random.default_rng(12)
    x, targets = rng.standard_normal((20, B, I)), rng.integers(0, 3, (20, B))
    options = {"truncation": 6, "seed": 0}
    nets = [build("mixed cells") for _ in range(2)]
    crnn.fit(nets[0], (x, targets), crnn.Adam(0.01), epochs=4, **options)
    path = tmp_path / "checkpoint.safetensors"
    crnn.fit(nets[1], (x, targets), crnn.Adam(0.01), epochs=2, checkpoint=path, **options)
    again = build("mixed cells", seed=5)
    crnn.fit(again, (x, targets), crnn.Adam(0.01), epochs=4, checkpoint=path, resume=True,
             **options)
    assert again.vector.tobytes() == nets[0].vector.tobytes()


LAYER = {"layer": "Dense", "size": 2, "activation": "linear"}


@pytest.mark.parametrize("change", [
    {"layers": []}, {"layers": None}, {"layers": {}}, {"layers": [LAYER]}, {"layers": ["LSTM"]},
    {"layers": [{"layer": "os.system"}]}, {"layers": [{"layer": ["LSTM"]}]},
    {"layers": [{"layer": "LSTM", "size": 5, "extra": 1}]}, {"layers": [{"layer": "LSTM"}]},
    {"layers": [{"layer": "LSTM", "size": 2**62}]}, {"layers": [{"layer": "LSTM", "size": "5"}]},
    {"layers": [{"layer": "LSTM", "size": 6}, LAYER]}, {"layers": [{"layer": "GRU", "size": 5},
                                                                   LAYER]},
    {"layers": [{"layer": "LSTM", "size": 5}, LAYER | {"activation": "gelu"}]},
    {"skip": True}, {"skip": 1}, {"cell": "LSTM"}, {"cell": "Functional"}, {"input_size": 0},
], ids=str)
def test_a_forged_configuration_is_refused(change, tmp_path):
    net = crnn.Sequential(I, [LSTM(5), Dense(2)], seed=0)
    path = tmp_path / "net.safetensors"
    container.write(path, net.parameters, {"config": json.dumps(net.config() | change)})
    with pytest.raises(crnn.FormatError):
        crnn.load(path)


def test_a_file_of_very_many_layers_is_refused_before_they_are_made(tmp_path, monkeypatch):
    net = crnn.Sequential(I, [LSTM(5), Dense(2)], seed=0)
    path = tmp_path / "net.safetensors"
    config = net.config() | {"layers": [LAYER] * 1001}
    container.write(path, net.parameters, {"config": json.dumps(config)})
    monkeypatch.setattr(crnn.layers.Dense, "__post_init__", lambda _: pytest.fail("it was made"))
    with pytest.raises(crnn.FormatError, match="more than 1000 layers"):
        crnn.load(path)


def test_what_a_file_says_is_cut_short_in_the_message(tmp_path):
    net = crnn.Sequential(I, [LSTM(5), Dense(2)], seed=0)
    path = tmp_path / "net.safetensors"
    for value in ("x" * 10**5, [1] * 10**5):
        for option in ("size", "activation"):
            config = net.config() | {"layers": [LAYER | {option: value}]}
            container.write(path, net.parameters, {"config": json.dumps(config)})
            with pytest.raises(crnn.FormatError) as error:
                crnn.load(path)
            assert len(str(error.value)) < 500


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(("layers", "options", "error", "message"), [
    ([Dense(3)], {}, ValueError, "recurrent"),
    ([], {}, ValueError, "0 layers"),
    (LSTM(5), {}, TypeError, "list of layers"),
    ([LSTM, Dense(2)], {}, TypeError, "the class crnn.layers.recurrent.LSTM, not"),
    ([crnn.LSTM(3, 5), Dense(2)], {}, TypeError, r"layers\[0\] is a crnn.network.cells.LSTM; a"),
    ([type("Own", (LSTM,), {})(5)], {}, TypeError, r"layers\[0\] is a test_sequential.Own"),
    ([LSTM(5), Embedding(2)], {}, ValueError, "come first"),
    ([LSTM(5), Masking()], {}, ValueError, "come first"),
    ([Dropout(0.1), LSTM(5)], {}, ValueError, "after a layer"),
    ([Activation("relu"), LSTM(5)], {}, ValueError, "after a layer"),
    ([LSTM(5), Dropout(0.1)], {}, ValueError, "last layer drops out"),
    ([LSTM(5), Dropout(0.1), Dropout(0.1), Dense(2)], {}, ValueError, "both drop out"),
    ([LSTM(5), Dense(4)], {"skip": True}, ValueError, "3 inputs and 4 outputs"),
    ([LSTM(5), Dense(3, "tanh")], {"skip": True}, ValueError, "'tanh'"),
    ([LSTM(5), Dense(3)], {"skip": True, "last": True}, ValueError, "last outputs"),
    ([Embedding(3), LSTM(5), Dense(3)], {"skip": True}, ValueError, "tokens"),
    ([LSTM(5)], {"last": 1}, TypeError, "last is 1"),
])
def test_lists_that_are_no_network(layers, options, error, message):
    with pytest.raises(error, match=message):
        crnn.Sequential(I, layers, **options)


@pytest.mark.parametrize(("make", "error", "message"), [
    (lambda: Dense(0), ValueError, "size must be at least 1"),
    (lambda: Dense(2, "gelu"), ValueError, "'gelu'; it can be 'linear'"),
    (lambda: Dense(2, None), TypeError, "activation is None"),
    (lambda: Activation("linear"), ValueError, "'linear'"),
    (lambda: Dropout(1), ValueError, "below 1"),
    (lambda: Embedding(2.5), TypeError, "whole number"),
    (lambda: Embedding(2, mask_zero=1), TypeError, "mask_zero"),
    (lambda: Masking(np.nan), ValueError, "finite"),
    (lambda: RNN(5, nonlinearity="sigmoid"), ValueError, "nonlinearity is 'sigmoid'"),
    (lambda: GRU(5, candidate="linear"), ValueError, "candidate is 'linear'"),
    (lambda: GRU(5, reset_after=None), TypeError, "reset_after"),
    (lambda: LSTM(5, gate_activation="tanh"), ValueError, "gate_activation is 'tanh'"),
    (lambda: LSTM(5, clip=0), ValueError, "clip"),
    (lambda: LSTM(5, bidirectional=2), TypeError, "bidirectional"),
    (lambda: LSTM(True), TypeError, "whole number"),
    (lambda: LSTM(3, 5), TypeError, "positional"),  # not the sizes of inputs and states
])
def test_layers_that_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_table_takes_tokens_only_and_a_skip_floats_only():
    table, skip = build("table"), build("skip")
    for call in (lambda: table(np.ones((T, B, I))), lambda: table.step(np.ones(I)),
                 lambda: table.loss(np.ones((T, B, I)), np.zeros((T, B), int))):
        with pytest.raises(TypeError, match="a table with a row for each token"):
            call()
    for call in (lambda: skip(np.zeros((T, B), int)), lambda: skip.step(0)):
        with pytest.raises(TypeError, match="tokens"):
            call()
    with pytest.raises(ValueError, match="last outputs"):
        skip(np.ones((T, B, I)), last=True)
    with pytest.raises(ValueError, match="last outputs"):
        skip.loss(np.ones((T, B, I)), np.zeros((B, I)), loss="mse")


def test_a_loss_that_does_not_go_with_the_last_layer_is_refused():
    net = crnn.Sequential(I, [LSTM(5), Dense(2, "tanh")], seed=0)
    for call in (net.loss, net.loss_and_gradients):
        with pytest.raises(ValueError, match=r"'softmax'.*'tanh'"):
            call(np.ones((T, B, I)), np.zeros((T, B), int))


def test_initial_parameters():
    net = crnn.Sequential(
        100, [Embedding(50), LSTM(16), Dense(4), RNN(9), Dense(2)], seed=0, init="identity",
        forget_bias=2.0)
    p = net.parameters
    assert 0.9 < p["W_xh_l0"].std() < 1.1
    assert (p["b_h_l1"].reshape(4, 16)[1] == 2).all()
    assert (p["b_h_l1"].reshape(4, 16)[0] == 0).all()
    assert np.abs(p["W_xh_l2"]).max() <= 1 / 4
    assert p["b_h_l2"].any()
    np.testing.assert_array_equal(p["W_hh_l3"], np.eye(9))


def test_predictions_follow_the_last_activation():
    x = np.random.default_rng(0).standard_normal((T, B, I))
    net = crnn.Sequential(I, [LSTM(5), Dense(1, "sigmoid")], seed=0)
    y = net(x)[0]
    np.testing.assert_array_equal(net.predict_proba(x), y)
    np.testing.assert_array_equal(net.predict(x), y > 0.5)
    linear = crnn.Sequential(I, [LSTM(5), Dense(1)], seed=0)
    linear.metadata["loss"] = "sigmoid"
    np.testing.assert_allclose(linear.predict_proba(x), y, rtol=1e-6)


def test_a_single_output_without_a_training_is_a_number():
    x = np.random.default_rng(0).standard_normal((T, B, I))
    net = crnn.Sequential(I, [LSTM(5), Dense(1)], last=True, seed=0)
    np.testing.assert_array_equal(net.predict(x), net(x)[0])
    with pytest.raises(ValueError, match="numbers"):
        net.predict_proba(x)

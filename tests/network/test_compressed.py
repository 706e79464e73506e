"""Compressed networks: weights with fewer bits, exactly what they compute, and what they refuse."""

import copy
import json
import pickle
import re

import numpy as np
import pytest
from builds import kernels_of, needs_avx512

import crnn
from crnn.base.compression import FAST_NUMBERS, compressed_names
from crnn.engine import compiled
from crnn.layers import GRU, LSTM, RNN, Dense, Dropout, Embedding, Masking
from crnn.reference.rounding import Int8Weight, rows_to_int8, to_bfloat16, to_int8

T, B, I, H, O = 7, 5, 70, 130, 90  # noqa: E741
FORMATS = ["bf16", "int8"]
TOLERANCE = {"bf16": 1.5e-3, "int8": 5e-3}  # what is rounded may fall to the other side
each_format = pytest.mark.parametrize("form", FORMATS)
NETWORKS = {  # whose larger weights do not stay in L1
    "rnn": lambda: crnn.RNN(I, H, O, seed=0),
    "gru": lambda: crnn.GRU(I, 110, O, num_layers=2, dropout=0.3, seed=0),
    "gru-before": lambda: crnn.GRU(I, 110, reset_after=False, learn_state=True, seed=0),
    "lstm": lambda: crnn.LSTM(I, 80, O, bidirectional=True, seed=0),
    "batch-first": lambda: crnn.LSTM(I, 80, O, batch_first=True, seed=0),
    "layers": lambda: crnn.Sequential(I, [
        RNN(150), Dropout(0.2), Dense(120, "relu"), LSTM(70, peepholes=True), Dense(O, "softmax")],
        seed=0),
    "skip": lambda: crnn.Sequential(I, [GRU(120), Dense(I)], skip=True, seed=0),
    "masked": lambda: crnn.Sequential(I, [Masking(), GRU(120), Dense(O)], last=True, seed=0),
    "embedding": lambda: crnn.Sequential(400, [Embedding(I), LSTM(80), Dense(O)], seed=0),
}
each_network = pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)


def input_for(net, rng, batch=B):
    shape = (batch, T) if net.batch_first else (T, batch)
    if net.input_size > I:
        return rng.integers(0, net.input_size, shape)
    return rng.standard_normal((*shape, net.input_size)).astype(np.float32)


def rounded_floats(make, small):
    """Return the network in float32 with the parameters of a compressed one."""
    net = make()
    net.vector = small.vector
    return net


def assert_same(y, wanted, backend, form):
    """The same bits of the compiled kernels; NumPy adds up one row in another order than several.

    What is then rounded may fall to the other side: a step of one in 256, or in int8 in 127.
    """
    if backend == "compiled":
        assert y.tobytes() == wanted.tobytes()
    else:
        np.testing.assert_allclose(y, wanted, rtol=0, atol=TOLERANCE[form])


# --- rounding ------------------------------------------------------------------------------------


@pytest.mark.no_backend
def test_bfloat16_is_pytorchs(rng):
    torch = pytest.importorskip("torch")
    W = rng.standard_normal((50, 60)).astype(np.float32)
    W[0, :4], W[1, :2] = (np.inf, -np.inf, 0, np.nan), 1 + np.float32([2**-8, 3 * 2**-8])
    np.testing.assert_array_equal(to_bfloat16(W), torch.tensor(W).bfloat16().float().numpy())
    tiny = np.float32([2.0**-50, -(2.0**-50), 8.8e-16, -8.8e-16, 1e-40])
    assert to_bfloat16(tiny).tolist() == [2.0**-50, -(2.0**-50), 0, 0, 0]


@pytest.mark.no_backend
def test_int8_by_hand():
    """Scales are 1 and 0.5, that of the last column 3 / 127, rounded up to 16 bits."""
    W = np.array([[127, 0.0, 1], [-64, 63.5, 3], [0.4, -1, 0]], np.float32)
    q, scale = to_int8(W)
    assert q.tolist() == [[127, 0, 42], [-64, 127, 127], [0, -2, 0]]
    assert scale[:2].tolist() == [1, 0.5]
    assert 3 / 127 <= scale[2] <= 3 / 127 * (1 + 2**-15)
    assert not (scale.view(np.uint32) & 0xFF).any()
    x = np.array([[2.54, -1.27, 0.01], [0, 0, 0], [1, np.nan, 1]], np.float32)
    x_q, x_scale = rows_to_int8(x)
    assert x_q.tolist() == [[127, -64, 0], [0, 0, 0], [0, 0, 0]]  # 63.5 is rounded to the even 64
    np.testing.assert_array_equal(x_scale, np.float32([2.54 / 127, 0, np.nan]))
    sums = np.array([127 * 127 + 64 * 64, -64 * 127, 127 * 42 - 64 * 127])
    product = x @ W.view(Int8Weight)
    np.testing.assert_allclose(product[0], sums * (0.02 * scale), rtol=1e-6)
    np.testing.assert_array_equal(product[1:], [[0, 0, 0], [np.nan] * 3])
    np.testing.assert_array_equal(x @ W.view(Int8Weight)[:, 1:], product[:, 1:])


@pytest.mark.no_backend
@each_format
def test_rounded_weights_stay_as_they_are(rng, form):
    W = (rng.standard_normal((40, 300)) * 10.0 ** rng.integers(-6, 6, 300)).astype(np.float32)
    W[:, 7] = 0
    if form == "bf16":
        once = to_bfloat16(W)
        np.testing.assert_array_equal(to_bfloat16(once), once)
        return
    q, scale = to_int8(W)
    again, same = to_int8(q * scale)
    np.testing.assert_array_equal(again, q)
    np.testing.assert_array_equal(same, scale)
    assert (np.abs(q).max(axis=0) == 127 * (scale > 0)).all()


# --- what is computed ----------------------------------------------------------------------------


def test_bf16_by_hand(rng):
    """With PyTorch's rounding of what is multiplied."""
    torch = pytest.importorskip("torch")
    small = NETWORKS["rnn"]().compress("bf16")
    assert isinstance(small, crnn.Compressed)
    p = small.parameters

    def product(x, W):
        return torch.tensor(x).bfloat16().float().numpy() @ W

    x, h, wanted = input_for(small, rng), np.zeros((B, H), np.float32), []
    for each in x:
        h = np.tanh(product(each, p["W_xh_l0"]) + product(h, p["W_hh_l0"]) + p["b_h_l0"])
        wanted.append(product(h, p["W_hy"]) + p["b_y"])
    np.testing.assert_allclose(small(x)[0], wanted, rtol=0, atol=TOLERANCE["bf16"])


@each_format
@each_network
def test_inputs_and_states_are_rounded_and_little_is_lost(rng, make, form):
    small = make().compress(form)
    floats = rounded_floats(make, small)
    for batch in (1, 2, 3, 4, B):
        x, lengths = input_for(small, rng, batch), rng.integers(1, T + 1, batch)
        for given in ({}, {"lengths": lengths}, {"last": True} if not small.description().skip
                      else {}):
            y, wanted = small(x, **given)[0], floats(x, **given)[0]
            error = np.abs(y - wanted).max() / np.abs(wanted).max()
            assert 1e-5 < error < {"bf16": 0.01, "int8": 0.03}[form]


@each_format
@each_network
def test_steps_streams_and_blocks_give_what_a_sequence_gives(rng, make, form, backend):
    small = make().compress(form)
    if small.bidirectional:
        with pytest.raises(ValueError, match="no steps"):
            small.step(input_for(small, rng)[0])
        return
    x = input_for(small, rng)
    y, _ = small(x, last=False)
    by_step = np.moveaxis(x, 1, 0) if small.batch_first else x
    first, second = small.stream(B), small.stream(B)
    steps = np.stack([first.step(each) for each in by_step], int(small.batch_first))
    assert_same(steps, y, backend, form)
    assert_same(second.run(x), y, backend, form)
    assert second.run(x).tobytes() == first.run(x).tobytes()
    assert pickle.dumps(second.state) == pickle.dumps(first.state)
    each_alone = [small.stream() for _ in range(B)]
    for t in range(T):
        together = crnn.step_many(each_alone, by_step[t])
    last = y[:, -1] if small.batch_first else y[-1]
    assert_same(together, last, backend, form)


@each_format
def test_outputs_at_a_step_that_is_none_are_made_with_rounded_states(rng, form, backend):
    """They are those of the step before, as the state is."""
    stream = NETWORKS["masked"]().compress(form).stream(B)
    x = rng.standard_normal((B, I)).astype(np.float32)
    np.testing.assert_allclose(stream.step(x), stream.step(0 * x), rtol=0, atol=1e-6)


@each_format
def test_any_number_of_threads_and_any_part_of_a_batch_give_the_same_bits(
    rng, form, small_work_is_split, backend
):
    small = NETWORKS["gru"]().compress(form)
    x = input_for(small, rng, 9)
    crnn.set_num_threads(1)
    y = small(x)[0]
    crnn.set_num_threads(2)
    assert small(x)[0].tobytes() == y.tobytes()
    for parts in ([3, 6], [1, 2, 5]):
        split = np.concatenate([small(each)[0] for each in np.split(x, parts, axis=1)], axis=1)
        assert_same(split, y, backend, form)


@pytest.mark.no_backend
def test_rows_beyond_those_that_are_rounded_to_int8_at_once_give_the_same_bits(rng):
    """These are 128, of a state as of an input."""
    small = NETWORKS["gru"]().compress("int8")
    x = input_for(small, rng, 150)
    assert small(x[:, 120:])[0].tobytes() == small(x)[0][:, 120:].tobytes()


@pytest.mark.no_backend
@needs_avx512
@each_format
@pytest.mark.parametrize("batch", [1, 2, 3, 9])
def test_instruction_sets_give_the_same_bits(rng, form, batch, monkeypatch):
    results = []
    for isa in ("avx512", "avx2"):
        monkeypatch.setattr(compiled, "kernels", lambda _, dtype, isa=isa: kernels_of(isa, dtype))
        results.append(NETWORKS["gru"]().compress(form))
    x = input_for(results[0], rng, batch)
    wide, narrow = (each(x)[0] for each in results)
    assert results[0].engine.updates is not results[1].engine.updates
    assert wide.tobytes() == narrow.tobytes()


@each_format
@each_network
def test_both_backends_compute_with_the_same_weights(rng, make, form, tmp_path, backend):
    """What is rounded at each step may fall to the other side, which is a small step."""
    make().compress(form).save(tmp_path / "small")
    own, other = (crnn.load(tmp_path / "small", backend=each) for each in (
        backend, "reference" if backend == "compiled" else "compiled"))
    assert own.vector.tobytes() == other.vector.tobytes()
    x = input_for(own, rng)
    y, wanted = own(x)[0], other(x)[0]
    np.testing.assert_allclose(y, wanted, rtol=0, atol=TOLERANCE[form])


@each_format
def test_a_float64_network_is_compressed_to_float32(rng, form):
    net = crnn.GRU(I, 110, O, dtype="float64", seed=0)
    small, x = net.compress(form), rng.standard_normal((T, B, I))
    assert small.dtype == np.float32
    np.testing.assert_allclose(small(x)[0], net(x)[0], rtol=0, atol=0.02)
    assert small.vector.tobytes() == crnn.GRU(I, 110, O, seed=0).compress(form).vector.tobytes()


# --- what compress says --------------------------------------------------------------------------


@each_format
def test_the_report_has_the_errors_on_the_users_data(rng, form):
    net = NETWORKS["rnn"]()
    x, targets = input_for(net, rng), rng.integers(0, O, (T, B))
    lengths = np.array([7, 3, 1, 7, 5])
    small = net.compress(form, (x, targets, lengths))
    y, own = net(x, lengths=lengths)[0], small(x, lengths=lengths)[0]
    report = small.report
    assert report.error == pytest.approx(np.abs(own - y).max() / np.abs(y).max())
    assert 0 < report.error < 0.03
    losses = [each.loss(x, targets, lengths=lengths)[0] for each in (net, small)]
    assert list(report.loss) == losses
    assert report.perplexity == pytest.approx(np.exp(losses))
    assert report.weights["W_hh_l0"] == ((H, H), form, True)
    text = repr(report)
    assert f"{report.error:.2%}" in text
    assert f"{losses[0]:.6g}" in text
    assert "perplexity" in text
    assert net.compress(form, x).report.loss is None
    listed = net.compress(form, [x[:3, 0], x[:, 1]])
    assert 0 < listed.report.error < 0.03
    assert net.compress(form).report.error is None
    with pytest.raises(ValueError, match="tuple of 4"):
        net.compress(form, (x, targets, lengths, None))


@pytest.mark.parametrize(("form", "size"), [("bf16", 2), ("int8", 1)])
def test_it_says_how_large_parameters_were_and_are(form, size):
    net = crnn.RNN(I, H, O, seed=0)
    report = net.compress(form).report
    floats = H + O
    assert report.bytes[0] == 4 * net.num_parameters
    scales = 4 * (H + H + O) if form == "int8" else 0
    assert report.bytes[1] == size * (I * H + H * H + H * O) + 4 * floats + scales


@each_format
def test_small_networks_are_warned_that_nothing_becomes_faster(form):
    with pytest.warns(UserWarning, match="8,192 numbers"):
        small = crnn.LSTM(3, 40, 2, seed=0).compress(form)
    assert not small.report.is_faster
    assert FAST_NUMBERS == 8192


@each_format
def test_a_table_is_looked_up_and_becomes_no_faster(form):
    with pytest.warns(UserWarning, match="multiplies with no weight"):
        small = crnn.Sequential(2000, [Embedding(8), GRU(8), Dense(3)], seed=0).compress(form)
    assert small.report.weights["W_xh_l0"] == ((2000, 8), form, False)


def test_int8_says_that_weights_with_too_many_inputs_become_no_faster():
    with pytest.warns(UserWarning, match="at most 8,192 inputs"):
        crnn.RNN(8193, 8, seed=0).compress("int8")


def test_a_perplexity_beyond_all_floats_is_infinite():
    net = NETWORKS["rnn"]()
    net.parameters["W_hy"] = net.parameters["W_hy"] * np.float32(1e5)
    report = net.compress("bf16", (np.ones((T, B, I)), np.zeros((T, B), int) + 1)).report
    assert report.loss[0] > 1000
    assert report.perplexity[0] == np.inf
    assert "inf" in repr(report)


@each_format
def test_weights_that_stay_in_L1_stay_as_they_are(form):
    net = crnn.RNN(3, H, 2, seed=0)
    small = net.compress(form)
    for name, each in small.parameters.items():
        assert (each == net.parameters[name]).all() == (name != "W_hh_l0")
    names = compressed_names({"W_xh_l0": (9000, 3), "W_hh_l0": (91, 91), "W_hy": (90, 91)}, form)
    assert names == ["W_xh_l0", "W_hh_l0"][form == "int8":]


@each_format
def test_a_parameter_that_is_not_finite_is_refused(form):
    net = NETWORKS["rnn"]()
    for value in (np.nan, np.inf, 3.4e38 if form == "bf16" else -np.inf):
        net.parameters["W_hh_l0"] = np.full((H, H), value, np.float32)
        with pytest.raises(ValueError, match="W_hh_l0 is NaN or infinite"):
            net.compress(form)


def test_a_format_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="'bf16', 'int8'"):
        crnn.RNN(3, 5).compress("fp8")
    with pytest.raises(TypeError):
        crnn.RNN(3, 5).compress(8)
    with pytest.raises(ValueError, match="complex128"):
        crnn.reference.RNN(3, 5, dtype="complex128").compress("bf16")


# --- what it refuses -----------------------------------------------------------------------------


TRAINING = {
    "forward": lambda net, x, y: net.forward(x),
    "backward": lambda net, x, y: net.backward(None, x),
    "backward without x": lambda net, x, y: net.backward(None, x, wants_x=False),
    "gradients": lambda net, x, y: net.loss_and_gradients(x, y, lengths=None),
    "fit": lambda net, x, y: crnn.fit(net, (x, y), crnn.Adam(), epochs=1),
    "gradcheck": lambda net, x, y: crnn.gradcheck(net, x, y),
    "gradient flow": lambda net, x, y: crnn.gradient_flow(net, x, y),
    "vector": lambda net, x, y: setattr(net, "vector", net.vector),
    "parameter": lambda net, x, y: net.parameters.__setitem__("b_y", net.parameters["b_y"]),
    "optimizer": lambda net, x, y: crnn.SGD(0.1).step(
        net, rounded_floats(NETWORKS["rnn"], net).loss_and_gradients(x, y)[1]),
    "compress": lambda net, x, y: net.compress("bf16"),
    "without dropout": lambda net, x, y: net.without_dropout(),
    "from config": lambda net, x, y: type(net).from_config(net.config(), net.backend),
}


@each_format
@pytest.mark.parametrize("call", TRAINING.values(), ids=TRAINING)
def test_training_is_refused_with_the_remedy(rng, form, call):
    small = NETWORKS["rnn"]().compress(form)
    x, before = input_for(small, rng), small.vector.copy()
    with pytest.raises(TypeError, match="compress"):
        call(small, x, rng.integers(0, O, (T, B)))
    assert small.vector.tobytes() == before.tobytes()


# --- what works as with any network --------------------------------------------------------------


@each_format
def test_losses_metrics_and_predictions_are_of_its_own_outputs(rng, form):
    small = NETWORKS["rnn"]().compress(form)
    x, targets = input_for(small, rng), rng.integers(0, O, (T, B))
    y = small(x)[0]
    np.testing.assert_array_equal(small.predict(x), y.argmax(axis=2))
    powers = crnn.softmax(y.astype(np.float64))
    picked = np.take_along_axis(powers, targets[..., None], 2)
    assert small.loss(x, targets)[0] == pytest.approx(-np.log(picked).mean(), rel=1e-5)
    assert crnn.evaluate(small, (x, targets)) == small.loss(x, targets)[0]


@each_format
@each_network
def test_files_and_copies_hold_the_same_network(rng, make, form, tmp_path, backend):
    net = make()
    net.metadata = {"loss": "softmax", "targets": "every"}
    small = net.compress(form)
    if not small.bidirectional:
        small.reset(2)
    net.save(tmp_path / "net")
    small.save(tmp_path / "small", {"from": "here"})
    loaded = crnn.load(tmp_path / "small", backend=backend)
    assert loaded.metadata == small.metadata | {"from": "here"}
    x = input_for(small, rng)
    y = small(x)[0]
    for other in (loaded, small.copy(), copy.deepcopy(small), pickle.loads(pickle.dumps(small))):
        assert type(other) is crnn.Compressed
        assert repr(other) == repr(small)
        assert other.config() == small.config()
        assert other(x)[0].tobytes() == y.tobytes()
    if not small.bidirectional:
        assert len(small.copy().state) == len(small.state)
    sizes = [(tmp_path / name).stat().st_size for name in ("small", "net")]
    assert sizes[0] < {"bf16": 0.6, "int8": 0.65}[form] * sizes[1]


def changed(path, form, change):
    """Have a file hold something else, with a right checksum."""
    content = crnn.files.kinds.read(path, "network")
    config = content.header["config"]
    change(content.tensors, config)
    crnn.files.kinds.write(path, content.tensors, {"config": config})


DAMAGE = {
    "no scale": ("int8", lambda tensors, config: tensors.pop("W_hh_l0.scale")),
    "a scale too short": ("int8", lambda tensors, config: tensors.update(
        {"W_hh_l0.scale": tensors["W_hh_l0.scale"][1:]})),
    "-128": ("int8", lambda tensors, config: tensors["W_hh_l0"].__setitem__((0, 0), -128)),
    "a scale of NaN": ("int8", lambda tensors, config: tensors["W_hh_l0.scale"].fill(np.nan)),
    "an infinite scale": ("int8", lambda tensors, config: tensors["W_hh_l0.scale"].fill(np.inf)),
    "a scale of more bits": ("int8", lambda tensors, config: tensors["W_hh_l0.scale"].fill(0.1)),
    "floats": ("int8", lambda tensors, config: tensors.update(
        {"W_hh_l0": tensors["W_hh_l0"].astype(np.float32)})),
    "infinite": ("bf16", lambda tensors, config: tensors["W_hh_l0"].fill(0x7F80)),
    "another format": ("bf16", lambda tensors, config: config.update({"weights": "int8"})),
    "no format": ("bf16", lambda tensors, config: config.pop("weights")),
    "an unknown format": ("bf16", lambda tensors, config: config.update({"weights": "fp8"})),
    "a list": ("bf16", lambda tensors, config: config.update({"weights": ["bf16"]})),
    "float64": ("bf16", lambda tensors, config: config.update({"dtype": "float64"})),
}


@pytest.mark.no_backend
@pytest.mark.parametrize(("form", "change"), DAMAGE.values(), ids=DAMAGE)
def test_a_file_that_holds_something_else_is_refused(form, change, tmp_path):
    path = tmp_path / "small"
    NETWORKS["rnn"]().compress(form).save(path)
    crnn.load(path)
    changed(path, form, change)
    with pytest.raises(crnn.FormatError, match=re.escape(str(path))):
        crnn.load(path)


@pytest.mark.no_backend
@pytest.mark.parametrize(("form", "dtype"), [("bf16", "BF16"), ("int8", "I8")])
def test_files_say_that_an_older_crnn_does_not_read_them(form, dtype, tmp_path):
    """By their version: there the message is to upgrade."""
    NETWORKS["rnn"]().compress(form).save(tmp_path / "small")
    data = (tmp_path / "small").read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    assert header["__metadata__"]["format"] == "crnn 2"
    assert header["W_hh_l0"]["dtype"] == dtype
    safetensors = pytest.importorskip("safetensors.torch")
    pytest.importorskip("torch")
    assert safetensors.load(data)["W_hh_l0"].shape == (H, H)  # for other programs, too


@each_format
def test_other_programs_get_the_rounded_weights(form):
    small = NETWORKS["rnn"]().compress(form)
    state = small.to_torch()
    np.testing.assert_array_equal(state["rnn.weight_hh_l0"], small.parameters["W_hh_l0"].T)
    np.testing.assert_array_equal(small.to_keras()[1], small.parameters["W_hh_l0"])


@each_format
def test_a_character_model_writes_and_is_saved(form, tmp_path):
    vocabulary = crnn.text.Vocabulary("abcdefg")
    net = crnn.GRU(7, 100, 7, seed=0)
    small = net.compress(form)
    crnn.text.save_model(tmp_path / "model", small, vocabulary)
    loaded, _, _ = crnn.text.load_model(tmp_path / "model")
    written = [crnn.text.sample(each, vocabulary, 30, prime="ab", seed=0)
               for each in (small, loaded)]
    assert written[0] == written[1]
    assert len(written[0]) == 30


@pytest.mark.no_backend
def test_outputs_of_steps_that_are_none_are_those_of_int8(rng):
    """A stream makes them anew from the state."""
    layers = [Embedding(20, mask_zero=True), GRU(130), Dense(120)]
    net = crnn.Sequential(40, layers, seed=0, backend="compiled").compress("int8")
    x = rng.integers(1, 40, (9, 3))
    x[4:6, 1], x[5, 2] = 0, 0
    whole, stream = net(x)[0], net.stream(3)
    steps = np.stack([stream.step(tokens) for tokens in x])
    np.testing.assert_array_equal(steps[:4], whole[:4])
    np.testing.assert_allclose(steps, whole, rtol=0, atol=1e-6)

"""Networks as C headers: compiled without a warning, and step by step what `net.step` gives."""

import shutil
import subprocess

import numpy as np
import pytest
from amplifier_files import nam_content, published, written
from c_programs import CC, CXX, MAIN, compiled, needs_cc, stepped

import crnn
from crnn.base.layers import ACTIVATIONS, GATE_ACTIVATIONS
from crnn.exchange.c_arrays import rounded
from crnn.layers import GRU, LSTM, RNN, Activation, Dense, Dropout, Embedding, Masking

pytestmark = pytest.mark.no_backend
HARD = GATE_ACTIVATIONS[1:]
CELLS = {
    "RNN": RNN(5), "RNN, relu": RNN(5, nonlinearity="relu"), "RNN, clip": RNN(5, clip=0.3),
    "GRU": GRU(5), "GRU, relu": GRU(5, candidate="relu"), "GRU, clip": GRU(5, clip=0.25),
    "GRU, before": GRU(5, reset_after=False),
    "GRU, before, relu, clip": GRU(5, reset_after=False, candidate="relu", clip=0.25),
    **{f"GRU, {gate}": GRU(5, gate_activation=gate) for gate in HARD},
    **{f"GRU, before, {gate}": GRU(5, gate_activation=gate, reset_after=False) for gate in HARD},
    "LSTM": LSTM(5), "LSTM, relu": LSTM(5, nonlinearity="relu"), "LSTM, clip": LSTM(5, clip=0.25),
    "LSTM, coupled": LSTM(5, coupled=True), "LSTM, peepholes": LSTM(5, peepholes=True),
    "LSTM, all": LSTM(5, nonlinearity="relu", gate_activation="hard_sigmoid", peepholes=True,
                      coupled=True, clip=0.7),
    **{f"LSTM, {gate}": LSTM(5, gate_activation=gate) for gate in HARD},
}
NETWORKS = {  # the number of inputs, the layers, what else
    **{name: (3, [cell, Dense(2)], {}) for name, cell in CELLS.items()},
    **{f"{name} alone, learned": (3, [CELLS[name]], {"learn_state": True})
       for name in ("RNN", "GRU", "LSTM")},
    **{f"a last layer of {each}": (3, [GRU(5), Dense(4, each)], {}) for each in ACTIVATIONS},
    **{f"{each} between": (3, [GRU(5), Activation(each), Dense(6, each), RNN(4), Dense(2)], {})
       for each in ACTIVATIONS if each != "linear"},
    "a stack": (3, [LSTM(7), Dropout(0.5), LSTM(5), LSTM(4), Dense(2)], {"learn_state": True}),
    "different cells": (3, [Dense(4, "tanh"), GRU(7), LSTM(2), RNN(5), Dense(2, "sigmoid")],
                        {"learn_state": True}),
    "an activation at the top": (3, [GRU(5), Activation("softmax")], {}),
    "a skip": (2, [Dense(4, "relu"), LSTM(5), Dense(2)], {"skip": True}),
    "a skip over states": (5, [LSTM(7), GRU(5)], {"skip": True}),
    "last outputs": (3, [GRU(5), Dense(2)], {"last": True, "batch_first": True}),
    "an embedding": (9, [Embedding(4), GRU(5), Dense(3, "softmax")], {}),
    "a mask": (3, [Masking(0.5), LSTM(4), GRU(5), Dense(4, "relu"), Dense(2)],
               {"learn_state": True}),
    "a mask of states": (3, [Masking(-1e-3), Dense(2, "tanh"), RNN(5)], {}),
    "a mask of tokens": (9, [Embedding(4, mask_zero=True), GRU(5), Dense(3)], {}),
    "one of each": (1, [RNN(1), Dense(1)], {}),
}


def network(inputs, layers, options, rng):
    """Return a network of random parameters, of which no two gates are alike."""
    net = crnn.Sequential(inputs, layers, seed=3, **options)
    net.vector = rng.uniform(-0.7, 0.7, net.num_parameters)
    return net


def steps(net, x):
    net.reset()
    return np.stack([net.step(each) for each in x])


def inputs_for(net, rng, is_of_tokens=False):
    if is_of_tokens:
        return rng.integers(0, net.input_size, 40) * rng.integers(0, 2, 40)  # some are 0
    x = rng.normal(size=(40, net.input_size)).astype("f")
    if isinstance(net, crnn.Sequential) and isinstance(net.layers[0], Masking):
        x[rng.random(x.shape) < 0.7] = net.layers[0].value  # all of x in some steps
        x[0] = net.layers[0].value
    return x


@needs_cc
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_in_c_gives_what_step_gives(tmp_path, rng, name):
    net = network(*NETWORKS[name], rng)
    x = inputs_for(net, rng, isinstance(net.layers[0], Embedding))
    wanted = steps(net, x)
    net.to_c(tmp_path / "net.h")
    y = stepped(tmp_path, x, wanted.shape[1])
    np.testing.assert_allclose(y, wanted, rtol=0, atol=1e-6 * max(1, abs(wanted).max()))


@needs_cc
@pytest.mark.parametrize("name", ["RNN", "GRU", "LSTM"])
def test_the_short_forms(tmp_path, rng, name):
    net = getattr(crnn, name)(3, (6, 4), 2, dropout=0.5, seed=0, dtype="float64")
    x = inputs_for(net, rng)
    net.to_c(tmp_path / "net.h")
    np.testing.assert_allclose(stepped(tmp_path, x, 2), steps(net, x), rtol=0, atol=1e-6)


@needs_cc
@pytest.mark.parametrize("weights", ["float", "int8"])
def test_tokens_without_an_embedding(tmp_path, rng, weights):
    net = network(9, [GRU(5), Dense(3)], {}, rng)
    net.to_c(tmp_path / "net.h", tokens=True, weights=weights)
    x = inputs_for(net, rng, is_of_tokens=True)
    wanted = steps(round_like_int8(net) if weights == "int8" else net, x)
    np.testing.assert_allclose(stepped(tmp_path, x, 3), wanted, rtol=0, atol=2e-6)


def round_like_int8(net):
    """Return a network whose matrices are what int8 and its scales stand for."""
    net = net.copy()
    for name, array in net.parameters.items():
        if name.startswith("W_hh") and array.shape[1] == 3 * len(array):  # a GRU's, which is in two
            parts = np.split(array, [2 * len(array)], axis=1)
        else:
            parts = [array] if name.startswith(("W_xh", "W_hh", "W_hy")) else []
        if parts:
            net.parameters[name] = np.hstack(
                [whole * scale[:, None] for whole, scale in map(rounded, parts)])
    return net


@needs_cc
@pytest.mark.parametrize("name", ["different cells", "a stack", "an embedding", "LSTM, all"])
def test_int8_weights(tmp_path, rng, name):
    """They are what they stand for, exactly; how far that is off is another matter."""
    net = network(*NETWORKS[name], rng)
    x = inputs_for(net, rng, isinstance(net.layers[0], Embedding))
    wanted = steps(round_like_int8(net), x)
    net.to_c(tmp_path / "net.h", weights="int8")
    y = stepped(tmp_path, x, wanted.shape[1])
    np.testing.assert_allclose(y, wanted, rtol=0, atol=2e-6 * max(1, abs(wanted).max()))
    np.testing.assert_allclose(y, steps(net, x), rtol=0, atol=0.05)


def test_a_matrix_in_int8_is_off_by_half_a_scale(rng):
    matrix = rng.normal(size=(6, 50)) * np.array([[1e-30], [1e-3], [1], [7], [1e30], [0]])
    whole, scale = rounded(matrix)
    error = abs(whole * scale[:, None].astype(float) - matrix)
    assert (error <= 0.5001 * scale[:, None]).all()
    assert abs(whole[:5]).max(axis=1).tolist() == [127] * 5


@needs_cc
def test_a_published_amplifier_in_c(tmp_path, shared):
    if not (shared.parent / "models").is_dir():
        pytest.skip("the published networks are not here")
    arrays = published(shared.parent / "models", "nam_boss_lstm2x8")
    crnn.from_nam(written(tmp_path / "amp.nam", nam_content(arrays))).to_c(tmp_path / "net.h")
    y = stepped(tmp_path, arrays["x"][:, 0], 1)
    np.testing.assert_allclose(y, arrays["expected_y"][:, 0], rtol=0, atol=1e-4)


BUGS = [
    ("a gate of another place", "a[5 + j]", "a[j]"),
    ("a bias dropped", "net_copy(a, net_b_h_l0, 15)", "net_copy(a, net_b_h_l0, 14); a[14] = 0"),
    ("z for 1 - z", "(1.0f - z) * n + z *", "z * n + (1.0f - z) *"),
    ("no candidate's bias", "net_copy(q, net_b_hn_l0, 5)", "net_copy(q, net_b_h_l0, 5)"),
    ("a learned state ignored", "net_copy(state->h_l0, net_h_0_l0, 5)", "state->h_l0[0] = 0.0f"),
    ("a row of W too few", "i < inputs;", "i < inputs - 1;"),
]


@needs_cc
@pytest.mark.parametrize(("old", "new"), [each[1:] for each in BUGS], ids=[b[0] for b in BUGS])
def test_the_comparison_sees_a_bug(tmp_path, rng, old, new):
    net = network(3, [GRU(5), Dense(2)], {"learn_state": True}, rng)
    net.to_c(tmp_path / "net.h")
    code = (tmp_path / "net.h").read_text()
    assert old in code
    (tmp_path / "net.h").write_text(code.replace(old, new))
    x = inputs_for(net, rng)
    wanted = steps(net, x)
    assert abs(stepped(tmp_path, x, 2, options=("-std=c99", "-O1", "-Wno-error")) - wanted
               ).max() > 1e-3


# --- the file -----------------------------------------------------------------------------------


@needs_cc
def test_two_files_and_two_networks_in_one_program(tmp_path, rng):
    """Each of two files includes both; it is C++, too."""
    nets = {name: network(3, [GRU(5), Dense(2)], {}, rng) for name in ("amp", "gate_2")}
    for name, net in nets.items():
        net.to_c(tmp_path / f"{name}.h", name=name, weights="int8" if name == "amp" else "float")
    include = '#include "amp.h"\n#include "gate_2.h"\n#include "amp.h"\n'
    (tmp_path / "other.c").write_text(
        include + "float other(float x);\nfloat other(float x)\n{\n"
        "    amp_state state;\n    float in[3], y[2];\n    in[0] = in[1] = in[2] = x;\n"
        "    amp_reset(&state);\n    amp_step(&state, in, y);\n    return y[0];\n}\n")
    main = MAIN.format(name="gate_2", outputs=2, x="float x[3]", address="x")
    (tmp_path / "main.c").write_text(include + main)
    compiled(tmp_path, "main.c", "other.c")
    compiled(tmp_path, "main.c", "other.c", options=("-std=c99", "-O0"))
    if CXX:
        compiled(tmp_path, "main.c", "other.c", compiler=CXX, options=("-x", "c++", "-std=c++11"))


@needs_cc
@pytest.mark.skipif(shutil.which("nm") is None, reason="needs nm (binutils)")
def test_nothing_is_called_but_functions_of_math_h(tmp_path, rng):
    net = network(*NETWORKS["different cells"], rng)
    net.to_c(tmp_path / "net.h")
    (tmp_path / "own.c").write_text(
        '#include "net.h"\nvoid own(net_state *s, float *y);\n'
        "void own(net_state *s, float *y)\n{\n    net_reset(s);\n    net_step(s, y, y + 9);\n}\n")
    subprocess.run([CC, "-std=c99", "-O0", "-c", "own.c"], cwd=tmp_path, check=True)
    undefined = subprocess.run(["nm", "-u", "own.o"], cwd=tmp_path, check=True, text=True,
                               capture_output=True).stdout.split()
    assert set(undefined) - {"U", "_GLOBAL_OFFSET_TABLE_"} == {"expf", "tanhf"}


def test_the_comment_says_how_it_is_used_and_how_large_it_is(tmp_path, rng):
    net = network(3, [LSTM(5), Dense(4, "relu"), Dense(2)], {}, rng)
    net.to_c(tmp_path / "my net.h", name="amp")
    code = (tmp_path / "my net.h").read_text()
    for line in (
        '#include "amp.h"', "float x[3], y[2];", "amp_reset(&state);", "amp_step(&state, x, y);",
        f"Weights: {4 * net.num_parameters} bytes", "State: 40 bytes. Stack: 96 bytes",
        "Multiplications in a step: about 188.", "#ifndef CRNN_AMP_H",
    ):
        assert line in code
    net.to_c(tmp_path / "amp-8.h", name="amp", weights="int8")
    code = (tmp_path / "amp-8.h").read_text()
    rows, biases = 3 + 5 + 5 + 4, 20 + 4 + 2
    assert f"Weights: {188 + 4 * rows + 4 * biases} bytes" in code
    assert '#include "amp-8.h"' in code
    assert max(map(len, code.splitlines())) <= 110


def test_numbers_are_read_back_exactly(tmp_path):
    net = crnn.RNN(1, 4, seed=0)
    net.parameters["b_h_l0"] = np.array([1e-45, -0.0, 3.4028235e38, 0.1], "f")
    net.to_c(tmp_path / "net.h")
    code = (tmp_path / "net.h").read_text()
    assert "    1e-45f, -0.0f, 3.4028235e+38f, 0.1f,\n" in code
    row = code.split("net_W_hh_l0[16]")[1].split("{")[1].split("}")[0]
    numbers = [np.float32(each.strip().removesuffix("f")) for each in
               row.split("*/")[1].split(",")[:16]]
    np.testing.assert_array_equal(numbers, net.parameters["W_hh_l0"].ravel())


# --- what cannot be written ---------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "2a", "a b", "a-b", "_a", "a_", "a__b", "é", "a" * 41, "a\n"])
def test_a_name_that_c_has_not_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match="name is"):
        crnn.RNN(1, 2).to_c(tmp_path / "net.h", name=name)
    assert not list(tmp_path.iterdir())


REFUSED = {
    "two directions": (3, [GRU(5, bidirectional=True)], {}, {}, "bidirectional"),
    "tokens with a mask": (3, [Masking(), GRU(5)], {}, {"tokens": True}, "compares features"),
    "an embedding of floats": (3, [Embedding(2), GRU(5)], {}, {"tokens": False}, "embedding"),
    "tokens with a skip": (3, [GRU(3)], {"skip": True}, {"tokens": True}, "adds the input"),
    "weights of another kind": (3, [GRU(3)], {}, {"weights": "int4"}, "'float', 'int8'"),
}


@pytest.mark.parametrize(("inputs", "layers", "options", "call", "message"), REFUSED.values(),
                         ids=REFUSED)
def test_what_c_cannot_have_is_refused(tmp_path, inputs, layers, options, call, message):
    (tmp_path / "net.h").write_text("as it was")
    net = crnn.Sequential(inputs, layers, **options)
    with pytest.raises(ValueError, match=message):
        net.to_c(tmp_path / "net.h", **call)
    assert (tmp_path / "net.h").read_text() == "as it was"


def test_kinds_that_are_wrong(tmp_path):
    net = crnn.RNN(1, 2)
    for call in ({"name": 3}, {"weights": 8}, {"tokens": "yes"}):
        with pytest.raises(TypeError):
            net.to_c(tmp_path / "net.h", **call)
    with pytest.raises(TypeError):
        net.to_c(3)
    with pytest.raises(FileNotFoundError):
        net.to_c(tmp_path / "none" / "net.h")


def test_numbers_that_are_not_finite_are_refused(tmp_path):
    net = crnn.RNN(1, 2, dtype="float64")
    for number in (np.nan, np.inf, 1e39):
        net.parameters["b_h_l0"] = [0, number]
        with pytest.raises(ValueError, match="b_h_l0 has a number that is not finite in float32"):
            net.to_c(tmp_path / "net.h")
    with pytest.raises(ValueError, match="complex"):
        crnn.reference.RNN(1, 2, dtype="complex128").to_c(tmp_path / "net.h")

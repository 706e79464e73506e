"""Checks of networks that every bug in planted_bugs.py has to face.

Each takes the reference's functions, which may be broken; other modules are broken where they are.
"""

import functools
import importlib
import itertools
import sys

import cell_networks as cells
import numpy as np
import pytest
from builds import INSTRUCTION_SETS, KINDS, kernels_of, network_of, parts_of, state_of
from cell_steps import check_options
from formula_cases import (
    activation,
    adagrad_update,
    adam_update,
    is_finite,
    norm,
    rmsprop_update,
    run,
    sgd_update,
)
from optimizer_cases import BY_HAND, two_steps
from passes import assert_close
from worked_example import RELU, TANH, check_formulas, check_passes

import crnn
from crnn.base.losses import LOSSES
from crnn.layers import GRU, LSTM, RNN, Activation, Dense, Dropout, Embedding

STEP = 1e-30
T, B, I, H, O = 5, 4, 3, 6, 7  # noqa: E741
LENGTHS = (2, 5, 0, 1)


def network(kind, *sizes, rng, **options):
    """Return a float64 network on the reference with random parameters of some size."""
    net = network_of(kind, *sizes, dtype="float64", seed=rng, backend="reference", **options)
    net.vector = rng.uniform(-0.7, 0.7, net.num_parameters)
    return net


def state_for(net, rng, batch=B):
    rows = net.num_layers * (1 + net.bidirectional)
    count = 2 if isinstance(net, crnn.LSTM) else 1
    return state_of([rng.standard_normal((rows, batch, net.hidden_size)) for _ in range(count)])


def input_for(rng, tokens=False, batch=B):
    return rng.integers(0, I, (T, batch)) if tokens else rng.standard_normal((T, batch, I))


def targets_for(rng, loss, net, last_only=False):
    features = net.output_size or (1 + net.bidirectional) * net.hidden_size
    shape = (B,) if last_only else (T, B)
    if loss == "softmax":
        return rng.integers(0 if last_only else -1, features, shape)
    return rng.uniform(size=(*shape, features // LOSSES[loss].blocks))


def weighted(rng, targets):
    """Return weights for targets of numbers, of which some are missing, as options of a loss."""
    targets[:, 0].flat[::3] = np.nan
    weights = rng.uniform(0.5, 2, targets.shape[:2])
    weights[1, 1:] = 0
    return {"sample_weight": weights, "missing": "skip"}


# --- worked by hand, and formulas of textbooks ---------------------------------------------------


def check_handworked(module):
    for example in (TANH, RELU):
        check_formulas(module, example)
        check_passes(example, backend="reference")


def check_updates(module):
    """Two steps of each optimizer, worked by hand."""
    for opt, w, g1, g2, expected in BY_HAND:
        found = two_steps(opt, w, g1, g2, module)
        np.testing.assert_allclose(found, expected, rtol=1e-14, atol=1e-15)


def step_of_textbook(kind, p, x, h, c):
    """Return h and c of one step of a gated cell, with a formula for each gate's own columns."""

    def share(gate, h=h):
        columns = slice(gate * H, (gate + 1) * H)
        return p["W_xh_l0"].T[columns] @ x + p["b_h_l0"][columns] + p["W_hh_l0"].T[columns] @ h

    def sigmoid(a):
        return 1 / (1 + np.exp(-a))

    if kind.cell == "LSTM":
        c = sigmoid(share(1)) * c + sigmoid(share(0)) * np.tanh(share(2))
        return sigmoid(share(3)) * np.tanh(c), c
    r, z = sigmoid(share(0)), sigmoid(share(1))
    if kind.reset_after:
        n = share(2, 0 * h) + r * (p["W_hh_l0"].T[2 * H :] @ h + p["b_hn_l0"])
    else:
        n = share(2, r * h)
    n = np.tanh(n) if kind.nonlinearity == "tanh" else np.maximum(n, 0)
    return (1 - z) * n + z * h, c


def check_textbook(module):
    rng = np.random.default_rng(7)
    for name, kind in KINDS.items():
        if kind.has_gates:
            net = network(name, I, H, rng=rng)
            x, state = input_for(rng), state_for(net, rng)
            y, _ = net(x, state)
            for b in range(B):
                h, c = parts_of(state)[0][0, b], parts_of(state)[-1][0, b]
                for t in range(T):
                    h, c = step_of_textbook(kind, net.parameters, x[t, b], h, c)
                    assert_close(y[t, b], h, 1e-12)


# --- derivatives ---------------------------------------------------------------------------------

RAGGED = {"lengths": LENGTHS}
LAST = {"last_only": True}
DERIVATIVES = [
    {"loss": "softmax", "reduction": "mean", **RAGGED},
    {"loss": "softmax", "kind": "rnn-relu", **LAST, **RAGGED},
    {"loss": "sigmoid", "reduction": "mean", "tokens": True, **LAST},
    {"loss": "mse", "reduction": "mean", "kind": "rnn-relu", "outputs": None, **RAGGED},
    {"loss": "mse"},
    {"loss": "softmax", "kind": "gru-after-tanh", **RAGGED},
    {"loss": "mse", "kind": "gru-before-tanh", "tokens": True},
    {"loss": "mse", "kind": "gru-before-relu", "num_layers": 2, **RAGGED},
    {"loss": "mse", "kind": "gru-after-tanh", **LAST, **RAGGED},
    {"loss": "mse", "kind": "lstm", **RAGGED},
    {"loss": "softmax", "kind": "lstm", **LAST, **RAGGED},
    {"loss": "softmax", "kind": "lstm", "num_layers": 2, "bidirectional": True, **RAGGED},
    {"loss": "mse", "kind": "gru-after-relu", "bidirectional": True, **LAST, **RAGGED},
    {"loss": "mse", "num_layers": 3, "dropout": 0.4, "bidirectional": True},
    {"loss": "mse", "kind": "lstm", "bidirectional": True, "learn_state": True, **RAGGED},
    {"loss": "mse", "kind": "lstm", "learn_state": True, "has_state": False, **RAGGED},
    {"loss": "mae", "reduction": "mean", "weights": True},
    {"loss": "huber", "weights": True},
    {"loss": "quantile", "outputs": 6, "reduction": "mean", "weights": True},
    {"loss": "gaussian", "outputs": 6, **RAGGED, "weights": True},
]


def check_complex_step(module):
    """Gradients against complex-step derivatives, along two random directions of each array."""
    rng = np.random.default_rng(1)
    for options in DERIVATIVES:
        check_derivatives(rng, **options)


def check_derivatives(
    rng, loss, *, kind="rnn-tanh", reduction="sum", tokens=False, lengths=None, last_only=False,
    outputs=O, has_state=True, weights=False, **options
):
    net = network(kind, I, H, outputs, rng=rng, **options)
    twin = network_of(
        kind, I, H, outputs, dtype="complex128", backend="reference", **options)
    x, state, targets = input_for(rng, tokens), state_for(net, rng), targets_for(
        rng, loss, net, last_only)
    state = state if has_state else None
    given, begin = {"loss": loss, "reduction": reduction, "lengths": lengths}, net.dropout_state
    given |= weighted(rng, targets) if weights else {}

    def function(point):
        """Return the loss; with dropout that of the same choices, of which only forward knows."""
        twin.vector, twin.dropout_state = point["vector"], begin
        parts = [each for name, each in point.items() if name.startswith("state")]
        start = state_of(parts) if has_state else None
        if not net.dropout:
            return twin.loss(point["x"], targets, start, **given)[0]
        return ((twin.forward(point["x"], start)[0] - targets) ** 2).sum()

    _, grads, _ = net.loss_and_gradients(x, targets, state, **given)
    point, found = {"vector": net.vector, "x": x}, {"vector": grads.vector, "x": grads.x}
    starts = parts_of(state) if has_state else ()
    for i, (start, gradient) in enumerate(zip(starts, parts_of(grads.state), strict=False)):
        point[f"state {i}"], found[f"state {i}"] = start, gradient
    for name, gradient in found.items():
        for _ in range(0 if gradient is None else 2):
            direction = rng.standard_normal(gradient.shape)
            moved = point | {name: point[name] + 1j * STEP * direction}
            exact = function(moved).imag / STEP
            assert abs((gradient * direction).sum() - exact) <= 1e-11, name


# --- the compiled code ----------------------------------------------------------------------------


def check_kernels(module):
    """Every function against its twin, and networks of the two backends."""
    rng = np.random.default_rng(2)
    functions = kernels_of(INSTRUCTION_SETS[-1], "float64")
    cases = [(activation, (17, name)) for name in ("tanh", "relu", "sigmoid")]
    cases += [(sgd_update, (17, 0.9, nesterov, 0.05)) for nesterov in (False, True)]
    cases += [(sgd_update, (17, 0, False, 0.05)), (adagrad_update, (17, 0.05))]
    cases += [(rmsprop_update, (17, centered, 0.9, 0.05)) for centered in (False, True)]
    cases += [(adam_update, (17, 0.05, 0.99)), (norm, (17,)), (is_finite, (17, 5))]
    for maker, each in cases:
        arguments, outputs, *_ = maker(rng, "float64", *each)
        (ours, our_result), (theirs, their_result) = (
            run(side, maker.__name__, arguments) for side in (functions, module)
        )
        for our, their in zip(ours[:outputs], theirs[:outputs], strict=True):
            assert_close(their, our, rtol=1e-12)
        if isinstance(our_result, bool):
            assert their_result == our_result
        else:
            assert_close(their_result, our_result, rtol=1e-12)
    for kind, options in NETWORKS:
        check_compiled(rng, kind, **options)


NETWORKS = [  # each kind of cell, loss and input; more outputs than a panel of weights has columns
    ("rnn-tanh", {}),
    ("rnn-relu", {"ragged": True, "loss": "mse", "last_only": True}),
    ("rnn-tanh", {"tokens": True, "size": 1000.0}),
    ("rnn-relu", {"tokens": True, "ragged": True, "loss": "sigmoid", "size": 1000.0}),
    ("rnn-tanh", {"readout": False, "loss": "mse", "num_layers": 3, "bidirectional": True,
                  "ragged": True}),
    ("rnn-relu", {"num_layers": 3}),
    ("gru-after-tanh", {"ragged": True, "loss": "mse"}),
    ("gru-after-relu", {"tokens": True, "bidirectional": True, "ragged": True, "last_only": True}),
    ("gru-before-tanh", {"ragged": True, "num_layers": 2, "loss": "sigmoid"}),
    ("gru-before-relu", {"loss": "mse", "bidirectional": True, "dropout": 0.4, "num_layers": 2}),
    ("lstm", {"ragged": True, "loss": "mse"}),
    ("lstm", {"num_layers": 3, "ragged": True, "dropout": 0.4, "bidirectional": True}),
    ("lstm", {"tokens": True, "num_layers": 2, "saturated": True}),
    ("gru-after-tanh", {"saturated": True, "num_layers": 2, "last_only": True, "ragged": True}),
    ("lstm", {"num_layers": 2, "learn_state": True, "ragged": True}),
    ("lstm", {"num_layers": 2, "learn_state": True, "ragged": True, "has_state": False}),
    ("rnn-tanh", {"loss": "mae", "weights": True}),
    ("rnn-tanh", {"loss": "huber", "weights": True, "ragged": True}),
    ("rnn-tanh", {"loss": "quantile", "weights": True}),
    ("rnn-tanh", {"loss": "gaussian", "weights": True}),
]


def check_compiled(
    rng, kind, *, tokens=False, ragged=False, loss="softmax", last_only=False, readout=True,
    size=1.0, saturated=False, has_state=True, weights=False, **options
):
    """Everything that a network makes of its input, on both backends.

    ``size`` is that of the logits, ``saturated`` puts gates far from where they are linear.
    """
    outputs = 36 + (LOSSES[loss].blocks == 1) if readout else None
    nets = [network_of(kind, I, H, outputs, dtype="float64", seed=3, backend=each, **options)
            for each in ("compiled", "reference")]
    nets[0].vector = rng.uniform(-0.7, 0.7, nets[0].num_parameters)
    if readout:
        nets[0].parameters["W_hy"] = size * nets[0].parameters["W_hy"]
    if saturated:
        b_h = nets[0].parameters["b_h_l0"]
        nets[0].parameters["b_h_l0"] = b_h + 800 * rng.integers(-1, 2, b_h.shape)
    nets[1].vector = nets[0].vector
    x, state = input_for(rng, tokens), state_for(nets[0], rng) if has_state else None
    targets = targets_for(rng, loss, nets[0], last_only)
    targets.flat[0] = 0  # the first class is one as all others
    dy = rng.standard_normal((T, B, outputs or H * (1 + nets[0].bidirectional)))
    lengths = LENGTHS if ragged else None
    given = {"loss": loss, "lengths": lengths} | (weighted(rng, targets) if weights else {})
    ours, theirs = (everything(net, x, state, targets, dy, given) for net in nets)
    for name, their in theirs.items():
        assert_close(ours[name], their, 1e-12, name)


def everything(net, x, state, targets, dy, given):
    """Return all that a network makes of its input, by name."""
    lengths = given["lengths"]
    y, last = net(x, state, lengths=lengths)
    again, after, cache = net.forward(x, state, lengths=lengths)
    back, found = net.backward(cache, dy, last), {"y": y, "y again": again}
    found["loss"], _ = net.loss(x, targets, state, **given)
    found["loss again"], grads, _ = net.loss_and_gradients(x, targets, state, **given)
    states = {"last": last, "after": after, "back": back.state, "loss's": grads.state}
    for name, each in states.items():
        arrays = [array for part in parts_of(each) for array in part]
        found |= {f"{name} {i}": array for i, array in enumerate(arrays)}
    for what, each in (("back", back), ("loss", grads)):
        found |= {f"{name}, {what}": array for name, array in each.parameters.items()}
        found |= {} if each.x is None else {f"x, {what}": each.x}
    return found


UNLIKE = [  # layers, options, losses
    ([Dense(5, "tanh"), Dropout(0.3), LSTM(4, bidirectional=True), Dropout(0.4),
      Activation("relu"), GRU(6), Dense(5, "softmax"), Dropout(0.2), Dense(2, "sigmoid")],
     {}, ["mse", "sigmoid"]),
    ([RNN(4), LSTM(4), RNN(5), Dense(4, "hard_sigmoid"), Dense(I)], {"skip": True}, ["mse"]),
    ([GRU(4, bidirectional=True), Dense(3, "relu"), Dense(3, "softmax")], {"learn_state": True},
     ["softmax", "mse"]),
    ([Embedding(4), GRU(5, bidirectional=True), Dense(2)], {}, ["softmax"]),
]


def check_unlike(module):
    """Networks of unlike layers, on both backends."""
    rng = np.random.default_rng(13)
    for layers, options, losses in UNLIKE:
        nets = [crnn.Sequential(I, layers, dtype="float64", seed=3, backend=each, **options)
                for each in ("compiled", "reference")]
        nets[0].vector = rng.uniform(-0.7, 0.7, nets[0].num_parameters)
        nets[1].vector = nets[0].vector
        x, dy = (input_for(rng, isinstance(layers[0], Embedding)),
                 rng.standard_normal((T, B, nets[0].output_size)))
        for loss, last in itertools.product(losses, (False,) if nets[0].skip else (False, True)):
            targets, given = targets_for(rng, loss, nets[0], last), {"loss": loss}
            ours, theirs = (everything(net, x, None, targets, dy, given | {"lengths": LENGTHS})
                            | {"ends": net(x, last=last)[0]} for net in nets)
            for name, their in theirs.items():
                assert_close(ours[name], their, 1e-12, name)


# --- parts of batches, of sequences, of networks -------------------------------------------------


def check_lengths(module):
    """Each sequence of a padded batch against itself alone."""
    rng = np.random.default_rng(3)
    for kind, loss, last_only, options in (
        ("rnn-tanh", "softmax", False, {}), ("rnn-tanh", "mse", False, {}),
        ("rnn-tanh", "softmax", True, {}), ("gru-after-tanh", "mse", False, {}),
        ("gru-before-tanh", "mse", False, {"num_layers": 2, "bidirectional": True}),
        ("lstm", "softmax", False, {}), ("lstm", "mse", True, {"bidirectional": True}),
        ("lstm", "mse", True, {}), ("gru-after-tanh", "mse", True, {}),
    ):
        net = network(kind, I, H, O, rng=rng, **options)
        x, state, targets = input_for(rng), state_for(net, rng), targets_for(
            rng, loss, net, last_only)
        check_each_alone(net, x, state, targets, {"loss": loss, "reduction": "sum"}, last_only)


def check_each_alone(net, x, state, targets, options, last_only):
    y, last = net(x, state, lengths=LENGTHS)
    value, grads, _ = net.loss_and_gradients(x, targets, state, **options, lengths=LENGTHS)
    total, sum_of_parts = 0.0, np.zeros_like(grads.vector)
    for b, n in enumerate(LENGTHS):
        own_targets = targets[b] if last_only else targets[:n, b]
        own_state = state_of([each[:, b] for each in parts_of(state)])
        y_alone, last_alone = net(x[:n, b], own_state)
        part, alone, _ = net.loss_and_gradients(x[:n, b], own_targets, own_state, **options)
        total, sum_of_parts = total + part, sum_of_parts + alone.vector
        assert not y[n:, b].any()
        assert not grads.x[n:, b].any()
        assert_close(y[:n, b], y_alone, rtol=1e-12)
        assert_close(grads.x[:n, b], alone.x, rtol=1e-12)
        for ours, theirs in ((last, last_alone), (grads.state, alone.state)):
            for our, their in zip(parts_of(ours), parts_of(theirs), strict=True):
                assert_close(our[:, b], their, rtol=1e-12)
    assert_close(value, total, rtol=1e-12)
    assert_close(grads.vector, sum_of_parts, rtol=1e-12)


def check_steps(module):
    """One step at a time, and a block of them, against the whole sequence."""
    rng = np.random.default_rng(4)
    for kind, tokens, options in (
        ("rnn-tanh", False, {}), ("rnn-tanh", True, {}),
        ("gru-after-tanh", True, {"num_layers": 2}),
        ("gru-before-tanh", False, {"num_layers": 2}), ("lstm", False, {"num_layers": 2}),
        ("lstm", False, {"num_layers": 2, "learn_state": True}),
    ):
        net = network(kind, I, H, O, rng=rng, **options)
        stream, other = net.stream(B), net.stream(B)
        net.vector = rng.uniform(-0.7, 0.7, net.num_parameters)
        x, state = input_for(rng, tokens), None if net.learn_state else state_for(net, rng)
        y, last = net(x, state)
        if state is not None:
            stream.state = other.state = state
        assert_close([stream.step(each) for each in x], y, rtol=1e-12)
        assert_close(other.run(x), y, rtol=1e-12)
        for each in (stream, other):
            for ours, theirs in zip(parts_of(each.state), parts_of(last), strict=True):
                assert_close(ours, theirs, rtol=1e-12)


def check_apart(module):
    """Layers and directions, and what is dropped between them, put together one by one."""
    rng = np.random.default_rng(8)
    for kind, options in (
        ("rnn-tanh", {"num_layers": 3}), ("lstm", {"bidirectional": True}),
        ("gru-after-tanh", {"num_layers": 3, "bidirectional": True, "dropout": 0.4}),
    ):
        net = network(kind, H, H, rng=rng, **options)  # so that all layers have the same sizes
        x, state, begin = rng.standard_normal((T, B, H)), state_for(net, rng), net.dropout_state
        for lengths in (None, LENGTHS):
            expected = one_by_one(kind, net, x, state, lengths, None)
            assert_close(net(x, state, lengths=lengths)[0], expected, 1e-12)
            generator = np.random.default_rng()
            generator.bit_generator.state = net.dropout_state = begin
            expected = one_by_one(kind, net, x, state, lengths, generator)
            assert_close(net.forward(x, state, lengths=lengths)[0], expected, 1e-12)


def one_by_one(kind, net, x, state, lengths, generator):
    """Return a network's outputs from networks of one layer; with a generator, drop some."""
    for layer in range(net.num_layers):
        if layer and net.dropout and generator:
            stays = generator.random(x.shape, np.float32) >= net.dropout
            x = x * stays / (1 - net.dropout)
        ways = []
        for way in range(1 + net.bidirectional):
            suffix = f"_l{layer}" + way * "_reverse"
            single = network_of(kind, x.shape[2], H, dtype="float64", backend="reference")
            for name in single.parameters:
                single.parameters[name] = net.parameters[name.removesuffix("_l0") + suffix]
            row = layer * (1 + net.bidirectional) + way
            own = state_of([each[row : row + 1] for each in parts_of(state)])
            turned = turn_round(x, lengths) if way else x
            y, _ = single(turned, own, lengths=lengths)
            ways.append(turn_round(y, lengths) if way else y)
        x = np.concatenate(ways, axis=2)
    return x


def turn_round(x, lengths):
    turned = x.copy()
    for b, n in enumerate([len(x)] * B if lengths is None else lengths):
        turned[:n, b] = x[:n, b][::-1]
    return turned


# --- packing -------------------------------------------------------------------------------------


def check_packing(module):
    """After each change of a compiled network's parameters, everything against one that is new."""
    rng = np.random.default_rng(5)
    for kind, tokens in (("rnn-tanh", False), ("rnn-tanh", True), ("gru-after-tanh", False)):
        net = network_of(kind, I, 33, 17, dtype="float64", seed=3, backend="compiled")
        x, state, optimizer = input_for(rng, tokens, 9), state_for(net, rng, 9), crnn.SGD(0.1)
        data = x, state, rng.integers(0, 17, (T, 9)), rng.standard_normal((T, 9, 17))
        for change in ("none", "vector", "name", "optimizer"):
            if change == "vector":
                net.vector = rng.uniform(-0.5, 0.5, net.num_parameters)
            elif change == "name":
                net.parameters["W_hh_l0"] = -0.5 * net.parameters["W_hh_l0"]
            elif change == "optimizer":
                optimizer.step(net, net.loss_and_gradients(data[0], data[2])[1])
            new = network_of(kind, I, 33, 17, dtype="float64", backend="compiled")
            new.vector = net.vector
            vectors = [each.loss_and_gradients(x, data[2])[1].vector for each in (net, new)]
            np.testing.assert_array_equal(*vectors)  # first, as others pack anew for it as well
            given = {"loss": "softmax", "lengths": None}
            ours, theirs = (everything(each, *data, given) for each in (net, new))
            for name, result in theirs.items():
                np.testing.assert_array_equal(ours[name], result, err_msg=name)
    check_table(rng)


def check_table(rng):
    """What a table's rows give the layer above follows the parameters, too."""
    net = crnn.Sequential(I, [Embedding(4), LSTM(5), Dense(2)], seed=3, backend="compiled")
    x = input_for(rng, tokens=True)
    for _ in range(3):
        for ask in (lambda: net(x)[0], lambda: net.stream(B).run(x)):
            np.testing.assert_array_equal(ask(), net.forward(x)[0])
        net.vector = rng.uniform(-0.7, 0.7, net.num_parameters)


def check_changes(module):
    """Parameters that change while a weight is packed are not missed."""
    rng = np.random.default_rng(6)
    for kind, options in (("rnn-tanh", {}), ("lstm", {"num_layers": 2})):
        net, new = (network_of(kind, I, 33, 17, dtype="float64", backend="compiled", **options)
                    for _ in range(2))
        x, targets, left = input_for(rng, batch=9), rng.integers(0, 17, (T, 9)), []
        repack = net.engine.weights._repack

        def repack_and_change(*arguments, repack=repack, net=net, left=left):
            repack(*arguments)
            if left:  # as another thread might
                net.vector = left.pop()

        net.engine.weights._repack = repack_and_change
        for ask in (lambda net, x, y: net(x)[0], lambda net, x, y: net.loss(x, y)[0],
                    lambda net, x, y: net.loss_and_gradients(x, y)[1].vector):
            ask(net, x, targets)
            for _ in range(3):
                left[:] = rng.uniform(-0.5, 0.5, (2, net.num_parameters))
                new.vector = left[0]
                net.vector = left[1]
                ask(net, x, targets)
                assert not left
                np.testing.assert_array_equal(ask(net, x, targets), ask(new, x, targets))


# --- plans and schedules --------------------------------------------------------------------------


def plans_of(net):
    """Return the module that a compiled network's plans are from."""
    return sys.modules[type(net.engine).__module__.replace(".compiled", ".plans")]


def check_schedules(module):
    """Networks of the two backends, in small blocks of time steps and in groups of sequences."""
    plans = plans_of(network_of("lstm", I, H, O, backend="compiled"))
    blocks = {"BLOCK_NUMBERS": 2 * B * 37}
    groups = {"SHARED_SEQUENCES": 1, "GROUP_SEQUENCES": 2, "GROUP_WORK": 1}
    for changed in (blocks, groups):
        rng = np.random.default_rng(9)
        with pytest.MonkeyPatch.context() as patch:
            for name, value in changed.items():
                patch.setattr(plans, name, value)
            for kind, options in NETWORKS:
                check_compiled(rng, kind, **options)


def check_sums(module):
    """Gradients in float32, over so many equal rows that a plain sum would lose digits."""
    rng = np.random.default_rng(12)
    for backend, kind, steps, batch in (("compiled", "rnn-tanh", 2, 500_000),
                                        ("reference", "gru-after-tanh", 2, 100_000)):
        nets = [network_of(kind, I, 2, 1, dtype=dtype, backend=each, bidirectional=True)
                for dtype, each in (("float32", backend), ("float64", "compiled"))]
        vector = rng.uniform(-0.7, 0.7, nets[0].num_parameters).astype("float32")
        found = []
        for net in nets:
            net.vector = vector
            x, targets = np.ones((steps, batch), int), np.ones((steps, batch, 1))
            found.append(net.loss_and_gradients(x, targets, loss="mse")[1].parameters)
        for name, expected in found[1].items():
            assert np.abs(found[0][name] - expected).max() <= 2e-5 * np.abs(expected).max(), name


def check_masks(module):
    """Steps that are none change nothing of the others: sequences cut by hand say the same."""
    close = functools.partial(assert_close, rtol=1e-12)
    rng, layers = np.random.default_rng(15), crnn.layers
    valid = np.array([[1, 0, 1], [0, 1, 1], [0, 0, 1], [1, 1, 1], [0, 1, 0]], bool)
    x = np.where(valid[:, :, None], rng.standard_normal((T, 3, I)), -1.5)
    targets, weights = rng.standard_normal((T, 3, O)), rng.uniform(0.5, 2, (T, 3))
    lengths = np.array([5, 5, 4])
    for both in (False, True):
        stack = [layers.GRU(H, bidirectional=both), layers.Dense(O)]
        net, plain = (crnn.Sequential(I, each, seed=2, dtype="float64", backend="reference")
                      for each in ([layers.Masking(-1.5), *stack], stack))
        net.vector = plain.vector = rng.uniform(-0.7, 0.7, net.num_parameters)
        y, _, cache = net.forward(x, lengths=lengths)
        kept = valid & (np.arange(T)[:, None] < lengths)
        of_each = [[array[on, b] for b, on in enumerate(kept.T)] for array in (x, targets, weights)]
        expected, _, of_plain = plain.forward(of_each[0])
        close(np.concatenate([y[on, b] for b, on in enumerate(kept.T)]),
                     np.concatenate(expected))
        close(y[4, 2], 0 * y[4, 2])
        again, _ = net(x)
        zeros = plain.parameters["b_y"]
        close(again[2, 0], zeros if both else again[0, 0])
        close(again[0, 1], zeros)
        close(net(x[:, :2], last=True)[0], plain(of_each[0][:2], last=True)[0])
        close(net(0 * x - 1.5, last=True)[0], np.tile(zeros, (3, 1)))
        one, other = net.backward(cache, targets), plain.backward(of_plain, of_each[1])
        close(one.vector, other.vector)
        close(one.x[kept], np.stack([
            other.x[b][kept[:t, b].sum()] for t, b in zip(*np.nonzero(kept), strict=True)]))
        close(one.x[~kept], 0 * one.x[~kept])
        options = {"loss": "mse", "lengths": lengths, "sample_weight": weights}
        value, gradients, _ = net.loss_and_gradients(x, targets, **options)
        others = plain.loss_and_gradients(
            of_each[0], of_each[1], loss="mse", sample_weight=of_each[2])
        close(value, others[0])
        close(gradients.vector, others[1].vector)
        cut = None if both else 2
        found = crnn.evaluate(net, (x, targets, lengths), loss="mse", truncation=cut)
        close(found, plain.loss(*of_each[:2], loss="mse")[0])
        if not both:
            stream = net.stream()
            close(np.array([stream.step(each) for each in x]), again)
            close(stream.state, net(x)[1])


def check_plans(module):
    """One network that is asked this and that, against the reference."""
    rng = np.random.default_rng(10)
    for kind, options in (("gru-after-tanh", {}), ("lstm", {"bidirectional": True}),
                          ("rnn-tanh", {"num_layers": 2})):
        for outputs in (12, None):
            nets = [network_of(kind, I, H, outputs, dtype="float64", seed=3, backend=each,
                               **options) for each in ("compiled", "reference")]
            questions = [question for _ in range(2) for question in questions_for(rng, nets[0])]
            found = [[ask(*question) for question in questions]  # all of them, then compared
                     for ask in (asker(net) for net in nets)]
            for ours, theirs in zip(*found, strict=True):
                for our, their in zip(ours, theirs, strict=True):
                    assert_close(our, their, 1e-12)
            assert_close(*[back_after_a_change(net, input_for(np.random.default_rng(11)))
                           for net in nets], 1e-12)


def questions_for(rng, net):
    """Return (x, targets, state, options), each followed by one that differs in one thing."""
    x, more, state = input_for(rng), input_for(rng), state_for(net, rng)
    classes, last = targets_for(rng, "softmax", net), targets_for(rng, "softmax", net, True)
    y, half, third = (targets_for(rng, loss, net) for loss in ("mse", "gaussian", "quantile"))
    questions = [
        (x, classes, None, {}), (more, classes, None, {}), (x, classes, state, {}),
        (x, classes, None, {}), (x, classes, None, {"reduction": "sum"}), (x, last, state, {}),
        (x, last, state, {"last": True}), (x, classes, state, {"lengths": LENGTHS}),
        (x, classes, state, {}), (x, last, state, {"lengths": np.array(LENGTHS)}),
        (x, classes, state, {"lengths": np.array(LENGTHS)}), (x, last, state, {}),
        (x, y, state, {"loss": "mse"}), (x, y, state, {"loss": "sigmoid"}),
        (x, y, None, {"loss": "sigmoid", "lengths": LENGTHS}), (x, y, None, {"loss": "sigmoid"}),
        (x, y[-1], None, {"loss": "sigmoid"}), (x[:, :1], classes[:, :1], None, {}),
        (x[:, 0], classes[:, 0], None, {}), (input_for(rng, True), classes, None, {}),
        (x, y, None, {"loss": "huber"}), (x, y, None, {"loss": crnn.Huber(0.1)}),
        (x, y, None, {"loss": "huber", "sample_weight": rng.random((T, B))}),
        (x, y, None, {"loss": "huber"}), (x, half, None, {"loss": crnn.Quantile(0.3, 0.6)}),
        (x, third, None, {"loss": "quantile"}), (x, half, None, {"loss": "gaussian"}),
    ]
    return [question for question in questions for _ in range(2)]


def asker(net):
    def ask(x, targets, state, options):
        """Return all that passes make of a question."""
        options = dict(options)
        y, last = net(x, state, lengths=options.get("lengths"), last=options.pop("last", False))
        value, after = net.loss(x, targets, state, **options)
        again, grads, end = net.loss_and_gradients(x, targets, state, **options)
        states = [each for state in (last, after, end, grads.state) for each in parts_of(state)]
        return [y, value, again, grads.vector, *states] + [grads.x] * (grads.x is not None)

    return ask


def back_after_a_change(net, x):
    """Return the gradients of a pass, after another one, whose input has been overwritten since."""
    y, _, cache = net.forward(x)
    x[...] = 9
    net.forward(x)
    return net.backward(cache, y).vector


# --- cells with options, whose steps check_options looks at ---------------------------------------


def check_options_in_networks(module):
    """Layers of them, in one direction and in both, on both backends."""
    rng = np.random.default_rng(14)
    for cell in ("lstm-all", "lstm-peepholes-clip", "gru-before-clip"):
        for both in (False, True):
            ours, theirs = (cells.build(cell, 2, both, backend=backend)
                            for backend in ("compiled", "reference"))
            data = cells.draw(rng, ours, lengths=np.array(LENGTHS))
            cells.check_close(
                cells.everything(ours, data), cells.everything(theirs, data), 1e-12)


# --- weights of fewer bits -----------------------------------------------------------------------


def check_compressed(module):
    """Rounding by hand, and networks in bfloat16 and int8 against the same numbers as floats."""
    rounding = importlib.import_module(module.__name__ + ".rounding")
    W = np.float32([[1, 127], [1 + 2**-8, -0.5], [1 + 3 * 2**-8, 63.5], [-2.54, 0.4]])
    np.testing.assert_array_equal(
        rounding.to_bfloat16(W),
        np.float32([[1, 127], [1, -0.5], [1 + 2**-6, 63.5], [-2.546875, 0.400390625]]))
    q, scale = rounding.to_int8(W)
    np.testing.assert_array_equal(q.T, [[50, 50, 51, -127], [127, 0, 64, 0]])
    assert 2.54 / 127 <= scale[0] < 2.5401 / 127
    np.testing.assert_array_equal(rounding.to_int8(q * scale)[1], scale)
    x = np.float32([[2, 1.1, -1.27, 0.3], [0, 0, 0, 0], [1, np.inf, 1, 1]])
    wanted = np.float32([[127, 70, -81, 19]]) @ q.astype(np.float32) * (2 / 127 * scale)
    np.testing.assert_allclose(rounding.int8_product(x, W)[:1], wanted, rtol=1e-6)
    np.testing.assert_array_equal(rounding.int8_product(x[1:], W), [[0, 0], [np.nan, np.nan]])
    x = np.float32([[1 + 2**-9, 2.0**-51], [np.nan, 0]])
    x.view(np.uint32)[1, 0] = 0x7FFFFFFF  # a NaN, which rounding up makes a zero
    np.testing.assert_array_equal(rounding.bfloat16_product(x, np.float32([[1], [2.0**60]])),
                                  [[1], [np.nan]])
    rng = np.random.default_rng(14)
    x = rng.standard_normal((T, B, 40)).astype(np.float32)
    for kind, options in (("rnn-tanh", {}), ("gru-before-tanh", {"num_layers": 2}),
                          ("lstm", {"bidirectional": True})):
        outputs = []
        for backend in ("compiled", "reference"):
            net, floats = (network_of(kind, 40, 100, 90, seed=2, backend=backend, **options)
                           for _ in range(2))
            for form, most in (("bf16", 0.01), ("int8", 0.03)):
                small = net.compress(form)
                floats.vector = small.vector
                outputs.append(small(x)[0])
                assert 1e-5 < np.abs(outputs[-1] - floats(x)[0]).max() < most  # x is rounded, too
        assert_close(*outputs[::2], 1.5e-3)
        assert_close(*outputs[1::2], 5e-3)


# --- texts ----------------------------------------------------------------------------------------


def check_texts(module):
    """Symbols for given random numbers, of probabilities that are worked out by hand."""
    uniforms = np.array([0, 0.49, 0.51, 0.58, 0.59, 0.69, 0.705, 0.71, 0.72, 0.74, 0.75, 0.82, 0.83,
                         0.84, 0.86, 0.87, 0.93, 0.94])
    order, steps = np.array([1, 0, 2, 3]), {  # where they come to the next one in order
        (1.0, None, None): [0.5, 0.7, 0.85],
        (0.5, None, None): [0.25 / 0.335, 0.29 / 0.335, 0.3125 / 0.335],
        (1.0, 2, None): [0.5 / 0.7, 1, 1], (1.0, 3, 0.9): [0.5 / 0.85, 0.7 / 0.85, 1],
        (1.0, None, 0.6): [0.5 / 0.7, 1, 1], (1.0, None, 0.5 + 1e-9): [0.5 / 0.7, 1, 1],
        (1.0, None, 0.5 - 1e-9): [1, 1, 1], (0, None, None): [1, 1, 1],
        (0.5, None, 0.8): [0.25 / 0.29, 1, 1],
    }
    stack, rng = [RNN(2), Dense(4, "softmax")], np.random.default_rng(7)
    for backend in ("reference", "compiled"):
        options = {"dtype": "float64", "backend": backend}
        for net in (crnn.RNN(4, 2, 4, **options), crnn.Sequential(4, stack, **options)):
            net.vector = np.zeros(net.num_parameters)
            net.parameters["b_y"] = np.log([0.2, 0.5, 0.15, 0.15])
            for how, borders in steps.items():
                sampler, tokens = net.engine.sampler(2, *how), np.empty((2, 18), np.intp)
                sampler.reset([0, 3])
                assert sampler.write(tokens, np.stack([uniforms, uniforms[::-1]]), -1) == 18
                wanted = order[np.searchsorted(borders, uniforms, side="right")]
                assert np.array_equal(tokens, [wanted, wanted[::-1]])
            net.parameters["b_y"] = np.zeros(4)
            tokens = np.empty((2, 4), np.intp)
            sampler = net.engine.sampler(2, 1.0, None, None)
            sampler.reset([0, 0])
            sampler.write(tokens, np.tile(np.arange(4) / 4, (2, 1)), -1)
            assert np.array_equal(tokens, [range(4)] * 2)
            for _ in range(8):
                check_way(net, rng)


def check_way(net, rng):
    """Each symbol is what the network is given next, from a state, to an end or an error."""
    net.vector = rng.uniform(-2, 2, net.num_parameters)
    sampler, uniforms = net.engine.sampler(1, 1.0, None, None), rng.random((1, 30))
    stream, tokens, wanted = net.stream(1), np.empty((1, 30), np.intp), [2]
    stream.step([3])
    stream.step([1])
    state = [[np.array(each) for each in own] for own in stream._stepper.state]
    for uniform in uniforms[0]:
        y = stream.step(wanted[-1:])[0]
        p = np.exp(y) if net.engine.readout.activation == "linear" else y
        order = np.argsort(-p)
        wanted.append(order[np.searchsorted(np.cumsum(p[order] / p.sum()), uniform)])
    wanted = wanted[1:]
    sampler.reset([2], state)
    assert sampler.write(tokens, uniforms, -1) == 30
    assert tokens[0].tolist() == wanted
    sampler.reset([2], state)
    assert sampler.write(tokens, uniforms, wanted[2]) == wanted.index(wanted[2]) + 1
    net.parameters["b_y"] = [0, np.nan, 0, 0]
    assert sampler.write(tokens, uniforms, -1) == 0


CHECKS = {
    "h": check_handworked,
    "b": check_textbook,
    "c": check_complex_step,
    "k": check_kernels,
    "l": check_lengths,
    "s": check_steps,
    "a": check_apart,
    "u": check_updates,
    "p": check_packing,
    "m": check_changes,
    "g": check_schedules,
    "w": check_plans,
    "f": check_sums,
    "o": check_options,
    "j": check_masks,
    "n": check_options_in_networks,
    "d": check_unlike,
    "q": check_compressed,
    "t": check_texts,
}

"""Two small networks worked by hand: every number on the way, and the checks that compare them.

Steps and units count from 1 in docs/worked-example.md, and h_0 is the state before the first step:
h_1 is ``h[0]`` here.
"""

from typing import NamedTuple

import numpy as np
import pytest

import crnn

STEPS, HIDDEN, OUTPUTS = 3, 2, 2


class Example(NamedTuple):
    """A network, its input, and what was worked by hand."""

    nonlinearity: str
    loss: str
    atol: float  # what the digits written down are good for
    parameters: dict
    state: list  # h_0
    x: list  # (T, I)
    targets: list
    steps: dict  # name: one row a time step
    sums: dict  # name: the sum over time, or what is left at its beginning


# Worked with 16 digits, rounded to 10 when written down: half a unit of the tenth.
TANH = Example(
    nonlinearity="tanh",
    loss="softmax",
    atol=0.5e-10 + 1e-14,
    parameters={
        "W_xh_l0": [[0.5, -0.3]],
        "W_hh_l0": [[0.2, -0.4], [0.6, 0.1]],
        "b_h_l0": [0.1, -0.2],
        "W_hy": [[0.7, -0.5], [0.3, 0.9]],
        "b_y": [0.05, -0.15],
    },
    state=[0.4, -0.6],
    x=[[1.0], [-2.0], [-0.5]],
    targets=[1, 0, 1],
    steps={
        "a": [[0.32, -0.72], [-1.2082441975, 0.2145063012], [-0.1904649714, 0.3055883850]],
        "h": [
            [0.3095069212, -0.6169093029],
            [-0.8361520312, 0.2112757248],
            [-0.1881947484, 0.2964183849],
        ],
        "y": [
            [0.0815820540, -0.8599718332],
            [-0.4719237044, 0.4582241679],
            [0.0071891916, 0.2108739206],
        ],
        "p": [
            [0.7194134285, 0.2805865715],
            [0.2828947154, 0.7171052846],
            [0.4492541396, 0.5507458604],
        ],
        "L": [[1.2708729688], [1.2626804810], [0.5964818097]],
        "dy": [
            [0.7194134285, -0.7194134285],
            [-0.7171052846, 0.7171052846],
            [0.4492541396, -0.4492541396],
        ],
        "next": [[-0.3138614960, -0.0502426211], [0.2023496939, 0.2874199507], [0.0, 0.0]],
        "dh": [
            [0.5494346181, -0.4818906782],
            [-0.6581766476, 0.7176831215],
            [0.5391049676, -0.2695524838],
        ],
        "slope": [
            [0.9042054657, 0.6194229120],
            [0.3008497807, 0.9553625681],
            [0.9645827367, 0.9121361411],
        ],
        "da": [
            [0.4968017848, -0.2984941271],
            [-0.1980123001, 0.6856475901],
            [0.5200113450, -0.2458685624],
        ],
        "dx": [[0.3379491305], [-0.3047004271], [0.3337662412]],
    },
    sums={
        "L": [3.1300352595],
        "dW_xh": [[0.6328207125, -1.5468550261]],
        "dW_hh": [[-0.2973740058, 0.2983985216], [-0.0660596671, -0.2958319592]],
        "db_h": [0.8188008296, 0.1412849005],
        "dW_hy": [[0.7377252058, -0.7377252058], [-0.4621525889, 0.4621525889]],
        "db_y": [0.4515622835, -0.4515622835],
        "dh_0": [0.2187580078, 0.2682316582],
    },
)

# Halves and their sums and products: every number is exact, in float32 too.
RELU = Example(
    nonlinearity="relu",
    loss="mse",
    atol=0.0,
    parameters={
        "W_xh_l0": [[-0.5, -2], [0.5, -1]],
        "W_hh_l0": [[2, -1], [-0.5, 1]],
        "b_h_l0": [-0.5, 0.5],
        "W_hy": [[-1, -2], [2, 1]],
        "b_y": [-0.5, -1],
    },
    state=[0.5, 1],
    x=[[-1, 1], [1, 3], [-2, -1]],
    targets=[[1, 3], [3, -1], [2, 1]],
    steps={
        "a": [[1, 2], [1.5, -3.5], [3, 4]],
        "h": [[1, 2], [1.5, 0], [3, 4]],
        "y": [[2.5, -1], [-2, -4], [4.5, -3]],
        "L": [[18.25], [34], [22.25]],
        "dy": [[3, -8], [-10, -6], [5, -8]],
        "next": [[84, -21], [20, -3.5], [0, 0]],
        "dh": [[97, -23], [42, -29.5], [11, 2]],
        "slope": [[1, 1], [1, 0], [1, 1]],
        "da": [[97, -23], [42, 0], [11, 2]],
        "dx": [[-2.5, 71.5], [-21, 21], [-9.5, 3.5]],
    },
    sums={
        "L": [74.5],
        "dW_xh": [[-77, 19], [212, -25]],
        "dW_hh": [[107, -8.5], [181, -23]],
        "db_h": [150, -21],
        "dW_hy": [[3, -41], [26, -48]],
        "db_y": [-2, -22],
        "dh_0": [217, -71.5],
    },
)
EXAMPLES = [pytest.param(TANH, id="tanh"), pytest.param(RELU, id="relu")]


# --- the checks ----------------------------------------------------------------------------------


def check_formulas(textbook, example):
    """Walk through the example with the reference's functions, one by one."""
    p = {name: np.array(value, float) for name, value in example.parameters.items()}
    weights = textbook.Weights(
        p["W_xh_l0"], p["W_hh_l0"], p["b_h_l0"], nonlinearity=example.nonlinearity)
    cell, x = textbook.CELLS["RNN"], np.array(example.x, float)[:, None]
    state, h, tapes = (np.array([example.state], float),), [], []
    for x_t in x:
        state, tape = cell.step(x_t @ weights.W_xh + weights.b_h, state, weights)
        h.append(state[0])
        tapes.append(tape)
    seen, sums = {"h": np.array(h)}, {}
    seen["y"] = seen["h"] @ p["W_hy"] + p["b_y"]
    targets = np.array(example.targets)[:, None]
    seen["L"], seen["dy"] = textbook.LOSSES[example.loss](seen["y"], targets)
    sums["L"] = seen["L"].sum()
    coming, found = np.zeros((1, HIDDEN)), {"next": [], "dh": [], "da": []}
    sums["dW_hh"] = np.zeros((HIDDEN, HIDDEN))
    for t in reversed(range(STEPS)):
        dh = seen["dy"][t] @ p["W_hy"].T + coming
        da, (before,), dweights = cell.step_backward((dh,), tapes[t], weights)
        for name, each in zip(found, (coming, dh, da), strict=True):
            found[name].insert(0, each)
        coming, sums["dW_hh"] = before, sums["dW_hh"] + dweights["W_hh"]
    seen |= {name: np.array(rows) for name, rows in found.items()}
    sums["dh_0"], seen["slope"] = coming, textbook.slope(seen["h"], example.nonlinearity)
    check_numbers(example, seen, sums)


def check_passes(example, dtype="float64", **options):
    """Walk through the example with passes of networks, of one step and of the rest of them."""
    net, bare = (network(example, dtype, size, **options) for size in (OUTPUTS, None))
    x, targets = np.array(example.x, dtype), np.array(example.targets)
    seen = {name: [] for name in ("a", "h", "y", "L", "dy", "next", "dh", "da", "dx")}
    state, reduction = np.array([example.state], dtype), {"loss": example.loss, "reduction": "sum"}
    for t in range(STEPS):
        seen["a"].append(pre_activation(example, dtype, x[t : t + 1], state, options))
        y, _, cache = net.forward(x[t : t + 1], state)
        h, after = bare(x[t : t + 1], state)
        loss, grads, _ = net.loss_and_gradients(x[t : t + 1], targets[t : t + 1], state,
                                                **reduction)
        dy = grads.parameters["b_y"]
        _, rest, _ = net.loss_and_gradients(x[t + 1 :], targets[t + 1 :], after, **reduction)
        back = net.backward(cache, dy[None], rest.state)
        total = dy @ net.parameters["W_hy"].T + rest.state
        found = (h, y, loss, dy, rest.state, total, back.parameters["b_h_l0"], back.x)
        for name, each in zip(list(seen)[1:], found, strict=True):
            seen[name].append(np.ravel(each))
        state = after
    seen = {name: np.array(rows) for name, rows in seen.items()}
    if example.loss == "softmax":
        seen["p"] = seen["dy"] + np.eye(OUTPUTS)[example.targets]
    seen["slope"] = seen["da"] / seen["dh"]
    state = np.array([example.state], dtype)
    loss, grads, _ = net.loss_and_gradients(x, targets, state, **reduction)
    compare(grads.x, example.steps["dx"], example.atol, "dx of all steps")
    sums = {"L": loss, "dh_0": grads.state}
    sums |= {"d" + name.removesuffix("_l0"): each for name, each in grads.parameters.items()}
    check_numbers(example, seen, sums)
    assert set(seen) == set(example.steps)
    assert set(sums) == set(example.sums)


def check_numbers(example, seen, sums):
    for name, value in seen.items():
        compare(value, example.steps[name], example.atol, name)
    for name, value in sums.items():
        compare(value, example.sums[name], example.atol, f"sum of {name}")


def pre_activation(example, dtype, x, state, options):
    """Return a = max(a, 0) - max(-a, 0), each the next state of a network with ReLU."""
    parts = []
    for sign in (1, -1):
        relu = example._replace(nonlinearity="relu")
        net = network(relu, dtype, None, **options)
        net.vector = sign * net.vector
        parts.append(net(x, state)[0][0])
    return parts[0] - parts[1]


def compare(actual, expected, atol, what):
    actual, expected = np.ravel(actual), np.ravel(expected)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=atol, err_msg=what)


def network(example, dtype, output_size=OUTPUTS, **options):
    net = crnn.RNN(
        len(example.x[0]), HIDDEN, output_size, nonlinearity=example.nonlinearity, dtype=dtype,
        **options,
    )
    for name in net.parameters:
        net.parameters[name] = example.parameters[name]
    return net

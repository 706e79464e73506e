"""The table of other libraries' names and orders, followed to the letter.

What it is held to are the formulas of Keras and ONNX, written here as their documentation does.
"""

import re
from pathlib import Path

import numpy as np
import pytest

import crnn

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "equations.md").read_text(encoding="utf-8")
T, B, I, H = 6, 2, 3, 4  # noqa: E741
GATES = {"GRU": 3, "LSTM": 4}
SAME = {"h": "n", "c": "g"}  # their letters and ours


def orders():
    """Return the order of gates by cell and library, from docs/equations.md."""
    table = re.search(r"\n(\| \| here \|.*?)\n\n", PAGE, re.DOTALL).group(1)
    columns, _, *rows = (re.split(r" *\| *", line)[1:-1] for line in table.splitlines())
    return {(row[0], column): row[k].split(", ") for row in rows
            for k, column in enumerate(columns) if k}


def into_ours(array, cell, library):
    """Return an array whose last axis is gates, with the gates in our order."""
    order = orders()[cell, library]
    gates = dict(zip(order, np.split(array, len(order), axis=-1), strict=True))
    ours = {SAME.get(name, name) if name not in orders()[cell, "here"] else name: gate
            for name, gate in gates.items()}
    return np.concatenate([ours[name] for name in orders()[cell, "here"]], axis=-1)


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def keras_gru(x, kernel, recurrent_kernel, bias, reset_after):
    h, outputs = np.zeros((B, H)), []
    for x_t in x:
        first, second = bias if reset_after else (bias, np.zeros(3 * H))
        x_z, x_r, x_h = np.split(x_t @ kernel + first, 3, axis=1)
        if reset_after:
            h_z, h_r, h_h = np.split(h @ recurrent_kernel + second, 3, axis=1)
            z, r = sigmoid(x_z + h_z), sigmoid(x_r + h_r)
            hh = np.tanh(x_h + r * h_h)
        else:
            R_z, R_r, R_h = np.split(recurrent_kernel, 3, axis=1)
            z, r = sigmoid(x_z + h @ R_z), sigmoid(x_r + h @ R_r)
            hh = np.tanh(x_h + (r * h) @ R_h)
        h = z * h + (1 - z) * hh
        outputs.append(h)
    return np.array(outputs)


def keras_lstm(x, kernel, recurrent_kernel, bias, reset_after):
    h, c, outputs = np.zeros((B, H)), np.zeros((B, H)), []
    for x_t in x:
        z_0, z_1, z_2, z_3 = np.split(x_t @ kernel + h @ recurrent_kernel + bias, 4, axis=1)
        c = sigmoid(z_1) * c + sigmoid(z_0) * np.tanh(z_2)
        h = sigmoid(z_3) * np.tanh(c)
        outputs.append(h)
    return np.array(outputs)


@pytest.mark.parametrize(("cell", "reset_after"), [("GRU", True), ("GRU", False), ("LSTM", True)])
def test_keras(cell, reset_after, rng, backend):
    G = GATES[cell]
    kernel, recurrent_kernel = rng.normal(size=(I, G * H)), rng.normal(size=(H, G * H))
    shape = (2, G * H) if cell == "GRU" and reset_after else (G * H,)
    bias, x = rng.normal(size=shape), rng.normal(size=(T, B, I))
    options = {"reset_after": reset_after} if cell == "GRU" else {}
    net = getattr(crnn, cell)(I, H, dtype="float64", **options)
    net.parameters["W_xh_l0"] = into_ours(kernel, cell, "Keras")
    net.parameters["W_hh_l0"] = into_ours(recurrent_kernel, cell, "Keras")
    if bias.ndim == 2:
        first, second = into_ours(bias, cell, "Keras")
        net.parameters["b_h_l0"] = np.concatenate([(first + second)[: 2 * H], first[2 * H :]])
        net.parameters["b_hn_l0"] = bias[1][2 * H :]
    else:
        net.parameters["b_h_l0"] = into_ours(bias, cell, "Keras")
    formula = keras_gru if cell == "GRU" else keras_lstm
    theirs = formula(x, kernel, recurrent_kernel, bias, reset_after)
    np.testing.assert_allclose(net(x)[0], theirs, rtol=1e-12, atol=1e-14)


def onnx_gru(x, W, R, B_, linear_before_reset):
    Wz, Wr, Wh = np.split(W[0], 3)
    Rz, Rr, Rh = np.split(R[0], 3)
    Wbz, Wbr, Wbh, Rbz, Rbr, Rbh = np.split(B_[0], 6)
    h, outputs = np.zeros((B, H)), []
    for x_t in x:
        z = sigmoid(x_t @ Wz.T + h @ Rz.T + Wbz + Rbz)
        r = sigmoid(x_t @ Wr.T + h @ Rr.T + Wbr + Rbr)
        if linear_before_reset:
            hh = np.tanh(x_t @ Wh.T + r * (h @ Rh.T + Rbh) + Wbh)
        else:
            hh = np.tanh(x_t @ Wh.T + (r * h) @ Rh.T + Rbh + Wbh)
        h = (1 - z) * hh + z * h
        outputs.append(h)
    return np.array(outputs)


def onnx_lstm(x, W, R, B_, linear_before_reset):
    Wi, Wo, Wf, Wc = np.split(W[0], 4)
    Ri, Ro, Rf, Rc = np.split(R[0], 4)
    Wbi, Wbo, Wbf, Wbc, Rbi, Rbo, Rbf, Rbc = np.split(B_[0], 8)
    h, c, outputs = np.zeros((B, H)), np.zeros((B, H)), []
    for x_t in x:
        i = sigmoid(x_t @ Wi.T + h @ Ri.T + Wbi + Rbi)
        f = sigmoid(x_t @ Wf.T + h @ Rf.T + Wbf + Rbf)
        cc = np.tanh(x_t @ Wc.T + h @ Rc.T + Wbc + Rbc)
        c = f * c + i * cc
        o = sigmoid(x_t @ Wo.T + h @ Ro.T + Wbo + Rbo)
        h = o * np.tanh(c)
        outputs.append(h)
    return np.array(outputs)


@pytest.mark.parametrize(("cell", "reset_after"), [("GRU", True), ("GRU", False), ("LSTM", True)])
def test_onnx(cell, reset_after, rng, backend):
    G = GATES[cell]
    W, R = rng.normal(size=(1, G * H, I)), rng.normal(size=(1, G * H, H))
    biases, x = rng.normal(size=(1, 2 * G * H)), rng.normal(size=(T, B, I))
    options = {"reset_after": reset_after} if cell == "GRU" else {}
    net = getattr(crnn, cell)(I, H, dtype="float64", **options)
    net.parameters["W_xh_l0"] = into_ours(W[0].T, cell, "ONNX")
    net.parameters["W_hh_l0"] = into_ours(R[0].T, cell, "ONNX")
    first, second = np.split(biases[0], 2)
    both = into_ours(first + second, cell, "ONNX")
    if "b_hn_l0" in net.parameters:
        both[2 * H :] = into_ours(first, cell, "ONNX")[2 * H :]
        net.parameters["b_hn_l0"] = second[2 * H :]
    net.parameters["b_h_l0"] = both
    theirs = (onnx_gru if cell == "GRU" else onnx_lstm)(x, W, R, biases, reset_after)
    np.testing.assert_allclose(net(x)[0], theirs, rtol=1e-12, atol=1e-14)


@pytest.mark.no_backend
def test_the_page_gives_orders_and_an_example():
    assert orders() == {
        ("GRU", "here"): ["r", "z", "n"], ("GRU", "PyTorch"): ["r", "z", "n"],
        ("GRU", "Keras"): ["z", "r", "h"], ("GRU", "ONNX"): ["z", "r", "h"],
        ("LSTM", "here"): ["i", "f", "g", "o"], ("LSTM", "PyTorch"): ["i", "f", "g", "o"],
        ("LSTM", "Keras"): ["i", "f", "c", "o"], ("LSTM", "ONNX"): ["i", "o", "f", "c"],
    }
    kernel, net = np.arange(I * 3 * H).reshape(I, 3 * H), crnn.GRU(I, H)
    names = {"np": np, "kernel": kernel, "net": net}
    for line in re.search(r"Keras GRU:\n`(.*?)`, `(.*?)`", PAGE).groups():
        exec(line, names)
    np.testing.assert_array_equal(net.parameters["W_xh_l0"], into_ours(kernel, "GRU", "Keras"))

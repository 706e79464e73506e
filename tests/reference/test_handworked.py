"""Two small networks worked by hand: every number on the way, on both backends.

The numbers were worked with scalars, one formula at a time, and without crnn;
docs/worked-example.md shows how, and a test below holds its tables to the same numbers. Steps and
units count from 1 there, and h_0 is the state before the first step: h_1 is ``h[0]`` here.
"""

import re
from pathlib import Path

import numpy as np
import pytest
from worked_example import (
    EXAMPLES,
    HIDDEN,
    RELU,
    TANH,
    check_formulas,
    check_passes,
    compare,
    network,
)

from crnn import reference

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "worked-example.md"
# --- the tests -----------------------------------------------------------------------------------


@pytest.mark.no_backend
@pytest.mark.parametrize("example", EXAMPLES)
def test_formulas_give_every_number(example):
    check_formulas(reference, example)


@pytest.mark.parametrize("example", EXAMPLES)
def test_passes_give_every_number(backend, example):
    check_passes(example)


def test_passes_give_the_exact_numbers_in_float32(backend):
    check_passes(RELU, "float32")


@pytest.mark.parametrize("example", EXAMPLES)
def test_hidden_states_and_outputs(backend, example):
    x = np.array(example.x, float)
    outputs, state = network(example, "float64")(x, [example.state])
    hidden, last = network(example, "float64", None)(x, [example.state])
    compare(outputs, example.steps["y"], example.atol, "y")
    compare(hidden, example.steps["h"], example.atol, "h")
    compare(state, example.steps["h"][-1], example.atol, "state")
    compare(last, example.steps["h"][-1], example.atol, "state without a readout")


@pytest.mark.parametrize("example", EXAMPLES)
def test_stream_gives_the_outputs_one_by_one(backend, example):
    net = network(example, "float64")
    net.state = [example.state]
    for t, x in enumerate(np.array(example.x, float)):
        compare(net.step(x), example.steps["y"][t], example.atol, "y")
        compare(net.state, example.steps["h"][t], example.atol, "h")


@pytest.mark.parametrize("copies", [1, 3], ids=["one sequence", "three equal sequences"])
@pytest.mark.parametrize("example", EXAMPLES)
def test_loss_and_gradients_of_the_network(backend, example, copies):
    net = network(example, "float64")
    x = np.repeat(np.array(example.x, float)[:, None], copies, axis=1)
    targets = np.repeat(np.array(example.targets)[:, None], copies, axis=1)
    state = np.full((1, copies, HIDDEN), example.state, float)
    loss, grads, _ = net.loss_and_gradients(x, targets, state, loss=example.loss, reduction="sum")
    compare(loss / copies, example.sums["L"], example.atol, "loss")
    for name, gradient in grads.parameters.items():
        expected = example.sums["d" + name.removesuffix("_l0")]
        compare(gradient / copies, expected, example.atol, name)
    for b in range(copies):
        compare(grads.x[:, b], example.steps["dx"], example.atol, "dx")
        compare(grads.state[:, b], example.sums["dh_0"], example.atol, "dh_0")


# --- the document --------------------------------------------------------------------------------


def numbers_of(example):
    """Name every number of an example as the document does: ``h[2]`` at t, ``dW_hh[1,2]``."""
    numbers = {}
    for name, rows in example.steps.items():
        for t, row in enumerate(rows, start=1):
            numbers |= {(label, str(t)): value for label, value in labelled(name, row)}
    for name, values in example.sums.items():
        numbers |= {(label, ""): value for label, value in labelled(name, values)}
    for name, values in example.parameters.items():
        name = name.removesuffix("_l0")
        numbers |= {(label, ""): value for label, value in labelled(name, values)}
    numbers |= {(label, ""): value for label, value in labelled("h_0", example.state)}
    for t, (x, target) in enumerate(zip(example.x, example.targets, strict=True), start=1):
        numbers |= {(label, str(t)): value for label, value in labelled("x", x)}
        target = np.ravel(target) + (example.loss == "softmax")  # classes count from 1 there
        numbers |= {(label, str(t)): value for label, value in labelled("target", target)}
    return numbers


def labelled(name, values):
    values = np.array(values)
    if values.size == 1:
        return [(name, values.item())]
    return [
        (name + str([i + 1 for i in index]).replace(" ", ""), value)
        for index, value in np.ndenumerate(values)
    ]


def numbers_in(text):
    """Read the tables of Markdown: columns named in the head of a table over t, else rows."""
    numbers = {}
    for table in re.findall(r"(?:^\|.*\|\n)+", text, flags=re.MULTILINE):
        head, _, *rows = (
            [cell.strip(" `") for cell in row.split("|")[1:-1]] for row in table.splitlines()
        )
        for row in rows:
            found = (
                {(name, row[0]): float(cell) for name, cell in zip(head[1:], row[1:], strict=True)}
                if head[0] == "t"
                else {(row[0], ""): float(row[-1])}
            )
            assert not numbers.keys() & found.keys()
            numbers |= found
    return numbers


@pytest.mark.no_backend
@pytest.mark.parametrize("example", EXAMPLES)
def test_document_has_the_same_numbers(example):
    first, second = DOCUMENT.read_text(encoding="utf-8").split("\n## The same with ReLU")
    assert numbers_in(first if example is TANH else second) == numbers_of(example)


@pytest.mark.no_backend
def test_long_numbers_in_the_text_are_those_of_the_tables():
    text = DOCUMENT.read_text(encoding="utf-8")
    known = {f"{abs(number):.10f}" for number in numbers_of(TANH).values()}
    assert set(re.findall(r"\d+\.\d{5,}", text)) <= known


def test_python_of_the_document(backend, capsys):
    code = re.search(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)[1]
    exec(compile(code, DOCUMENT.name, "exec"), {})
    printed = re.findall(r"-?\d+\.\d+", capsys.readouterr().out)
    expected = [*TANH.sums["L"], *np.ravel(TANH.sums["dW_hh"]), *TANH.sums["dh_0"]]
    compare(np.array(printed, float), expected, 1e-8, "printed")  # NumPy prints 8 digits

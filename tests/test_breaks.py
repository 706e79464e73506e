"""Bugs planted one by one in a copy of crnn/reference.py: the checks must catch every one.

A check that nothing can fail proves nothing. Each bug is a replacement of text, which must occur
exactly as often as it says: when the reference is rewritten, this file has to be looked at too.
"""

import types
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from test_gradients import BARE, LAST, RAGGED, complex_twin, loss_function, point_of, problem
from test_handworked import RELU, TANH, check_functions
from test_twins import (
    INSTRUCTION_SETS,
    activation,
    assert_close,
    compiled,
    linear,
    linear_backward,
    lookup,
    lookup_backward,
    mse_loss,
    rnn_backward,
    rnn_forward,
    run,
    sigmoid_loss,
    softmax_loss,
)

import crnn
from crnn import engine

pytestmark = pytest.mark.no_backend

SOURCE = Path(crnn.reference.__file__).read_text(encoding="utf-8")
STEP = 1e-30


class Bug(NamedTuple):
    """A way to break the reference, and the checks that must see it (others may, too)."""

    name: str
    old: str
    new: str
    caught_by: str  # the first letters of checks
    count: int = 1  # how often the old text is there


# h: worked by hand, c: complex step, k: compiled kernels, l: lengths, s: steps
BUGS = [
    # forward
    Bug("bias dropped", "y[...] = x @ W + b\n", "y[...] = x @ W\n", "hcks"),
    Bug("bias dropped for tokens", "y[...] = W[tokens] + b", "y[...] = W[tokens]", "cks"),
    Bug("weights transposed", "a + previous @ W_hh\n", "a + previous @ W_hh.T\n", "hck"),
    Bug("state of two steps ago", "        previous = h[t]\n",
        "        previous = h[t - 1] if t else h0\n", "hckls"),
    Bug("state never handed on", "        previous = h[t]\n", "", "hckls"),
    Bug("initial state ignored", "    previous = h0\n", "    previous = 0 * h0\n", "hckls"),
    Bug("batch shares a state", "rnn_step(h[t], previous, W", "rnn_step(h[t], previous[:1], W",
        "ckls"),
    Bug("leaky ReLU", "a[a.real < 0] = 0 ", "a[a.real < 0] *= 0.01 ", "hck"),
    # backward through the cell
    Bug("first step skipped", "in reversed(range(len(h)))", "in reversed(range(1, len(h)))", "hck"),
    Bug("last step skipped", "in reversed(range(len(h)))", "in reversed(range(len(h) - 1))", "hck"),
    Bug("steps in forward order", "in reversed(range(len(h)))", "in range(len(h))", "hck"),
    Bug("h[t] for h[t-1]", "h[t - 1] if t > 0 else h0", "h[t]", "hck"),
    Bug("h[t-2] for h[t-1]", "h[t - 1] if t > 0 else h0", "h[t - 2] if t > 1 else h0", "hck"),
    Bug("h[-1] for h0", "h[t - 1] if t > 0 else h0", "h[t - 1]", "hck"),
    Bug("zeros for h0", "h[t - 1] if t > 0 else h0", "h[t - 1] if t > 0 else 0 * h0", "hck"),
    Bug("dstate ignored", "(dh[t] + dstate)", "dh[t]", "hck"),
    Bug("dh ignored", "(dh[t] + dstate)", "dstate", "hck"),
    Bug("dstate not carried", "        dstate[...] = dprevious\n", "", "hck"),
    Bug("dstate piles up", "dstate[...] = dprevious", "dstate[...] += dprevious", "hck"),
    Bug("dstate is da", "dstate[...] = dprevious", "dstate[...] = da", "hck"),
    Bug("da not handed on", "        dh[t] = da\n", "", "hck"),
    Bug("W_hh not transposed", "da @ W_hh_T", "da @ W_hh_T.T", "hck"),
    Bug("dW_hh transposed", "dW_hh += previous.T @ da", "dW_hh += da.T @ previous", "hck"),
    Bug("dW_hh starts from W_hh", "    for t in reversed(range(len(h))):\n",
        "    dW_hh += W_hh_T.T\n    for t in reversed(range(len(h))):\n", "hckl"),
    Bug("dW_hh of one step only", "dW_hh += previous.T", "dW_hh[...] = previous.T", "hck"),
    Bug("slope from a", "else 1 - h * h", "else 1 - np.tanh(h) ** 2", "hck"),
    Bug("slope without the square", "else 1 - h * h", "else 1 - h", "hck"),
    Bug("ReLU's slope always 1", "(h.real > 0)", "(h.real >= 0)", "hck"),
    # lengths
    Bug("lengths ignored forward", "            h[t, over] = previous[over]\n", "", "ckl"),
    Bug("lengths off by one", "over = lengths <= t", "over = lengths < t", "ckl", count=2),
    Bug("lengths off by one backward", "over = lengths <= t\n            da",
        "over = lengths < t\n            da", "ckl"),
    Bug("finished states are zeros", "h[t, over] = previous[over]", "h[t, over] = 0", "ckl"),
    Bug("finished steps get a gradient", "            da[over] = 0\n", "", "ckl"),
    Bug("finished sequences lose theirs", "dprevious[over] = dstate[over]",
        "dprevious[over] = 0", "ckl"),
    # input projection and readout
    Bug("dx with W not transposed", "dx[...] = dy @ W_T\n", "dx[...] = dy @ W_T.T\n", "hck"),
    Bug("dx not set", "    dx[...] = dy @ W_T\n", "", "hckl"),
    Bug("dW starts from W", "    dW += x.T @ dy\n", "    dW += W_T.T + x.T @ dy\n", "hckl"),
    Bug("dW overwritten", "    dW += x.T @ dy\n", "    dW[...] = x.T @ dy\n", "ck"),
    Bug("db overwritten", "dy\n    db += dy.sum(axis=0)", "dy\n    db[...] = dy.sum(axis=0)", "ck"),
    Bug("db forgotten", "    dW += x.T @ dy\n    db += dy.sum(axis=0)\n", "    dW += x.T @ dy\n",
        "hck"),
    Bug("db is a mean", "db += dy.sum(axis=0)", "db += dy.mean(axis=0)", "hck", count=2),
    Bug("a token counts once", "np.add.at(dW, tokens, dy)", "dW[tokens] += dy", "ck"),
    # losses
    Bug("softmax without the target", "    gradient[each, chosen] -= scale\n", "", "hck"),
    Bug("softmax takes 1 unscaled", "gradient[each, chosen] -= scale",
        "gradient[each, chosen] -= 1", "ck"),
    Bug("softmax unscaled", "gradient = scale * exponentials", "gradient = exponentials", "ck"),
    Bug("softmax not normalised", "exponentials / total[:, None]", "exponentials", "hck"),
    Bug("softmax overflows", "    rows = rows - _largest(rows)\n", "", "k"),
    Bug("target -1 counts", "valid = targets >= 0", "valid = targets >= -1", "ckl"),
    Bug("target 0 does not count", "valid = targets >= 0", "valid = targets > 0", "hk"),
    Bug("no target keeps its y", "    y[...] = 0\n", "", "ckl", count=3),
    Bug("mse without the 2", "scale * 2 * error", "scale * error", "hck"),
    Bug("mse unscaled", "scale * 2 * error", "2 * error", "ck"),
    Bug("mse of the wrong sign", "scale * 2 * error", "-scale * 2 * error", "hck"),
    Bug("sigmoid of the wrong sign", "scale * (sigmoid - targets[valid])",
        "scale * (targets[valid] - sigmoid)", "ck"),
    Bug("sigmoid without its target", "- z * targets[valid] +", "- z +", "ck"),
    Bug("sigmoid of -|y|", "np.where(positive, 1, small)", "small", "ck"),
    Bug("sigmoid overflows", "np.exp(np.where(positive, -z, z))", "np.exp(z)", "ck"),
    # steps
    Bug("a step forgets", "self._h = rnn_step(a, self._h,", "self._h = rnn_step(a, 0 * self._h,",
        "s"),
    Bug("a step keeps its old state", "self._h = rnn_step(a", "rnn_step(a", "s"),
    Bug("a step without b_h", "self._W_xh + self._b_h", "self._W_xh", "s"),
    Bug("a step without b_h for tokens", "(self.batch_size)] + self._b_h", "(self.batch_size)]",
        "s"),
    Bug("a step without b_y", "@ self._W_hy + self._b_y", "@ self._W_hy", "s"),
]


# --- the checks ----------------------------------------------------------------------------------


def on_module(net, module):
    net._engine.kernels = module
    return net


def check_handworked(module):
    for example in (TANH, RELU):
        check_functions(module, example)


def check_complex_step(module):
    """Gradients against complex-step derivatives, along two random directions of each array.

    Blocks of two time steps, so that gradients are added up over several calls.
    """
    rng = np.random.default_rng(1)
    for options in (
        {"loss": "softmax", "reduction": "mean", **RAGGED},
        {"loss": "softmax", "nonlinearity": "relu", **LAST, **RAGGED},
        {"loss": "sigmoid", "reduction": "mean", "tokens": True, **LAST},
        {"loss": "mse", "reduction": "mean", "nonlinearity": "relu", **BARE, **RAGGED},
        {"loss": "mse"},
    ):
        net, x, state, targets, given = problem(rng, **options, backend="reference")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(engine, "BLOCK_ROWS", 9)
            _, grads, _ = on_module(net, module).loss_and_gradients(x, targets, state, **given)
        point = point_of(net, x, state)
        function = loss_function(on_module(complex_twin(net), module), targets, given)
        found = {"vector": grads.vector, "state": grads.state, "x": grads.x}
        for name, gradient in found.items():
            for _ in range(0 if gradient is None else 2):
                direction = rng.standard_normal(gradient.shape)
                moved = point | {name: point[name] + 1j * STEP * direction}
                exact = function(moved).imag / STEP
                assert abs((gradient * direction).sum() - exact) <= 1e-11, name


def check_kernels(module):
    """Every function against its compiled twin, and large logits."""
    rng = np.random.default_rng(2)
    functions = compiled(INSTRUCTION_SETS[-1], "float64")
    cases = [(maker, (7, 3, 5)) for maker in (linear, linear_backward, lookup, lookup_backward)]
    cases += [(rnn, (4, 5, 3, f, r)) for rnn in (rnn_forward, rnn_backward)
              for f in ("tanh", "relu") for r in (False, True)]
    cases += [(loss, (11, 5, size)) for loss in (softmax_loss, sigmoid_loss, mse_loss)
              for size in (5, 1000)]
    cases += [(activation, (17, "tanh")), (activation, (17, "relu"))]
    for maker, sizes in cases:
        arguments, *_ = maker(rng, "float64", *sizes)
        ours, our_result = run(getattr(functions, maker.__name__), arguments)
        theirs, their_result = run(getattr(module, maker.__name__), arguments)
        for our, their in zip(ours, theirs, strict=True):
            if isinstance(our, np.ndarray):
                assert_close(their.astype(float), our.astype(float), rtol=1e-12)
        if our_result is not None:
            assert_close(their_result, our_result, rtol=1e-12)


def check_lengths(module):
    """Each sequence of a padded batch against itself alone."""
    rng = np.random.default_rng(3)
    for loss, last_only in (("softmax", False), ("mse", False), ("softmax", True)):
        net, x, state, targets, options = problem(
            rng, loss, **RAGGED, last_only=last_only, backend="reference"
        )
        on_module(net, module)
        y, last = net(x, state, lengths=options["lengths"])
        value, grads, _ = net.loss_and_gradients(x, targets, state, **options)
        total, sum_of_parts = 0.0, np.zeros_like(grads.vector)
        for b, n in enumerate(options["lengths"]):
            own_targets = targets[b] if last_only else targets[:n, b]
            y_alone, last_alone = net(x[:n, b], state[:, b])
            part, grads_alone, _ = net.loss_and_gradients(
                x[:n, b], own_targets, state[:, b], loss=loss, reduction="sum"
            )
            total, sum_of_parts = total + part, sum_of_parts + grads_alone.vector
            assert not y[n:, b].any()
            assert not grads.x[n:, b].any()
            assert_close(y[:n, b], y_alone, rtol=1e-12)
            assert_close(last[:, b], last_alone, rtol=1e-12)
            assert_close(grads.x[:n, b], grads_alone.x, rtol=1e-12)
            assert_close(grads.state[:, b], grads_alone.state, rtol=1e-12)
        assert_close(value, total, rtol=1e-12)
        assert_close(grads.vector, sum_of_parts, rtol=1e-12)


def check_steps(module):
    """One step at a time against the whole sequence."""
    rng = np.random.default_rng(4)
    for tokens in (False, True):
        net, x, state, *_ = problem(rng, "mse", tokens=tokens, backend="reference")
        y, last = on_module(net, module)(x, state)
        stream = net.stream()
        stream.state = state
        assert_close([stream.step(each) for each in x], y, rtol=1e-12)
        assert_close(stream.state, last, rtol=1e-12)


CHECKS = {
    "h": check_handworked,
    "c": check_complex_step,
    "k": check_kernels,
    "l": check_lengths,
    "s": check_steps,
}


# --- the tests -----------------------------------------------------------------------------------


def load(source):
    module = types.ModuleType("copy_of_reference")
    exec(compile(source, "copy_of_reference.py", "exec"), vars(module))
    return module


def fails(check, module):
    """Return whether a check sees that the module is wrong; a crash counts, as it would in use."""
    try:
        check(module)
    except Exception:
        return True
    return False


@pytest.mark.parametrize("check", CHECKS.values(), ids=lambda check: check.__name__)
def test_unbroken_copy_passes(check):
    assert not fails(check, load(SOURCE))
    check(crnn.reference)


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_bug_is_caught(bug, record_property):
    assert SOURCE.count(bug.old) == bug.count, f"{bug.name}: look at the text it replaces"
    module = load(SOURCE.replace(bug.old, bug.new))
    caught_by = "".join(letter for letter, check in CHECKS.items() if fails(check, module))
    record_property("caught by", caught_by)
    assert caught_by, f"{bug.name} escaped every check"
    assert set(bug.caught_by) <= set(caught_by), f"{bug.name} was caught by {caught_by} only"


def test_every_check_is_needed_by_some_bug_and_bugs_differ():
    assert set("".join(bug.caught_by for bug in BUGS)) == set(CHECKS)
    assert len({(bug.old, bug.new) for bug in BUGS}) == len({bug.name for bug in BUGS}) == len(BUGS)

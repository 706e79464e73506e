"""Weights of samples and of classes, and missing targets: what they make of losses."""

import numpy as np
import pytest

import crnn
from crnn.base.losses import LOSSES

T, B, I, H, N = 5, 4, 3, 6, 2  # noqa: E741 - N targets a step
LENGTHS = np.array([2, 5, 0, 3])
each_loss = pytest.mark.parametrize("loss", LOSSES)
full_or_ragged = pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "lengths"])


def outputs_of(loss):
    return 5 if loss == "softmax" else N * LOSSES[loss].blocks


def build(loss, backend=None, dtype="float64", outputs=None, **options):
    net = crnn.GRU(I, H, outputs or outputs_of(loss), dtype=dtype, backend=backend, **options)
    net.vector = np.random.default_rng(3).uniform(-0.7, 0.7, net.num_parameters)
    return net


def draw(rng, loss, *shape, dtype="float64"):
    """Return an input (T, B, I), and targets for its steps or of another shape."""
    shape = shape or (T, B)
    x = rng.standard_normal((T, B, I)).astype(dtype)
    if loss == "softmax":
        return x, rng.integers(0, 5, shape)
    return x, rng.random((*shape, N)).astype(dtype)


def both_passes(net, x, targets, **options):
    """Return the loss, the gradients of all parameters, and that of x."""
    value, grads, _ = net.loss_and_gradients(x, targets, **options)
    assert net.loss(x, targets, **options)[0] == pytest.approx(value, rel=1e-13, nan_ok=True)
    return value, grads.vector, grads.x


def check_close(ours, theirs, rtol=1e-12):
    for our, their in zip(ours, theirs, strict=True):
        difference = np.abs(our - their).max(initial=0)
        assert difference <= rtol * np.abs(their).max(initial=0)


def weighted_sum(net, x, targets, weights, loss, lengths):
    """Return the sum of each step's own pass times its weight: what a weight means."""
    total = 0
    for t, b in np.ndindex(T, B):
        if weights[t, b]:
            alone = np.full_like(targets, -1 if loss == "softmax" else np.nan)
            alone[t, b] = targets[t, b]
            found = both_passes(net, x, alone, loss=loss, reduction="sum", lengths=lengths,
                                missing="skip")
            total = total + weights[t, b] * np.concatenate([np.ravel(each) for each in found])
    return total


# --- weights of samples --------------------------------------------------------------------------


@each_loss
@full_or_ragged
def test_a_weight_multiplies_a_steps_loss_and_gradient(rng, loss, lengths, backend):
    net, (x, targets) = build(loss), draw(rng, loss)
    weights = rng.uniform(0.5, 2, (T, B)) * (rng.random((T, B)) < 0.7)
    found = both_passes(net, x, targets, loss=loss, reduction="sum", lengths=lengths,
                        sample_weight=weights)
    wanted = weighted_sum(net, x, targets, weights, loss, lengths)
    check_close([np.concatenate([np.ravel(each) for each in found])], [wanted], 1e-11)
    running = np.ones((T, B), bool) if lengths is None else np.arange(T)[:, None] < lengths
    count = (running & (weights > 0)).sum() * (1 if loss == "softmax" else N) * LOSSES[loss].terms
    mean = both_passes(net, x, targets, loss=loss, lengths=lengths, sample_weight=weights)
    check_close(mean, [each / count for each in found])  # not over the sum of the weights


@each_loss
def test_weights_of_1_change_no_bit(rng, loss, backend):
    net, (x, targets) = build(loss), draw(rng, loss)
    for lengths in (None, LENGTHS):
        plain = both_passes(net, x, targets, loss=loss, lengths=lengths)
        for weights in (np.ones((T, B)), np.ones(B, int), [1.0] * B):
            found = both_passes(net, x, targets, loss=loss, lengths=lengths, sample_weight=weights)
            for ours, theirs in zip(found, plain, strict=True):
                np.testing.assert_array_equal(ours, theirs)
        weights = np.ones((T, B)) / 2
        both_passes(net, x, targets, loss=loss, lengths=lengths, sample_weight=weights)
        again = both_passes(net, x, targets, loss=loss, lengths=lengths)
        for ours, theirs in zip(again, plain, strict=True):  # nothing of those weights is left
            np.testing.assert_array_equal(ours, theirs)


@each_loss
def test_a_weight_of_a_sequence_is_that_of_all_its_steps(rng, loss, backend):
    net, (x, targets) = build(loss), draw(rng, loss)
    weights = np.array([0, 2, 0.5, 1])
    found = both_passes(net, x, targets, loss=loss, sample_weight=weights)
    wide = np.broadcast_to(weights, (T, B))
    for ours, theirs in zip(
        found, both_passes(net, x, targets, loss=loss, sample_weight=wide), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
    x, targets = draw(rng, loss, B)
    found = both_passes(net, x, targets, loss=loss, sample_weight=weights, reduction="sum")
    alone = [both_passes(net, x[:, b], targets[b], loss=loss) for b in range(B)]
    factor = (1 if loss == "softmax" else N) * LOSSES[loss].terms
    check_close([found[0]], [factor * sum(w * each[0] for w, each in zip(
        weights, alone, strict=True))])
    half = both_passes(net, x[:, 0], targets[0], loss=loss, sample_weight=0.5)
    check_close([half[0], half[1]], [alone[0][0] / 2, alone[0][1] / 2])


@each_loss
@full_or_ragged
@pytest.mark.parametrize("last_only", [False, True], ids=["every step", "last step"])
def test_weight_0_is_a_missing_target_and_lets_no_nan_through(
    rng, loss, lengths, last_only, backend
):
    net, (x, targets) = build(loss), draw(rng, loss, *[B] if last_only else (T, B))
    weights = (rng.random(targets.shape[: 1 + (not last_only)]) < 0.5).astype(float)
    options = {"loss": loss, "lengths": lengths, "sample_weight": weights}
    expected = both_passes(net, x, targets, **options)
    targets[weights == 0] = -1 if loss == "softmax" else np.nan
    for ours, theirs in zip(both_passes(net, x, targets, **options), expected, strict=True):
        assert np.isfinite(ours).all()
        np.testing.assert_array_equal(ours, theirs)
    missing = both_passes(net, x, targets, loss=loss, lengths=lengths, missing="skip")
    check_close(missing, expected)
    nothing = both_passes(net, x, targets, **options | {"sample_weight": 0 * weights})
    assert not any(np.any(each) for each in nothing)


@each_loss
def test_weights_of_a_list_of_sequences(rng, loss, backend):
    net, (x, targets) = build(loss), draw(rng, loss)
    lengths = np.array([2, 5, 1, 3])
    parts = [x[:n, b] for b, n in enumerate(lengths)]
    own = [targets[:n, b] for b, n in enumerate(lengths)]
    weights = rng.random((T, B))
    for padded, separate in (
        (weights, [weights[:n, b] for b, n in enumerate(lengths)]),
        (weights[0], weights[0]), (weights[0], weights[0].tolist()),
    ):
        expected = both_passes(net, x, targets, loss=loss, lengths=lengths, sample_weight=padded)
        value, grads, _ = net.loss_and_gradients(parts, own, loss=loss, sample_weight=separate)
        assert value == pytest.approx(expected[0], rel=1e-13)
        check_close([grads.vector], [expected[1]])


@each_loss
def test_weights_with_the_batch_first(rng, loss, backend):
    net, (x, targets) = build(loss), draw(rng, loss)
    twin, weights = build(loss, batch_first=True), rng.random((T, B))
    for given, swapped in ((weights, weights.T), (weights[0], weights[0])):
        expected = both_passes(net, x, targets, loss=loss, sample_weight=given)
        found = both_passes(twin, x.swapaxes(0, 1), targets.swapaxes(0, 1), loss=loss,
                            sample_weight=swapped)
        check_close(found[:2], expected[:2])
    y, _ = twin(x.swapaxes(0, 1), last=True)
    np.testing.assert_array_equal(y, net(x, last=True)[0])


@pytest.mark.parametrize("weights", [
    {"sample_weight": np.array([0.5, 0, 2, 1])}, {"missing": "skip"}, {},
])
@pytest.mark.parametrize("loss", ["softmax", "sigmoid", "huber", "quantile", "gaussian"])
def test_gradcheck_takes_weights(rng, loss, weights, backend):
    net, (x, targets) = build(loss), draw(rng, loss)
    if "missing" in weights and loss != "softmax":
        targets[1:3, :, 0] = np.nan
    if loss == "softmax":
        weights = weights | {"class_weight": "balanced"}
    errors = crnn.gradcheck(net, x, targets, loss=loss, lengths=LENGTHS, max_entries=20, **weights)
    assert max(errors.values()) <= 1e-11


# --- weights of classes --------------------------------------------------------------------------


def test_class_weights_are_the_weights_of_their_targets(rng, backend):
    net, (x, targets) = build("softmax"), draw(rng, "softmax")
    targets[0, 0], targets[1, :2] = -1, 3
    table = np.array([1, 2, 0, 0.5, 1])
    own = np.where(targets < 0, 1, table[targets])
    for lengths in (None, LENGTHS):
        for sample in (None, rng.random((T, B))):
            expected = both_passes(net, x, targets, lengths=lengths, sample_weight=own if (
                sample is None) else own * sample)
            found = both_passes(net, x, targets, lengths=lengths, sample_weight=sample,
                                class_weight={1: 2, 2: 0.0, 3: np.float32(0.5)})
            check_close(found, expected)
    ends = targets[-1]
    check_close(both_passes(net, x, ends, class_weight={1: 2, 2: 0, 3: 0.5}),
                both_passes(net, x, ends, sample_weight=table[ends]))


def test_class_weights_are_pytorchs(rng, backend):
    torch = pytest.importorskip("torch")
    net, (x, targets) = build("softmax"), draw(rng, "softmax")
    targets[0, 0] = -1
    table = rng.random(5)
    y = torch.tensor(net(x)[0].reshape(-1, 5), requires_grad=True)
    total = torch.nn.functional.cross_entropy(
        y, torch.tensor(targets.ravel()), weight=torch.tensor(table), ignore_index=-1,
        reduction="sum")
    total.backward()
    options = {"class_weight": dict(enumerate(table)), "reduction": "sum"}
    value, grads, _ = net.loss_and_gradients(x, targets, **options)
    assert value == pytest.approx(total.item(), rel=1e-10)
    np.testing.assert_allclose(
        grads.parameters["b_y"], y.grad.numpy().sum(axis=0), rtol=1e-10, atol=1e-12)


def test_balanced_is_n_over_classes_times_count(rng, backend):
    net, x = build("softmax"), rng.standard_normal((6, 1, I))
    targets = np.array([0, 0, 0, 1, -1, 3])[:, None]  # n = 5 in 3 classes, as class 2 has none
    weights = {0: 5 / (3 * 3), 1: 5 / 3, 3: 5 / 3}
    check_close(both_passes(net, x, targets, class_weight="balanced"),
                both_passes(net, x, targets, class_weight=weights))
    every = weights | {0: 3 / (2 * 2), 1: 3 / 2}  # of what counts: two of class 0, one of class 1
    chosen = np.array([1, 0, 1, 3, 1, 0])[:, None]
    check_close(
        both_passes(net, x, targets, class_weight="balanced", sample_weight=chosen),
        both_passes(net, x, targets, class_weight=every, sample_weight=chosen))


def test_class_weights_of_one_sigmoid(rng, backend):
    net, x = build("sigmoid", outputs=1), rng.standard_normal((T, B, I))
    targets = (rng.random((T, B, 1)) < 0.3).astype(float)
    own = np.where(targets[:, :, 0] == 1, 5.0, 1.0)
    options = {"loss": "sigmoid", "lengths": LENGTHS}
    expected = both_passes(net, x, targets, sample_weight=own, **options)
    check_close(both_passes(net, x, targets, class_weight={1: 5}, **options), expected)
    targets[4, 0] = np.nan
    check_close(both_passes(net, x, targets, class_weight={1: 5}, **options), expected)  # beyond
    targets[1, 1] = np.nan
    own[1, 1] = 0
    options["missing"] = "skip"
    check_close(both_passes(net, x, targets, class_weight={1: 5}, **options),
                both_passes(net, x, targets, sample_weight=own, **options))


# --- missing targets -----------------------------------------------------------------------------


@pytest.mark.parametrize("loss", [name for name in LOSSES if name != "softmax"])
@full_or_ragged
def test_each_missing_number_is_left_out_by_itself(rng, loss, lengths, backend):
    net, (x, targets) = build(loss), draw(rng, loss)
    gaps = rng.random(targets.shape) < 0.4
    gaps[2], gaps[3, :, 0] = True, True
    given, total, count = np.where(gaps, np.nan, targets), 0, 0
    weights = rng.random((T, B))
    options = {"loss": loss, "lengths": lengths, "sample_weight": weights}
    found = both_passes(net, x, given, missing="skip", **options)
    for k in range(N):  # the same with one of the numbers at a time, by weights of whole steps
        part = np.where(gaps[:, :, k], 0, weights)
        only = np.full_like(targets, np.nan)
        only[:, :, k] = np.where(part > 0, targets[:, :, k], np.nan)
        each = both_passes(net, x, only, missing="skip", reduction="sum",
                           **options | {"sample_weight": part})
        running = np.ones((T, B), bool) if lengths is None else np.arange(T)[:, None] < lengths
        total = total + np.concatenate([np.ravel(one) for one in each])
        count += (running & (part > 0)).sum() * LOSSES[loss].terms
    check_close([np.concatenate([np.ravel(one) for one in found])], [total / count])


def test_missing_numbers_worked_by_hand(backend):
    net = crnn.RNN(1, 2, 3, dtype="float64")
    net.vector = np.zeros(net.num_parameters)
    net.parameters["b_y"] = np.array([1.0, 2, 3])
    targets = np.array([[[0.0, np.nan, 5]], [[np.nan, np.nan, np.nan]]])
    value, grads, _ = net.loss_and_gradients(
        np.zeros((2, 1, 1)), targets, loss="mse", missing="skip")
    assert value == (1 + 4) / 2
    np.testing.assert_array_equal(grads.parameters["b_y"], [2 / 2, 0, -4 / 2])
    assert np.isnan(net.loss(np.zeros((2, 1, 1)), targets, loss="mse")[0])
    everything = np.full_like(targets, np.nan)
    assert net.loss(np.zeros((2, 1, 1)), everything, loss="mse", missing="skip")[0] == 0


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(("loss", "options", "error", "message"), [
    ("mse", {"sample_weight": np.ones((B, T))}, ValueError,
     r"sample_weight has shape \(4, 5\); \(5, 4\), one for each step, or \(4,\), one for each seq"),
    ("mse", {"sample_weight": np.full(B, -1.0)}, ValueError, "sample_weight has -1.0; weights are"),
    ("mse", {"sample_weight": np.full((T, B), np.nan)}, ValueError, "sample_weight has nan"),
    ("mse", {"sample_weight": ["a"] * B}, TypeError, "sample_weight has dtype"),
    ("mse", {"sample_weight": np.ones(B, complex)}, TypeError, "sample_weight has dtype complex"),
    ("mse", {"class_weight": {0: 1}}, ValueError, "targets that are classes, but the loss is 'm"),
    ("sigmoid", {"class_weight": {0: 1}}, ValueError, "the loss is 'sigmoid' with 2 outputs"),
    ("softmax", {"class_weight": [1, 2, 3, 4, 5]}, TypeError, "class_weight is a list; a mapping"),
    ("softmax", {"class_weight": "equal"}, ValueError, "class_weight is 'equal'; it can be 'bal"),
    ("softmax", {"class_weight": {5: 1}}, ValueError, "a class of class_weight must be at most 4"),
    ("softmax", {"class_weight": {"0": 1}}, TypeError, "a class of class_weight must be a whole"),
    ("softmax", {"class_weight": {0: -1}}, ValueError, "the weight of class 0 is -1.0"),
    ("softmax", {"class_weight": {0: np.inf}}, ValueError, "the weight of class 0 is inf"),
    ("softmax", {"class_weight": {0: None}}, TypeError, "the weight of class 0 is None"),
    ("mse", {"missing": "ignore"}, ValueError, "missing is 'ignore'; it can be 'error', 'skip'"),
    ("mse", {"missing": True}, TypeError, "missing is True"),
])
def test_what_is_no_weight_is_refused(rng, loss, options, error, message, backend):
    net, (x, targets) = build(loss), draw(rng, loss)
    expected = both_passes(net, x, targets, loss=loss)
    for call in (net.loss, net.loss_and_gradients):
        with pytest.raises(error, match=message):
            call(x, targets, loss=loss, **options)
    for ours, theirs in zip(both_passes(net, x, targets, loss=loss), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_weights_of_steps_do_not_go_with_targets_for_the_last_ones(rng, backend):
    net, (x, targets) = build("mse"), draw(rng, "mse", B)
    with pytest.raises(ValueError, match=r"shape \(5, 4\); \(4,\), one for each sequence, is want"):
        net.loss(x, targets, loss="mse", sample_weight=np.ones((T, B)))
    net = build("sigmoid", outputs=1)
    with pytest.raises(ValueError, match=r"number 0\.5; with class_weight they are classes"):
        net.loss(x, np.full((B, 1), 0.5), loss="sigmoid", class_weight="balanced")


@pytest.mark.parametrize("shape", [(0, B), (T, 0), (0, 0)])
@each_loss
def test_no_steps_and_no_sequences(rng, loss, shape, backend):
    net, width = build(loss), () if loss == "softmax" else (N,)
    for targets in (np.zeros((*shape, *width), int), np.zeros((*shape[1:], *width), int)):
        weights = np.ones(targets.shape[: targets.ndim - len(width)])
        for given in (weights, np.ones(shape[1:])):
            value, grads, _ = net.loss_and_gradients(
                np.zeros((*shape, I)), targets, loss=loss, sample_weight=given, missing="skip")
            assert value == 0
            assert not grads.vector.any()


@pytest.mark.parametrize("class_weight", ["balanced", {1: 2.0}])
@pytest.mark.parametrize("shape", [(0, B), (T, 0)])
@pytest.mark.parametrize(("loss", "outputs"), [("softmax", 3), ("sigmoid", 1)])
def test_class_weights_of_no_steps_and_no_sequences(loss, outputs, shape, class_weight, backend):
    net, width = build(loss, outputs=outputs), () if loss == "softmax" else (1,)
    for targets in (np.zeros((*shape, *width), int), np.zeros((*shape[1:], *width), int)):
        for lengths in (None, np.zeros(shape[1], int)):
            value, _ = net.loss(np.zeros((*shape, I)), targets, loss=loss, lengths=lengths,
                                class_weight=class_weight)
            assert value == 0
    sequences = [np.zeros((0, I))] * 2
    assert net.loss(sequences, [np.zeros((0, *width), int)] * 2, loss=loss,
                    class_weight=class_weight)[0] == 0

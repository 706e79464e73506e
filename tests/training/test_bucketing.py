"""`crnn.batches`: every sequence once an epoch, with what belongs to it; resumed bit for bit."""

import numpy as np
import pytest

import crnn
from crnn.training.batches import checked_batches
from crnn.training.objectives import objective

N, I, O = 23, 3, 4  # noqa: E741
no_backend = pytest.mark.no_backend


def draw(rng, tokens=False):
    """Return sequences whose entries tell them apart, and classes of all their steps."""
    lengths = rng.integers(1, 40, N)
    sequences = [np.full(n, k) if tokens else k + rng.uniform(0, 0.5, (n, I)).astype("f4")
                 for k, n in enumerate(lengths)]
    return sequences, [np.full(n, k) for k, n in enumerate(lengths)]


def numbers(epoch):
    """Which sequences the batches of an epoch have."""
    return [x[0].reshape(x.shape[1], -1)[:, 0].astype(int).tolist() for x, _, _ in epoch]


@no_backend
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("bucket", [False, True])
def test_every_sequence_comes_once_an_epoch_with_its_own_targets(shuffle, bucket, rng):
    sequences, classes = draw(rng)
    values = [np.stack([each, -each], axis=1).astype(float) for each in classes]
    weights = [1 / (1 + each) for each in classes]
    ends = np.arange(N) % O
    options = {"batch_size": 5, "shuffle": shuffle, "bucket": bucket, "seed": 1}
    for targets in (classes, values, ends):
        for weight in (weights, weights[0][0] + np.arange(N)):
            data = crnn.batches(sequences, targets, weight, **options)
            assert len(data) == 5
            seen = []
            for batch in data.epoch(3):
                x, lengths = batch["x"], batch["lengths"]
                assert (x.dtype, len(x)) == (np.float32, lengths.max())
                for b, k in enumerate(x[0, :, 0].astype(int)):
                    n = len(sequences[k])
                    seen.append(k)
                    assert lengths[b] == n
                    assert np.array_equal(x[:n, b], sequences[k])
                    assert not x[n:, b].any()
                    if targets is ends:
                        assert batch["targets"][b] == ends[k]
                    else:
                        assert np.array_equal(batch["targets"][:n, b], targets[k])
                        beyond = -1 if targets is classes else 0
                        assert (batch["targets"][n:, b] == beyond).all()
                    if weight is weights:
                        assert np.array_equal(batch["sample_weight"][:n, b], weights[k])
                        assert not batch["sample_weight"][n:, b].any()
                    else:
                        assert batch["sample_weight"][b] == weight[k]
            assert sorted(seen) == list(range(N))


@no_backend
def test_epochs_have_orders_of_their_own_and_seeds_repeat_them(rng):
    sequences, classes = draw(rng)
    first, again, other = (
        crnn.batches(sequences, classes, batch_size=5, seed=seed) for seed in (1, 1, 2))
    epochs = [numbers(first.epoch(k)) for k in range(4)]
    assert epochs == [numbers(again.epoch(k)) for k in range(4)]
    assert epochs == [numbers(again) for _ in range(4)]       # a loop is an epoch
    assert len({str(each) for each in epochs}) == 4
    assert len({str(sorted(map(sorted, each))) for each in epochs}) > 1  # not the batches alone
    assert numbers(other.epoch(0)) != epochs[0]
    unseeded = crnn.batches(sequences, classes, batch_size=5)
    assert numbers(unseeded.epoch(2, seed=7)) == numbers(unseeded.epoch(2, seed=7))
    assert numbers(unseeded.epoch(2, seed=7)) != numbers(unseeded.epoch(2, seed=8))
    assert numbers(first.epoch(0, seed=7)) == epochs[0]


@no_backend
def test_without_shuffling_the_order_is_the_lists_own(rng):
    sequences, classes = draw(rng)
    data = crnn.batches(sequences, classes, batch_size=5, shuffle=False, bucket=False)
    for epoch in (data.epoch(0), data.epoch(5)):
        assert [k for batch in numbers(epoch) for k in batch] == list(range(N))
    data = crnn.batches(sequences, classes, batch_size=5, shuffle=False)
    lengths = [length for _, _, lengths in data for length in lengths]
    assert lengths == sorted(lengths)


@no_backend
@pytest.mark.parametrize("bucket", [True, False])
def test_of_a_shuffled_batch_the_longest_comes_first(rng, bucket):
    """A pass then skips the steps of all sequences that are over."""
    for _, _, lengths in crnn.batches(*draw(rng), batch_size=5, bucket=bucket, seed=1):
        assert lengths.tolist() == sorted(lengths, reverse=True)


@no_backend
def test_buckets_pad_little(rng):
    sequences = [np.zeros((n, 1)) for n in rng.integers(10, 200, 1000)]
    steps = sum(map(len, sequences))

    def padded(bucket):
        data = crnn.batches(sequences, np.zeros(1000, int), bucket=bucket, seed=0)
        return sum(x.shape[0] * x.shape[1] for x, _, _ in data) / steps

    assert padded(True) < 1.15 < 1.7 < padded(False)


@no_backend
def test_batch_first(rng):
    sequences, classes = draw(rng)
    plain, swapped = (crnn.batches(sequences, classes, [each + 0.5 for each in classes],
                                   batch_size=5, seed=1, batch_first=b) for b in (False, True))
    for ours, theirs in zip(plain, swapped, strict=True):
        for name in ("x", "targets", "sample_weight"):
            assert np.array_equal(ours[name].swapaxes(0, 1), theirs[name])
        assert np.array_equal(ours["lengths"], theirs["lengths"])


@no_backend
def test_tokens_alone_predict_their_next():
    tokens = [np.array([3, 1, 2]), np.array([5]), np.array([4, 0])]
    (x, targets, lengths), = crnn.batches(tokens, shuffle=False, bucket=False)
    assert x.T.tolist() == [[3, 1], [0, 0], [4, 0]]
    assert targets.T.tolist() == [[1, 2], [-1, -1], [0, -1]]
    assert lengths.tolist() == [2, 0, 1]
    vocabulary = crnn.text.Vocabulary("abc")
    (x, targets, lengths), = crnn.batches(["cab", "b"], shuffle=False, bucket=False,
                                          vocabulary=vocabulary)
    assert (x.T.tolist(), targets.T.tolist()) == ([[2, 0], [0, 0]], [[0, 1], [-1, -1]])


@no_backend
def test_an_array_is_a_list_of_its_sequences(rng):
    x, y = rng.standard_normal((4, 6, 3)), rng.standard_normal((4, 6, 2))
    for ours, theirs in zip(crnn.batches(x, y, seed=0), crnn.batches(list(x), list(y), seed=0),
                            strict=True):
        assert [each.tobytes() for each in ours] == [each.tobytes() for each in theirs]
    objects = np.empty(4, object)
    objects[:] = list(x)
    for ours, theirs in zip(crnn.batches(objects, y, seed=0), crnn.batches(x, y, seed=0),
                            strict=True):
        assert [each.tobytes() for each in ours] == [each.tobytes() for each in theirs]


def net_of(**options):
    return crnn.GRU(I, 5, O, dropout=0.3, num_layers=2, seed=0, **options)


def data_of(rng, seed=None, **options):
    sequences, _ = draw(rng)
    targets = [rng.integers(-1, O, len(each)) for each in sequences]
    return crnn.batches(sequences, targets, batch_size=5, seed=seed, **options)


@pytest.mark.parametrize("seed", [None, 4])
@pytest.mark.parametrize("truncation", [None, 7])
def test_training_goes_on_bit_for_bit(seed, truncation, rng, tmp_path, backend):
    data = data_of(rng, seed)
    options = {"truncation": truncation, "schedule": crnn.cosine(), "validation": data}
    straight = net_of()
    events = []
    history = crnn.fit(straight, data, crnn.Adam(0.01), epochs=4, seed=2,
                       callbacks=[events.append], **options)
    updates = [event.update for event in events if event.kind == "update"]
    assert updates == list(range(1, history.rows[-1]["update"] + 1))
    for stop in (1, len(updates) // 3, len(updates) - 1):
        options["checkpoint"] = tmp_path / f"{stop}.checkpoint"
        crnn.fit(net_of(), data, crnn.Adam(0.01), epochs=4, seed=2,
                 callbacks=[lambda event, stop=stop: event.update == stop], **options)
        resumed = net_of()
        again = crnn.fit(resumed, data, crnn.Adam(0.01), epochs=4, seed=2, resume=True, **options)
        assert again.rows == history.rows
        assert np.array_equal(resumed.vector, straight.vector)


@no_backend
@pytest.mark.parametrize(
    "options", [{}, {"truncation": 7}, {"warm_up": 3}, {"last": True}], ids=str)
def test_updates_are_counted_without_making_batches(options, rng, monkeypatch):
    """Some targets are missing: whole sequences, and whole chunks of others."""
    options = {"truncation": None, "warm_up": 0, "last": False} | options
    sequences, _ = draw(rng)
    targets = [rng.integers(-1, O, len(each)) for each in sequences]
    for k, each in enumerate(targets):
        each[: len(each) * (k % 3) // 2] = -1
    if options["last"]:
        targets = rng.integers(-1, 1, N)
    source = crnn.batches(sequences, targets, batch_size=2)
    data = checked_batches(source, objective(net_of(), "softmax"), options["truncation"], "data",
                           options["warm_up"])
    counts = [sum(chunk.count > 0 for k in range(len(source)) for chunk in epoch.chunks(k))
              for epoch in (data.in_epoch(number, 5) for number in range(20))]
    assert len(set(counts)) > 1
    monkeypatch.setattr(source, "batch_of", None)
    assert [data.updates_of(number, 5) for number in range(20)] == counts


def test_schedules_end_with_the_last_update_though_epochs_differ(rng, backend):
    sequences, classes = draw(rng)
    data = crnn.batches(sequences, [each % O for each in classes], batch_size=5, bucket=False)
    told = []
    crnn.fit(net_of(), data, crnn.SGD(0.01), epochs=5, truncation=7, seed=4,
             schedule=lambda done: told.append(done) or 1.0)
    counts = [sum(-(-len(x) // 7) for x, _, _ in data.epoch(k, seed=4)) for k in range(5)]
    assert len(set(counts)) > 1  # a check of a case that would show nothing
    assert told == sorted(told)
    assert (told[0], max(told)) == (0, (5 * counts[4] - 1) / (5 * counts[4]))


def test_training_and_evaluation_are_over_all_sequences(rng, backend):
    sequences, _ = draw(rng)
    targets = [rng.integers(-1, O, len(each)) for each in sequences]
    data = crnn.batches(sequences, targets, batch_size=5)
    net = net_of(dtype="float64")
    expected = crnn.evaluate(net, (sequences, targets))
    assert crnn.evaluate(net, data) == pytest.approx(expected, rel=1e-12)
    assert crnn.evaluate(net, data, truncation=7) == pytest.approx(expected, rel=1e-12)
    ends = [int(each[-1]) for each in targets]
    expected = crnn.evaluate(net, (sequences, ends))
    assert crnn.evaluate(net, crnn.batches(sequences, ends)) == pytest.approx(expected, rel=1e-12)


def test_batch_first_batches_train_the_same(rng, backend):
    results = []
    for batch_first in (False, True):
        net = net_of()
        data = data_of(np.random.default_rng(5), 1, batch_first=batch_first)
        crnn.fit(net, data, crnn.Adam(), epochs=1, truncation=7)
        results.append(net.vector.tobytes())
    assert results[0] == results[1]


SEQUENCES = [np.zeros((2, 3)), np.zeros((4, 3))]
REFUSED = {
    "no targets": ({}, ValueError, "targets are missing"),
    "targets a number": ({"targets": 1}, TypeError, "targets is a int"),
    "targets a text": ({"targets": "ab"}, TypeError, "str"),
    "too few": ({"targets": [0]}, ValueError, "1 items; 2"),
    "too short": ({"targets": [np.zeros((2, 1)), np.zeros((2, 1))]}, ValueError,
                  r"targets\[1\] has shape \(2, 1\); \(4, 1\)"),
    "names": ({"targets": ["cat", "dog"]}, TypeError, r"np\.unique\(names, return_inverse=True\)"),
    "numbers without an axis for outputs": (
        {"targets": [np.zeros(2), np.zeros(4)]}, ValueError,
        r"targets\[1\] .*float64, a number for each step; classes are .* targets\[1\]\[:, None\]"),
    "of different kinds": ({"targets": [0, [0, 1]]}, ValueError, r"targets\[1\]"),
    "weights": ({"targets": [0, 1], "sample_weight": [1.0]}, ValueError, "sample_weight"),
    "sequences": ({"targets": [0], "sequences": ["ab"]}, TypeError, "vocabulary"),
    "batch_size": ({"targets": [0, 1], "batch_size": 0}, ValueError, "batch_size"),
    "shuffle": ({"targets": [0, 1], "shuffle": 3}, TypeError, "shuffle"),
    "bucket": ({"targets": [0, 1], "bucket": "yes"}, TypeError, "bucket"),
    "seed": ({"targets": [0, 1], "seed": -1}, ValueError, "seed"),
}


@no_backend
@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused(case):
    options, kind, message = REFUSED[case]
    with pytest.raises(kind, match=message):
        crnn.batches(**({"sequences": SEQUENCES} | options))


def test_training_says_which_batch_does_not_fit(backend):
    data = crnn.batches(SEQUENCES, [0, O + 1], batch_size=1, shuffle=False)
    with pytest.raises(ValueError, match="batch 1 of data: targets have the class 5"):
        crnn.fit(net_of(), data, crnn.SGD(0.1), epochs=1)

"""Several ranks, here threads, that train one network: as one process with all of their data."""

import itertools
import signal

import numpy as np
import pytest
import thread_ranks
from thread_ranks import results

import crnn
from crnn.training.interrupts import Terminated, terminable

pytestmark = pytest.mark.no_backend

T, B, I, H, O = 21, 6, 3, 5, 4  # noqa: E741
CLOSE = {"rtol": 1e-12, "atol": 1e-12}


def batches(seed):
    """A batch with holes among its targets, and one that is padded: not all ranks have them all."""
    rng = np.random.default_rng(seed)
    x, targets = rng.standard_normal((T, B, I)), rng.integers(0, O, (T, B))
    targets[:4, 1::2] = -1  # at first rank 1 of 2 has none,
    targets[8:12] = -1  # then nobody,
    targets[15:, 0] = -1  # and in the end not all
    lengths = np.array([13, 4, 7, 9, 2])
    return [(x, targets), (rng.standard_normal((13, 5, I)), rng.integers(0, O, (13, 5)), lengths)]


def share(data, ranks):
    """The sequences of each batch that are a rank's."""
    if ranks is None:
        return data
    part = slice(ranks.rank, None, ranks.size)
    return [tuple(each[..., part] if each.ndim == 1 else each[:, part] for each in batch)
            for batch in data]


def train(ranks, data=None, net=None, lr=0.02, backend=None, **options):
    """Fit a share of the data with everything switched on; return network, history and events."""
    events = []
    net = net or crnn.GRU(I, H, O, seed=3, dtype="float64", backend=backend)
    settings = {
        "epochs": 12, "truncation": 4, "clip_norm": 0.3, "schedule": "cosine", "seed": 5,
        "metrics": ["accuracy"], "validation": share(batches(2), ranks),
        "callbacks": [lambda event: events.append(event._replace(net=None))],
    }
    data = share(batches(1), ranks) if data is None else data
    history = crnn.fit(net, data, crnn.Adam(lr), all_reduce=ranks,
                       **(settings | options))
    return net, history, events


def assert_close(found, wanted):
    """Assert that two trainings agree to 1e-12."""
    np.testing.assert_allclose(found[0].vector, wanted[0].vector, **CLOSE)
    assert found[1].stopped_by == wanted[1].stopped_by
    for ours, theirs in itertools.zip_longest(found[1].rows, wanted[1].rows):
        assert ours == pytest.approx(theirs, rel=1e-12, abs=1e-12)
    for ours, theirs in zip(reversed(found[2]), reversed(wanted[2]), strict=False):
        assert same_of(ours) == same_of(theirs)
        assert (ours.loss, ours.lr) == pytest.approx((theirs.loss, theirs.lr), rel=1e-12)


def same_of(event):
    """What an event tells that is no sum."""
    return (event.kind, event.epoch, event.epochs, event.update, event.updates, event.targets,
            event.is_best)


NAME = "with all options"
OPTIONS = {
    NAME: {},
    "the reference": {"backend": "reference", "epochs": 5},
    "patience": {"patience": 3},
    "balanced": {"class_weight": "balanced", "clip_norm": None, "clip_value": 0.01},
    "warm-up": {"warm_up": 3},
    "whole sequences": {"truncation": None, "metrics": (), "epochs": 50},
    "a function as loss": {"loss": lambda y, targets: squared(y, targets), "metrics": ()},
}


def squared(y, targets):
    """A loss of one's own: of the first output, where there is a target."""
    off = np.where(targets < 0, 0, y[..., 0] - targets)
    count = (targets >= 0).sum()
    dy = np.zeros_like(y)
    dy[..., 0] = 2 * off / count
    return (off**2).sum() / count, dy


@pytest.mark.parametrize(
    ("name", "size"), [*itertools.product(OPTIONS, [2, 4]), (NAME, 1), (NAME, 8)])
def test_ranks_train_as_one_process_with_all_data(size, name):
    wanted = train(None, **OPTIONS[name])
    found = results(size, lambda ranks: train(ranks, **OPTIONS[name]))
    for each in found:
        assert_close(each, wanted)
        assert np.array_equal(each[0].vector, found[0][0].vector)


def test_the_trainings_are_what_the_test_is_about():
    """There are a hundred updates, and patience is lost before the last epoch."""
    assert train(None)[1]["update"][-1] == 108
    assert train(None, **OPTIONS["whole sequences"])[1]["update"][-1] == 100
    history = train(None, **OPTIONS["patience"])[1]
    assert history.stopped_by == "patience"
    assert len(history) == 5


def test_float32_is_summed_in_double_precision():
    def call(ranks):
        return train(ranks, net=crnn.GRU(I, H, O, seed=3), epochs=5)[0].vector

    for vector in results(4, call):
        np.testing.assert_allclose(vector, call(None), rtol=0, atol=3e-6)


def test_batches_are_shared_sequence_by_sequence(rng):
    """Also where there are fewer than ranks; without a seed all have the same order, too."""
    sequences = [rng.standard_normal((length, I)) for length in (5, 9, 2, 7, 11, 3, 8)]
    targets = [rng.integers(0, O, len(each)) for each in sequences]
    weights = [rng.uniform(0.1, 2, len(each)) for each in sequences]

    def call(ranks, seed=5, **options):
        data = crnn.batches(sequences, targets, batch_size=3, **options)
        data = data if ranks is None else data.share(ranks.rank, ranks.size)
        assert len(data) == 3
        return train(ranks, data, seed=seed)

    for options in ({}, {"sample_weight": weights}, {"seed": 1, "shuffle": True}):
        wanted = call(None, **options)
        for size in (2, 4):
            for found in results(size, lambda ranks, options=options: call(ranks, **options)):
                assert_close(found, wanted)
    one, other = results(2, lambda ranks: call(ranks, seed=None))
    assert_close(one, other)


def test_a_rank_may_have_fewer_batches_and_no_sequences():
    """The second batch is rank 0's alone, and rank 3 has nothing, but takes part."""
    (x, targets), second = batches(1)
    shares = [[(x[:, :3], targets[:, :3]), second], [(x[:, 3:5], targets[:, 3:5])],
              [(x[:, 5:], targets[:, 5:])], [(x[:, :0], targets[:, :0])]]
    found = results(4, lambda ranks: train(ranks, shares[ranks.rank]))
    for each in found:
        assert_close(each, found[0])
        counts = [event.targets for event in each[2] if event.kind == "epoch"]
        assert counts == [(targets >= 0).sum() + second[2].sum()] * 12
    with pytest.raises(ValueError, match="data has no valid target"):
        results(2, lambda ranks: train(ranks, shares[3]))


def test_dropout_is_drawn_for_each_rank_and_epoch_anew():
    """Ranks with the same data have other masks; without dropout they train as one with half."""
    def call(ranks, dropout=0.5, same=True):
        net = crnn.RNN(I, (8, 8), O, seed=3, dropout=dropout, dtype="float64")
        return train(ranks, batches(1) if same else share(batches(1), ranks), net, epochs=3)

    (one, *_), (other, *_) = results(2, call)
    assert np.array_equal(one.vector, other.vector)
    assert one.dropout_state != other.dropout_state
    np.testing.assert_allclose(
        results(2, lambda ranks: call(ranks, 0))[0][0].vector, call(None, 0)[0].vector, **CLOSE)
    assert not np.allclose(one.vector, call(None)[0].vector)


def stopping(rank, kind, number, act=lambda: True):
    """Callbacks, of each rank, that act at an event of one rank."""
    def callback(event):
        return act() if (event.kind, getattr(event, event.kind)) == (kind, number) else None

    return lambda ranks: [callback] * (ranks is None or ranks.rank == rank)


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize(("kind", "number"), [("update", 5), ("update", 14), ("epoch", 2)])
def test_a_callback_of_one_rank_stops_all_after_the_same_update(rank, kind, number):
    callbacks = stopping(rank, kind, number)
    found = results(2, lambda ranks: train(ranks, callbacks=callbacks(ranks)))
    wanted = train(None, callbacks=callbacks(None))
    for net, history, _ in found:
        assert history.stopped_by == "callback"
        assert len(history) == len(wanted[1])
        np.testing.assert_allclose(net.vector, wanted[0].vector, **CLOSE)


@pytest.mark.parametrize(("signum", "error"), [
    (signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)])
def test_ctrl_c_to_one_rank_stops_all_after_the_same_update(tmp_path, signum, error):
    """What is saved is the end of the epoch before, from where training goes on."""
    callbacks, nets = stopping(0, "update", 23, lambda: signal.raise_signal(signum)), {}

    def call(ranks, **options):
        nets[ranks.rank] = crnn.GRU(I, H, O, seed=3, dtype="float64")
        return train(ranks, net=nets[ranks.rank], checkpoint=tmp_path / "one", **options)

    with terminable():
        found = thread_ranks.run(2, lambda ranks: call(ranks, callbacks=callbacks(ranks)))
    stopped = train(None, callbacks=stopping(0, "update", 23)(None))[0].vector
    for rank, each in enumerate(found):
        assert type(each) is error
        assert str(each) == (
            "training stopped after update 23; the checkpoint is that of the end of epoch 2")
        np.testing.assert_allclose(nets[rank].vector, stopped, **CLOSE)
    for each in results(2, lambda ranks: call(ranks, resume=True)):
        assert_close(each, train(None))


def test_ctrl_c_while_a_rank_waits_for_the_others_waits_for_the_next_update(tmp_path):
    """Ranks ask each other whether to stop: what comes then is not in their answers yet."""
    nets, asked = {}, []

    def call(ranks):
        def interrupting(vector):
            is_asked = len(vector) == 3  # a callback, Ctrl-C, SIGTERM
            asked.extend([ranks.rank] * is_asked)
            if is_asked and asked.count(0) == 23 and ranks.rank == 0:
                signal.raise_signal(signal.SIGINT)
            ranks(vector)

        interrupting.rank, interrupting.size = ranks.rank, ranks.size
        nets[ranks.rank] = crnn.GRU(I, H, O, seed=3, dtype="float64")
        return train(interrupting, net=nets[ranks.rank])

    found = thread_ranks.run(2, call)
    assert len({str(each) for each in found}) == 1
    assert all(type(each) is KeyboardInterrupt for each in found)
    np.testing.assert_array_equal(nets[0].vector, nets[1].vector)


def test_ctrl_c_in_the_first_epoch(tmp_path):
    callbacks = stopping(0, "update", 3, lambda: signal.raise_signal(signal.SIGINT))
    found = thread_ranks.run(2, lambda ranks: train(
        ranks, checkpoint=tmp_path / "one", callbacks=callbacks(ranks)))
    assert {str(each) for each in found} == {
        "training stopped after update 3; there is no checkpoint before the end of an epoch"}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("sizes", [
    (None, 2, 4), (4, 2, None), (2, 2, 4), (None, 4, None), (None, 2, None)])
def test_going_on_with_more_or_fewer_ranks(tmp_path, sizes):
    """Each stops after an epoch or two; rank 0 alone has written."""
    for number, size in enumerate(sizes):
        def call(ranks, number=number):
            path = tmp_path / ("elsewhere" if number == 0 and ranks and ranks.rank else "one")
            callbacks = stopping(0, "epoch", 3 * number + 2)(ranks)
            return train(ranks, checkpoint=path, callbacks=callbacks, resume=number > 0,
                         patience=10, net=crnn.GRU(I, H, O, seed=3, dtype="float64"))

        found = [call(None)] if size is None else results(size, call)
    wanted = train(None, patience=10, callbacks=stopping(0, "epoch", 8)(None))
    for each in found:
        assert_close(each, wanted)
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_going_on_with_as_many_ranks_has_the_same_bits(tmp_path):
    def call(ranks, **options):
        net = crnn.LSTM(I, (H, H), O, seed=3, dropout=0.5)
        return train(ranks, net=net, checkpoint=tmp_path / f"{ranks.rank}", **options)

    never_stopped = results(2, call)
    callbacks = stopping(1, "epoch", 4)
    results(2, lambda ranks: call(ranks, callbacks=callbacks(ranks)))
    (tmp_path / "1").symlink_to(tmp_path / "0")
    for found, wanted in zip(results(2, lambda ranks: call(ranks, resume=True)), never_stopped,
                             strict=True):
        assert np.array_equal(found[0].vector, wanted[0].vector)
        assert found[1].rows == wanted[1].rows


def test_nan_on_one_rank_ends_all():
    """The parameters are those before; rank 1 has its third chunk with targets in update 4."""
    nets = {}

    def call(ranks):
        passes = itertools.count(1)

        def loss(y, targets):
            value, dy = squared(y, targets)
            return value * (np.nan if ranks.rank == 1 and next(passes) == 3 else 1), dy

        nets[ranks.rank] = crnn.GRU(I, H, O, seed=3, dtype="float64")
        return train(ranks, share(batches(1)[:1], ranks), nets[ranks.rank], loss=loss, metrics=())

    found = thread_ranks.run(2, call)
    for rank, each in enumerate(found):
        assert type(each) is FloatingPointError
        assert str(each).startswith("the loss is nan and its gradient's norm ")
        assert "in update 4 " in str(each)
        assert np.isfinite(nets[rank].vector).all()
    assert np.array_equal(nets[0].vector, nets[1].vector)


def raised(size, function):
    """The first of the errors that the ranks' own faults lead to."""
    with pytest.raises((ValueError, TypeError)) as caught:
        results(size, function)
    return str(caught.value)


@pytest.mark.parametrize(("name", "options"), [
    ("parameters", lambda rank: {"net": crnn.GRU(I, H, O, seed=rank % 2, dtype="float64")}),
    ("the networks", lambda rank: {"net": crnn.RNN(
        I, H, O, seed=3, dtype="float64", nonlinearity=["tanh", "relu"][rank % 2])}),
    ("lr", lambda rank: {"lr": 0.02 + 0.01 * (rank % 2)}),
    ("clip_norm", lambda rank: {"clip_norm": 1.0 + rank % 2}),
    ("epochs", lambda rank: {"epochs": 3 + rank % 2}),
    ("seed", lambda rank: {"seed": rank % 2}),
])
def test_ranks_that_differ_are_refused(name, options):
    before = crnn.GRU(I, H, O, seed=0, dtype="float64").vector
    message = raised(4, lambda ranks: train(ranks, **options(ranks.rank)))
    assert message.startswith(f"{name} of rank 1 and of rank 0 differ; all take the same network")
    assert np.array_equal(crnn.GRU(I, H, O, seed=0, dtype="float64").vector, before)


@pytest.mark.parametrize(("name", "option"), [
    ("class_weight", "balanced"), ("validation", batches(2)), ("warm_up", 2)])
def test_ranks_that_would_not_add_up_the_same_are_refused(name, option):
    """Sums of other lengths are what MPI waits for for ever, or makes nonsense of."""
    options = {"validation": None} | {name: option}
    message = raised(2, lambda ranks: train(
        ranks, **(options if ranks.rank else {"validation": None})))
    assert message == (f"{name} of rank 1 and of rank 0 differ; all give fit the same settings, and"
                       " all or none give it validation data")


def test_ranks_that_lose_their_way_are_refused():
    def callback(event):
        event.net.vector = event.net.vector * 1.001

    message = raised(2, lambda ranks: train(ranks, callbacks=[callback] * ranks.rank))
    assert message.startswith("parameters of rank 1 and of rank 0 differ; all have lost their way")


def test_a_checkpoint_from_within_an_epoch_is_not_shared(tmp_path):
    train(None, checkpoint=tmp_path / "one", callbacks=stopping(0, "update", 10)(None))
    nets = {}

    def call(ranks):
        nets[ranks.rank] = crnn.GRU(I, H, O, seed=4, dtype="float64")
        return train(ranks, net=nets[ranks.rank], checkpoint=tmp_path / "one", resume=True)

    assert "was written within an epoch by a process that trained alone" in raised(2, call)
    assert np.array_equal(nets[0].vector, crnn.GRU(I, H, O, seed=4, dtype="float64").vector)


class Alone:
    """An all_reduce that claims to be what it is told."""

    def __init__(self, rank, size, answer=None):
        self.rank, self.size, self._answer = rank, size, answer

    def __call__(self, vector):
        return self._answer


@pytest.mark.parametrize(("ranks", "error", "message"), [
    (3, TypeError, "all_reduce is 3; a function is wanted"),
    (lambda vector: None, TypeError, "all_reduce has no attribute rank and no size"),
    (Alone(2, 2), ValueError, "all_reduce.rank is 2, and all_reduce.size is 2"),
    (Alone("0", 2), TypeError, "all_reduce.rank"),
    (Alone(0, 0), ValueError, "all_reduce.size"),
    (Alone(0, 2, np.zeros(3)), TypeError, "all_reduce returned something"),
    (Alone(0, 2), ValueError, "all_reduce does not sum over 2 ranks"),
])
def test_what_is_no_all_reduce_is_refused(ranks, error, message):
    net = crnn.GRU(I, H, O, seed=3, dtype="float64")
    before = net.vector.copy()
    with pytest.raises(error, match=message):
        crnn.fit(net, batches(1), crnn.Adam(), epochs=1, all_reduce=ranks)
    assert np.array_equal(net.vector, before)
    assert net.metadata == {}


def test_a_single_rank_has_the_bits_of_a_training_without_any():
    """Nothing is summed then."""
    (found, *_), = results(1, lambda ranks: train(ranks, net=crnn.GRU(I, H, O, seed=3)))
    assert np.array_equal(found.vector, train(None, net=crnn.GRU(I, H, O, seed=3))[0].vector)


def test_only_rank_0_shows_progress(capsys):
    pytest.importorskip("tqdm")
    found = results(3, lambda ranks: train(ranks, progress=True, epochs=2))
    assert len(found) == 3
    shown = capsys.readouterr().err
    assert "epoch 2/2" in shown
    assert shown.count("?") == 1  # of the time that is left when a bar appears

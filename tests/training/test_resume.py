"""Stopping and going on: the bits are those of a training that never stopped."""

import errno
import functools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import crnn
from crnn.files import container

I, H, O = 3, 5, 4  # noqa: E741
TRUNCATION, UPDATES = 3, 7  # of an epoch: 3 for 7 steps, 2 for 5, 2 for 6
EPOCHS = {"momentum": 4, "adam": 30}
POINTS = {  # some in the middle of a batch, between batches, the first, last ones of epochs
    "momentum": [1, 2, 3, 5, 6, 7, 8, 11, 12, 13, 14, 15, 16, 18, 19, 21, 22, 25, 27, 28],
    "adam": [1, 4, 7, 8, 10, 13, 14, 16, 19, 20, 24, 28, 29, 32, 35, 37, 40, 42, 48, 49],
}
OPTIMIZERS = {
    "momentum": lambda: crnn.SGD(0.05, momentum=0.9, nesterov=True),
    "adam": lambda: crnn.Adam(0.01),
    "adamw": lambda: crnn.AdamW(0.01),
    "adagrad": lambda: crnn.Adagrad(0.1, lr_decay=0.1),
    "rmsprop": lambda: crnn.RMSprop(0.01, momentum=0.5, centered=True),
    "sgd": lambda: crnn.SGD(0.1),
}


def batches(seed, last_only=False):
    """Three batches of different lengths, one of them padded."""
    rng = np.random.default_rng(seed)

    def batch(steps, sequences, *rest):
        shape = (sequences,) if last_only else (steps, sequences)
        return rng.standard_normal((steps, sequences, I)), rng.integers(0, O, shape), *rest

    return [batch(7, 2), batch(5, 3, [5, 1, 3]), batch(6, 2)]


def numbers(data):
    """The same batches with targets for the losses of numbers."""
    return [(x, targets[..., None] * np.ones(O), *rest) for x, targets, *rest in data]


def train(path, name="momentum", *, stop=None, net_seed=0, **options):
    """Fit with everything switched on; return network, optimizer, history and events.

    Parameters
    ----------
    stop : tuple of str and int
        Kind and number of the event at which a callback stops training.
    """
    events = []

    def watch(event):
        events.append(event._replace(net=None))
        return (event.kind, getattr(event, event.kind)) == stop

    net, optimizer = crnn.RNN(I, H, O, seed=net_seed), OPTIMIZERS[name]()
    settings = {
        "data": batches(1), "epochs": EPOCHS.get(name, 2), "truncation": TRUNCATION,
        "clip_norm": 0.5, "validation": batches(2), "patience": 3, "schedule": crnn.cosine(),
        "callbacks": [watch], "checkpoint": path, "seed": 5,
    }
    history = crnn.fit(net, optimizer=optimizer, **(settings | options))
    return net, optimizer, history, events


@functools.cache
def never_stopped(backend, name):
    return train(None, name)


def assert_same(found, wanted):
    net, optimizer, history, events = found
    assert np.array_equal(net.vector, wanted[0].vector)
    assert_same_optimizer(optimizer, wanted[1])
    assert history.rows == wanted[2].rows
    assert events == wanted[3][len(wanted[3]) - len(events) :]


def assert_same_optimizer(optimizer, wanted):
    assert (optimizer.steps, optimizer.lr) == (wanted.steps, wanted.lr)
    slots, others = optimizer.state(), wanted.state()
    assert slots.keys() == others.keys()
    assert all(np.array_equal(slots[name], others[name]) for name in slots)


def test_the_trainings_are_what_the_tests_are_about(backend):
    """One goes on to the end, the other loses patience after the best epoch."""
    momentum, adam = (never_stopped(backend, name)[2]["validation_loss"] for name in POINTS)
    assert len(momentum) * UPDATES == EPOCHS["momentum"] * UPDATES == POINTS["momentum"][-1]
    assert 0 < momentum.index(min(momentum)) < 3
    assert len(adam) * UPDATES == (adam.index(min(adam)) + 4) * UPDATES == POINTS["adam"][-1]
    assert 0 < adam.index(min(adam)) < len(adam) < EPOCHS["adam"]


@pytest.mark.parametrize(
    ("name", "update"),
    [pytest.param(name, k, id=f"{name}, update {k}") for name in POINTS for k in POINTS[name]],
)
def test_stopped_at_an_update(backend, tmp_path, name, update):
    path = tmp_path / "checkpoint"
    first = train(path, name, stop=("update", update))
    assert first[1].steps == update
    resumed = train(path, name, net_seed=8, resume=True)
    assert_same(resumed, never_stopped(backend, name))
    assert len(first[3]) + len(resumed[3]) == len(never_stopped(backend, name)[3])


@pytest.mark.parametrize("name", POINTS)
@pytest.mark.parametrize("epoch", [1, 3, 4])
def test_stopped_after_an_epoch(backend, tmp_path, name, epoch):
    first = train(tmp_path / "checkpoint", name, stop=("epoch", epoch))
    assert len(first[2]) == epoch
    resumed = train(tmp_path / "checkpoint", name, net_seed=8, resume=True)
    assert_same(resumed, never_stopped(backend, name))


@pytest.mark.parametrize("whole", [False, True], ids=["truncated", "many to one"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_stopped_after_every_update(tmp_path, name, whole):
    options = {"epochs": 2}
    if whole:
        options |= {"data": batches(1, last_only=True), "truncation": None, "clip_value": 0.05,
                    "validation": None, "patience": None}
    wanted = train(None, name, **options)
    for update in range(1, wanted[1].steps + 1):
        train(tmp_path / "checkpoint", name, stop=("update", update), net_seed=update - 1,
              resume=update > 1, **options)
    assert_same(train(tmp_path / "checkpoint", name, net_seed=99, resume=True, **options), wanted)


def test_without_a_seed_the_order_goes_on(tmp_path):
    path, copy = tmp_path / "checkpoint", tmp_path / "copy"
    first = train(path, seed=None, stop=("update", 9))
    copy.write_bytes(path.read_bytes())
    resumed, again = (train(each, seed=None, net_seed=8, resume=True) for each in (path, copy))
    assert_same(again, resumed)
    updates = [event for event in first[3] + resumed[3] if event.kind == "update"]
    in_epoch_2 = sorted(event.targets for event in updates[UPDATES : 2 * UPDATES])
    assert in_epoch_2 == sorted([6, 6, 2, 7, 2, 6, 6])


def test_stopped_by_ctrl_c(backend, tmp_path):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    def interrupt(event):
        if event.update == 10:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "checkpoint", callbacks=[interrupt])
    signal.signal(signal.SIGINT, before)
    resumed = train(tmp_path / "checkpoint", net_seed=8, resume=True)
    assert_same(resumed, never_stopped(backend, "momentum"))
    assert resumed[3][0].update == 11


CHILD = """
import sys, test_resume
say = lambda event: event.update == 8 and print("a checkpoint is there", flush=True)
test_resume.train(sys.argv[1], epochs=40, patience=None, callbacks=[say])
"""


@functools.cache
def long_training(backend):
    return train(None, epochs=40, patience=None)


@pytest.mark.parametrize("delay", [0.0, 0.013, 0.037, 0.071, 0.11])
def test_killed(backend, tmp_path, delay):
    here = Path(__file__).parent
    paths = [str(here), str(here.with_name("helpers")), os.environ.get("PYTHONPATH")]
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, tmp_path / "checkpoint"], stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))},
    )
    with child:
        assert child.stdout.readline() == b"a checkpoint is there\n"
        try:
            child.wait(delay)
        except subprocess.TimeoutExpired:
            child.kill()
    resumed = train(tmp_path / "checkpoint", net_seed=8, resume=True, epochs=40, patience=None)
    assert_same(resumed, long_training(backend))


@pytest.mark.parametrize("name", POINTS)
def test_a_finished_training_returns_at_once(backend, tmp_path, name):
    path = tmp_path / "checkpoint"
    train(path, name)
    content = path.read_bytes()
    resumed = train(path, name, net_seed=8, resume=True)
    assert_same(resumed, never_stopped(backend, name))
    assert resumed[3] == []
    assert path.read_bytes() == content


def test_more_epochs_may_be_asked_for(tmp_path):
    options = {"schedule": None, "patience": None}
    train(tmp_path / "checkpoint", epochs=2, **options)
    resumed = train(tmp_path / "checkpoint", net_seed=8, resume=True, epochs=4, **options)
    wanted = train(None, epochs=4, **options)
    assert np.array_equal(resumed[0].vector, wanted[0].vector)
    assert resumed[2].rows == wanted[2].rows


def test_more_patience_goes_on_as_if_it_had_been_there_from_the_start(backend, tmp_path):
    """Patience of 3 ended it; 5 go on from the last update, not from the best epoch."""
    path = tmp_path / "checkpoint"
    first = train(path, "adam")
    assert (first[2].stopped_by, len(first[2])) == ("patience", 7)
    assert_same(first, never_stopped(backend, "adam"))
    for patience in (5, 8, None):
        found = train(path, "adam", net_seed=8, resume=True, patience=patience)
        assert len(found[2]) > 7
        assert found[2].stopped_by == ("patience" if patience else "epochs")
        assert_same(found, train(None, "adam", patience=patience))


def test_less_patience_ends_at_once_with_the_best_epochs_parameters(backend, tmp_path):
    path = tmp_path / "checkpoint"
    train(path, "adam", patience=None, stop=("epoch", 6))
    found = train(path, "adam", net_seed=8, patience=2, resume=True)
    assert (found[2].stopped_by, len(found[2]), found[3]) == ("patience", 6, [])
    assert np.array_equal(found[0].vector, never_stopped(backend, "adam")[0].vector)


def test_the_checkpoint_holds_the_last_parameters_and_the_best(tmp_path):
    ends = []

    def keep(event):
        if event.kind == "epoch":
            ends.append((event.is_best, event.net.vector.copy()))

    net, *_ = train(tmp_path / "checkpoint", "adam", callbacks=[keep])
    tensors, _ = container.read(tmp_path / "checkpoint")
    last = np.concatenate([tensors[name].ravel() for name in net.parameters])
    best = [vector for is_best, vector in ends if is_best][-1]
    assert np.array_equal(last, ends[-1][1])
    assert np.array_equal(tensors["best_vector"], best)
    assert np.array_equal(net.vector, best)
    assert not np.array_equal(last, best)


# Refusals: whatever is wrong, network and optimizer stay as they were.


def refuse(path, error, match, net=None, optimizer=None, **options):
    net = net or crnn.RNN(I, H, O, seed=8)
    optimizer = optimizer or OPTIMIZERS["momentum"]()
    wanted_net, wanted_optimizer = net.copy(), type(optimizer)(lr=optimizer.lr)
    settings = {"epochs": 4, "truncation": TRUNCATION, "clip_norm": 0.5, "patience": 3,
                "validation": batches(2), "seed": 5, "data": batches(1)}
    with pytest.raises(error, match=match) as caught:
        crnn.fit(net, optimizer=optimizer, checkpoint=path, resume=True, **(settings | options))
    assert np.array_equal(net.vector, wanted_net.vector)
    assert_same_optimizer(optimizer, wanted_optimizer)
    return caught


@pytest.fixture
def checkpoint(tmp_path):
    train(tmp_path / "checkpoint", stop=("update", 10))
    return tmp_path / "checkpoint"


OTHERS = {
    "hidden size": (lambda: {"net": crnn.RNN(I, H + 1, O)}, "hidden_size was 5 and is 6"),
    "dtype": (lambda: {"net": crnn.RNN(I, H, O, dtype="float64")}, "dtype was 'float32' and is"),
    "nonlinearity": (lambda: {"net": crnn.RNN(I, H, O, nonlinearity="relu")}, "nonlinearity was"),
    "optimizer": (lambda: {"optimizer": crnn.Adam()}, "SGD.*Adam"),
    "lr": (lambda: {"optimizer": crnn.SGD(0.2, momentum=0.9, nesterov=True)},
           "lr was 0.05 and is 0.2"),
    "momentum": (lambda: {"optimizer": crnn.SGD(0.1)}, "momentum was 0.9 and is 0.0"),
    "truncation": (lambda: {"truncation": 4}, "truncation was 3 and is 4"),
    "clip_norm": (lambda: {"clip_norm": None}, "clip_norm was 0.5 and is None"),
    "clip_value": (lambda: {"clip_value": 1}, "clip_value was None and is 1.0"),
    "validation": (lambda: {"validation": None, "patience": None},
                   "validation was True and is False"),
    "seed": (lambda: {"seed": 6}, "seed was 5 and is 6"),
    "loss": (lambda: {"loss": "mse", "data": numbers(batches(1)),
                      "validation": numbers(batches(2))}, "loss was 'softmax' and is 'mse'"),
    "data": (lambda: {"data": batches(1)[:2]},
             r"\(data, batch_size or truncation are not.*updates_per_epoch was 7 and is 5"),
}


@pytest.mark.parametrize(("changes", "match"), OTHERS.values(), ids=OTHERS)
def test_another_training(checkpoint, changes, match):
    message = str(refuse(checkpoint, ValueError, match, **changes()).value)
    assert str(checkpoint) in message
    assert "\n" not in message


@pytest.mark.parametrize("size", [0, 7, 8, 100, -1000, -1], ids=lambda size: f"{size} bytes")
def test_cut_off(checkpoint, size):
    checkpoint.write_bytes(checkpoint.read_bytes()[:size])
    refuse(checkpoint, crnn.FormatError, "checkpoint")


@pytest.mark.parametrize("share", np.linspace(0, 0.999, 12).round(3))
def test_one_bit_flipped(checkpoint, share):
    content = bytearray(checkpoint.read_bytes())
    content[int(share * len(content))] ^= 4
    checkpoint.write_bytes(content)
    refuse(checkpoint, crnn.FormatError, "checkpoint")


def test_a_file_of_another_kind(checkpoint):
    crnn.RNN(I, H, O).save(checkpoint)
    refuse(checkpoint, crnn.FormatError, "training")


@pytest.mark.parametrize("broken", [
    "{", "[]", "null", '"text"', "{}",
    pytest.param(lambda good: good["progress"].pop("update"), id="no update"),
    pytest.param(lambda good: good["progress"].update(unknown=1), id="unknown entry"),
    pytest.param(lambda good: good.update(progress=7), id="progress is a number"),
    pytest.param(lambda good: good.pop("steps"), id="no steps"),
])
def test_a_bad_account_of_training(checkpoint, broken):
    tensors, metadata = container.read(checkpoint)
    if callable(broken):
        account = json.loads(metadata["training"])
        broken(account)
        broken = json.dumps(account)
    container.write(checkpoint, tensors, metadata | {"training": broken})
    refuse(checkpoint, crnn.FormatError, "checkpoint")


def test_without_a_checkpoint_training_begins(tmp_path, backend):
    """So that one script does, however often it is started."""
    def script(**options):
        return train(tmp_path / "checkpoint", resume=True, **options)

    assert script(stop=("update", 10))[3][0].update == 1
    assert_same(script(net_seed=8), never_stopped(backend, "momentum"))


OTHER_DATA = "data, batch_size or truncation are not those that it was made with"


def test_other_data_with_as_many_updates(checkpoint):
    x, targets = batches(1)[0]
    more = np.vstack([x, x])[:9], np.vstack([targets, targets])[:9]
    match = rf"{OTHER_DATA}\): targets_per_epoch was 35 and is 39"
    refuse(checkpoint, ValueError, match, data=[more, *batches(1)[1:]])


def test_other_data_with_as_many_targets(checkpoint):
    refuse(checkpoint, crnn.FormatError, f"{OTHER_DATA}: no training leads to its",
           data=batches(1)[::-1])


def test_what_makes_other_things_another_is_told_alone(checkpoint):
    found = refuse(checkpoint, ValueError, "cell was 'RNN' and is 'GRU'$", net=crnn.GRU(I, H, O))
    assert "candidate" not in str(found.value)


@pytest.mark.parametrize("name", ["checkpoint", None])
def test_ctrl_c_says_how_to_go_on(tmp_path, name):
    def interrupt(event):
        if event.update == 9:
            signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt) as caught:
            train(None if name is None else tmp_path / name, callbacks=[interrupt])
    finally:
        signal.signal(signal.SIGINT, before)
    message = str(caught.value)
    if name is None:
        assert message == "training stopped after update 9"
    else:
        assert message == (f"training stopped after update 9; all of it is saved in"
                           f" {tmp_path / name}, from which the same call goes on with resume=True")


@pytest.mark.parametrize("place", ["no folder/checkpoint", "a file/checkpoint", "a folder"])
def test_a_checkpoint_that_cannot_be_written(tmp_path, place):
    (tmp_path / "a folder").mkdir()
    (tmp_path / "a file").touch()
    with pytest.raises(OSError, match=r"a f|no folder"):
        train(tmp_path / place)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write all")
def test_a_folder_without_permission(tmp_path):
    tmp_path.chmod(0o555)
    with pytest.raises(PermissionError):
        train(tmp_path / "checkpoint")


def test_a_full_disk_leaves_the_old_checkpoint(backend, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    def fill(event):
        if event.update == 12:
            monkeypatch.setattr(os, "fsync", full)

    with pytest.raises(OSError, match="No space left"):
        train(tmp_path / "checkpoint", callbacks=[fill])
    monkeypatch.undo()
    monkeypatch.setenv("CRNN_BACKEND", backend)
    assert [each.name for each in tmp_path.iterdir()] == ["checkpoint"]
    resumed = train(tmp_path / "checkpoint", net_seed=8, resume=True)
    assert_same(resumed, never_stopped(backend, "momentum"))

"""Checkpoints with a right checksum and numbers that no training leads to: refused, each of them.

After a refusal network and optimizer are as before. The numbers of a checkpoint are all tried, one
after the other; `FREE` names the few that could be any such number.
"""

import json
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

import crnn
from crnn.files import container

I, H, O = 3, 5, 4  # noqa: E741
WHOLE = [-1, 10**19, 10**30, 1.5, 2.0, True, None, "3", [], {}]
REAL = [-0.5, 3, 10**400, True, None, "0.5", [], {}]
FREE = {"lr": 0.5, "loss": 0.5, "validation_loss": 0.5}
GENERATOR = {"state": [2**128], "inc": [2**128 + 1, 6], "has_uint32": [2, 7], "uinteger": [2**32]}


def batches(seed):
    rng = np.random.default_rng(seed)

    def batch(steps, sequences, *rest):
        return (rng.standard_normal((steps, sequences, I)),
                rng.integers(0, O, (steps, sequences)), *rest)

    return [batch(7, 2), batch(5, 3, [5, 1, 3]), batch(6, 2)]


def fit(net, optimizer, path, **options):
    settings = {"epochs": 4, "truncation": 3, "validation": batches(2), "patience": 3,
                "checkpoint": path, "seed": 5, "data": batches(1)}
    return crnn.fit(net, optimizer=optimizer, **(settings | options))


def make(seed=0):
    return crnn.LSTM(I, H, O, num_layers=2, dropout=0.1, seed=seed), crnn.Adam(0.01)


@cache
def checkpoint(update):
    """Return the tensors and the texts of a checkpoint after that many updates, 7 an epoch."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "checkpoint"
        fit(*make(), path, callbacks=[lambda event: event.update == update])
        return container.read(path)


def account_of(update=10):
    return json.loads(checkpoint(update)[1]["training"])


def places(value, way=()):
    """Yield the way to every number and None in nested dicts and lists."""
    if isinstance(value, (dict, list)):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, each in items:
            yield from places(each, (*way, key))
    elif not isinstance(value, str):
        yield way, value


def changed(account, way, value):
    account = json.loads(json.dumps(account))
    inner = account
    for key in way[:-1]:
        inner = inner[key]
    inner[way[-1]] = value
    return account


def refuse(path, tensors, metadata, account, error=crnn.FormatError):
    text = json.dumps(account).replace("1" + "0" * 400, "1e400")
    container.write(path, tensors, metadata | {"training": text})
    net, optimizer = make(seed=8)
    before, dropout = net.vector.copy(), net.dropout_state
    with pytest.raises(error) as caught:
        fit(net, optimizer, path, resume=True)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < len(str(path)) + 1000
    assert np.array_equal(net.vector, before)
    assert net.dropout_state == dropout
    assert (optimizer.steps, optimizer.state()) == (0, {})


ALL = {".".join(map(str, way)): (way, value) for way, value in places(account_of())
       if way[0] != "settings"}


@pytest.mark.no_backend
@pytest.mark.parametrize(("way", "value"), ALL.values(), ids=ALL)
def test_no_number_of_a_checkpoint_can_be_impossible(tmp_path, way, value):
    tensors, metadata = checkpoint(10)
    name = way[-1]
    if "dropout" in way:
        others = [-1, 1.5, 2.0, True, None, "3", [], {}, 10**40, *GENERATOR[name]]
    elif type(value) is float:
        others = REAL
    else:
        others = [*WHOLE, value + 1]
    for other in others:
        refuse(tmp_path / "checkpoint", tensors, metadata, changed(account_of(), way, other))
    if name in FREE:  # the check above could be too strict
        good = changed(account_of(), way, FREE[name])
        container.write(
            tmp_path / "checkpoint", tensors, metadata | {"training": json.dumps(good)})
        fit(*make(seed=8), tmp_path / "checkpoint", resume=True)


def test_the_numbers_are_those_that_are_there():
    assert len(ALL) == 18
    assert {"steps", "progress.epoch", "progress.history.0.update"} < set(ALL)


ELSEWHERE = {
    "another batch": {"batch": 1}, "between two batches": {"time": 0},
    "within a chunk": {"time": 2}, "beyond the end": {"time": 70},
    "another update": {"update": 11}, "another epoch": {"epoch": 2},
    "no epoch yet": {"history": [], "epoch": 0}, "one step less before": {"steps_before": 1},
    "another seed": {"seed": 6}, "targets of another place": {"targets": 1},
}


@pytest.mark.no_backend
@pytest.mark.parametrize("entries", ELSEWHERE.values(), ids=ELSEWHERE)
def test_a_place_where_training_never_is(tmp_path, entries):
    tensors, metadata = checkpoint(10)
    account = account_of()
    account["progress"] |= entries
    refuse(tmp_path / "checkpoint", tensors, metadata, account)


ROWS = {
    "a row too many": lambda rows: rows.append(dict(rows[0])),
    "a row that is a list": lambda rows: rows.__setitem__(0, list(rows[0])),
    "a name more": lambda rows: rows[0].update(more=1.0),
    "a name less": lambda rows: rows[0].pop("lr"),
    "no validation": lambda rows: rows[0].update(validation_loss=None),
    "rows changed over": lambda rows: rows.reverse(),
}


@pytest.mark.no_backend
@pytest.mark.parametrize("forge", ROWS.values(), ids=ROWS)
def test_a_history_that_never_was(tmp_path, forge):
    tensors, metadata = checkpoint(14 + 3)  # two epochs are over
    account = account_of(14 + 3)
    forge(account["progress"]["history"])
    refuse(tmp_path / "checkpoint", tensors, metadata, account)


def without(name):
    return lambda tensors: tensors.pop(name)


def with_value(name, value):
    def forge(tensors):
        tensors[name] = tensors[name].copy()
        tensors[name].ravel()[1] = value
    return forge


ARRAYS = {
    "NaN in a parameter": with_value("W_hh_l0", np.nan),
    "infinity in a parameter": with_value("b_y", np.inf),
    "NaN in the best parameters": with_value("best_vector", np.nan),
    "no best parameters": without("best_vector"),
    "a negative square": with_value("optimizer.square_average", -1e-9),
    "NaN in a square": with_value("optimizer.square_average", np.nan),
    "NaN in an average": with_value("optimizer.gradient_average", np.nan),
    "no average": without("optimizer.gradient_average"),
    "no state": lambda tensors: [tensors.pop("state"), tensors.pop("state_c")],
    "half a state": without("state_c"),
    "a state of another batch": lambda tensors: tensors.update(
        {name: tensors[name][:, :1] for name in ("state", "state_c")}),
}


@pytest.mark.no_backend
@pytest.mark.parametrize("forge", ARRAYS.values(), ids=ARRAYS)
def test_arrays_that_no_training_leads_to(tmp_path, forge):
    tensors, metadata = checkpoint(11)
    forged = dict(tensors)
    forge(forged)
    refuse(tmp_path / "checkpoint", forged, metadata, account_of(11))


@pytest.mark.parametrize("update", range(1, 15))
def test_no_checkpoint_of_a_training_is_refused(backend, tmp_path, update):
    path = tmp_path / "checkpoint"
    fit(*make(), path, callbacks=[lambda event: event.update == update])
    fit(*make(seed=8), path, resume=True)


def test_an_optimizer_that_has_taken_steps_before(tmp_path):
    path, (net, optimizer) = tmp_path / "checkpoint", make()
    fit(net, optimizer, None, epochs=1)
    fit(net, optimizer, path, callbacks=[lambda event: event.update == 9])
    assert optimizer.steps == 7 + 9
    again = make(seed=8)
    fit(*again, path, resume=True)
    assert again[1].steps == 7 + 28

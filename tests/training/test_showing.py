"""What is shown of a training: the progress bar, and the history as a table and a data frame."""

import re
import sys

import numpy as np
import pytest
from small_training import batch, make, train

import crnn

pytestmark = pytest.mark.no_backend


@pytest.fixture
def terminal(monkeypatch):
    """A terminal of 80 columns, as far as tqdm can tell."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")


def lines_of(text):
    return [line for line in re.split(r"[\r\n]+", text) if line.strip()]


@pytest.mark.usefixtures("terminal")
def test_a_bar_says_how_far_training_is(rng, capsys):
    pytest.importorskip("tqdm")
    data, validation = batch(rng), batch(rng)
    *_, epochs = train(data, truncation=4, validation=validation, progress=True)
    lines = lines_of(capsys.readouterr().err)
    assert max(map(len, lines)) <= 80
    last = epochs[-1]
    assert lines[-1].startswith("epoch 3/3: ")
    assert f"9/9, loss {last.loss:.3g}, validation {last.validation_loss:.3g}, 00:00 left" in (
        lines[-1])


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize("update", [5, 6], ids=["within an epoch", "before the epoch is counted"])
def test_a_bar_goes_on_where_training_does(rng, capsys, tmp_path, update):
    pytest.importorskip("tqdm")
    data, options = batch(rng), {"truncation": 4, "checkpoint": tmp_path / "checkpoint"}
    train(data, **options, callbacks=[lambda event: event.update == update])
    capsys.readouterr()
    train(data, **options, resume=True, progress=True)
    lines = lines_of(capsys.readouterr().err)
    assert f"{update}/9" in lines[0]
    assert "9/9, loss" in lines[-1]


def test_nothing_is_shown_without_being_asked(rng, capsys):
    train(batch(rng))
    assert capsys.readouterr() == ("", "")


def test_a_bar_changes_nothing_and_nothing_is_left_to_do(rng, tmp_path, capsys):
    pytest.importorskip("tqdm")
    data, path = batch(rng), tmp_path / "checkpoint"
    shown, plain = (train(data, checkpoint=path, progress=each)[0] for each in (True, False))
    assert np.array_equal(shown.vector, plain.vector)
    train(data, checkpoint=path, resume=True, progress=True)


def test_a_bar_without_tqdm_is_an_error_that_names_the_extra(rng, monkeypatch):
    for name in list(sys.modules):
        if name.partition(".")[0] == "tqdm":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tqdm", None)
    net, optimizer = make(), crnn.Adam()
    with pytest.raises(ImportError, match=r"tqdm.*pip install 'crnn\[cli\]'"):
        crnn.fit(net, batch(rng), optimizer, epochs=1, progress=True)
    assert np.array_equal(net.vector, make().vector)
    with pytest.raises(TypeError, match="progress is 1"):
        crnn.fit(net, batch(rng), optimizer, epochs=1, progress=1)


ROWS = [{"epoch": n, "update": 3 * n, "lr": 0.1, "loss": 2 / n, "validation_loss": 3 / n}
        for n in (1, 2, 3)]


def test_a_column_that_is_not_there_is_told_with_those_that_are(rng):
    history = crnn.fit(make(), batch(rng), crnn.Adam(), epochs=1)
    with pytest.raises(KeyError, match=r"no column 'val_loss'; there are epoch, .*validation_l"):
        history["val_loss"]
    with pytest.raises(KeyError, match=r"no column 0; .*in rows a dict"):
        history[0]
    assert crnn.History()["loss"] == []


@pytest.mark.parametrize("loss", ["softmax", "mse"])
def test_a_history_knows_the_loss(rng, loss):
    history = crnn.fit(make(), batch(rng, loss=loss), crnn.Adam(), epochs=1, loss=loss)
    assert history.loss_name == loss
    assert crnn.History(ROWS).loss_name is None


@pytest.mark.parametrize("validation", [True, False])
def test_a_data_frame(validation):
    pytest.importorskip("pandas")
    rows = ROWS if validation else [{**row, "validation_loss": None} for row in ROWS]
    frame = crnn.History(rows).to_pandas()
    assert list(frame) == list(ROWS[0])
    assert [str(kind) for kind in frame.dtypes] == ["int64", "int64", *["float64"] * 3]
    assert frame["loss"].tolist() == [2.0, 1.0, 2 / 3]
    assert frame["validation_loss"].isna().all() != validation
    assert len(crnn.History().to_pandas()) == 0


def test_a_data_frame_without_pandas_is_an_error_that_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"pandas.*pip install 'crnn\[pandas\]'"):
        crnn.History(ROWS).to_pandas()


def cells(text):
    return [re.findall(r"<t[hd]>(.*?)</t[hd]>", row) for row in re.findall("<tr>(.*?)</tr>", text)]


def test_a_table_for_notebooks():
    assert cells(crnn.History(ROWS)._repr_html_()) == [
        ["epoch", "update", "lr", "loss", "validation_loss"], ["1", "3", "0.1", "2", "3"],
        ["2", "6", "0.1", "1", "1.5"], ["3", "9", "0.1", "0.6667", "1"],
    ]
    without = crnn.History([{**row, "validation_loss": None} for row in ROWS])
    assert cells(without._repr_html_())[0] == ["epoch", "update", "lr", "loss"]
    assert cells(crnn.History()._repr_html_()) == [[]]
    assert cells(crnn.History([{"a<b": "<script>"}])._repr_html_()) == [
        ["a&lt;b"], ["&lt;script&gt;"]]


def test_a_long_table_shows_its_ends():
    rows = [{"epoch": n, "loss": 1.0} for n in range(1, 101)]
    found = [row[0] for row in cells(crnn.History(rows)._repr_html_())]
    assert found == ["epoch", *map(str, range(1, 11)), "…", *map(str, range(91, 101))]

"""Pictures of losses and gradients: whole files of the right kind, and refusals."""

import sys
import xml.etree.ElementTree

import numpy as np
import pytest

import crnn
from crnn import plots
from crnn.forecasting.forecast import Forecast

pytestmark = pytest.mark.no_backend
pytest.importorskip("matplotlib")

HEADS = {"png": b"\x89PNG\r\n\x1a\n", "svg": b"<?xml", "pdf": b"%PDF-"}


FLOWS = {"one layer": 0.5 ** np.arange(20.0)[None, ::-1], "gone": np.r_[np.zeros(15), np.ones(5)],
         "LSTM": (np.full((2, 20), 0.25), np.geomspace(1e30, 1, 40).reshape(2, 20))}


def history(validation=True, epochs=3):
    rows = [
        {"epoch": n, "update": 9 * n, "lr": 0.1, "loss": 2 / n,
         "validation_loss": 2.5 / n if validation else None}
        for n in range(1, epochs + 1)
    ]
    return crnn.History(rows)


@pytest.mark.parametrize("validation", [True, False], ids=["validation", "training alone"])
@pytest.mark.parametrize("ending", HEADS)
def test_writes_a_picture(tmp_path, ending, validation):
    path = tmp_path / f"curve.{ending}"
    plots.loss_curves(history(validation), path, title="a title")
    assert path.read_bytes().startswith(HEADS[ending])
    assert len(path.read_bytes()) > 2000
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_png_can_be_read_back_and_shows_something(tmp_path):
    image = pytest.importorskip("matplotlib.image")
    plots.loss_curves(history(), tmp_path / "curve.png")
    pixels = image.imread(tmp_path / "curve.png")
    assert pixels.shape[:2] == (675, 1050)  # 7 x 4.5 inches at 150 dots
    assert len({tuple(pixel) for pixel in pixels.reshape(-1, pixels.shape[2])[::7]}) > 10


@pytest.mark.parametrize("validation", [True, False], ids=["validation", "training alone"])
def test_svg_has_each_curve_and_its_last_value(tmp_path, validation):
    path = tmp_path / "curve.svg"
    curves = history(validation)
    curves.loss_name = "softmax"
    plots.loss_curves(curves, path, title="a title")
    content = path.read_text(encoding="utf-8")  # texts are shapes, each with a comment
    xml.etree.ElementTree.fromstring(content)
    wanted = ["a title", "training, 0.667", "nats", "bits", "epoch"]
    assert all(text in content for text in wanted)
    assert ("validation, 0.833" in content) == validation


@pytest.mark.parametrize(("loss", "unit", "label"), [
    ("softmax", None, "nats"), ("sigmoid", None, "nats"), ("mse", None, "loss"),
    (None, None, "loss"), ("softmax", "nats per character", "nats per character"),
])
def test_the_axis_says_what_the_loss_is_in(loss, unit, label):
    figure = pytest.importorskip("matplotlib.figure").Figure()
    curves = history()
    curves.loss_name = loss
    axes = plots.loss_curves(curves, unit=unit, ax=figure.subplots())
    assert axes.get_ylabel() == label
    seconds = [each.get_ylabel() for each in axes.child_axes]
    assert seconds == ([label.replace("nats", "bits")] if "nats" in label else [])


def test_upper_case_endings_and_text_paths(tmp_path):
    plots.loss_curves(history(), str(tmp_path / "CURVE.PNG"))
    assert (tmp_path / "CURVE.PNG").read_bytes().startswith(HEADS["png"])


def test_one_epoch(tmp_path):
    plots.loss_curves(history(epochs=1), tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes().startswith(HEADS["png"])


def test_nothing_to_draw(tmp_path):
    """A training that a callback stopped in its first epoch has an empty history."""
    with pytest.raises(ValueError, match="epoch"):
        plots.loss_curves(crnn.History(), tmp_path / "curve.png")
    assert not list(tmp_path.iterdir())


def test_the_history_is_not_changed(tmp_path):
    curve = history()
    rows = [dict(row) for row in curve.rows]
    plots.loss_curves(curve, tmp_path / "curve.png")
    assert curve.rows == rows


@pytest.mark.parametrize("name", ["curve.gipf", "curve", "curve.", ".png", "curve.png.txt"])
def test_a_wrong_ending(tmp_path, name):
    with pytest.raises(ValueError, match=r"must end in one of .*\.png"):
        plots.loss_curves(history(), tmp_path / name)
    with pytest.raises(ValueError, match=r"must end in one of .*\.png"):
        plots.picture_format(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_formats():
    formats = [plots.picture_format(name) for name in ("a.png", "b/c.SVG", "d.e.pdf")]
    assert formats == ["png", "svg", "pdf"]


def test_a_picture_that_cannot_be_written(tmp_path):
    with pytest.raises(FileNotFoundError):
        plots.loss_curves(history(), tmp_path / "no folder" / "curve.png")


def test_an_old_picture_stays_if_drawing_fails(tmp_path):
    path = tmp_path / "curve.png"
    path.write_bytes(b"old")
    with pytest.raises((TypeError, KeyError, AttributeError)):
        plots.loss_curves({"epoch": 3}, path)
    assert path.read_bytes() == b"old"


def test_without_matplotlib_the_message_names_the_extra(tmp_path, monkeypatch):
    for name in list(sys.modules):
        if name.partition(".")[0] == "matplotlib":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for call in (lambda path: plots.loss_curves(history(), path), plots.picture_format,
                 lambda path: plots.loss_comparison({"a": history()}, path),
                 lambda path: plots.gradient_flow(FLOWS, path),
                 lambda path: plots.hidden_states(NET, [0], path), lambda path: DRAWN[
                     "text_activity"](), lambda path: plots.loss_curves(history())):
        with pytest.raises(ImportError, match=r"matplotlib.*crnn\[plot\]"):
            call(tmp_path / "curve.png")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("log", [False, True])
def test_losses_of_several_trainings(tmp_path, log):
    path, histories = tmp_path / "losses.svg", {"first": history(), "other": history(False, 9)}
    plots.loss_comparison(histories, path, "a title", "squared error", log=log,
                          levels={"guessing": 0.4321})
    content = path.read_text(encoding="utf-8")
    wanted = ["first, 0.833", "other, 0.222", "guessing, 0.432", "a title", "squared error"]
    assert [text for text in wanted if text not in content] == []


def test_gradients_over_lags(tmp_path):
    path = tmp_path / "flow.svg"
    plots.gradient_flow(FLOWS, path, "a title")
    content = path.read_text(encoding="utf-8")
    wanted = ["one layer", "gone", "LSTM, h", "LSTM, c", "a title", "lag"]
    assert [text for text in wanted if text not in content] == []
    plots.gradient_flow({"alone": np.array([3.0])}, tmp_path / "one.png")
    assert (tmp_path / "one.png").read_bytes().startswith(HEADS["png"])


def test_what_cannot_be_drawn_of_gradients_is_left_out(tmp_path):
    flows = {"overflow": np.array([np.nan, np.inf, 2.0, 1.0]), "nothing": np.zeros((1, 4))}
    plots.gradient_flow(flows, tmp_path / "flow.png")
    assert (tmp_path / "flow.png").read_bytes().startswith(HEADS["png"])


DRAWN = {
    "loss_curves": lambda **where: plots.loss_curves(history(), **where),
    "loss_comparison": lambda **where: plots.loss_comparison({"a": history()}, **where),
    "gradient_flow": lambda **where: plots.gradient_flow(FLOWS, **where),
    "hidden_states": lambda **where: plots.hidden_states(NET, [0, 1, 2], **where),
    "text_activity": lambda **where: plots.text_activity(NET, VOCABULARY, "ab\n$c", 1, **where),
}
VOCABULARY = crnn.text.Vocabulary("abc\n$")
NET = crnn.LSTM(5, (4, 3), 5, seed=0)


@pytest.mark.parametrize("draw", DRAWN.values(), ids=DRAWN)
def test_axes_are_returned_and_a_file_is_written_only_if_there_is_a_path(
        draw, tmp_path, monkeypatch):
    from matplotlib import pyplot
    from matplotlib.figure import Figure

    monkeypatch.chdir(tmp_path)
    figure = Figure()
    own = figure.subplots()
    assert draw(ax=own) is own
    assert own.has_data()
    new = draw()
    assert pyplot.fignum_exists(new.figure.number)
    pyplot.close(new.figure)
    assert not list(tmp_path.iterdir())
    assert draw(path="a.png").has_data()
    assert draw(path="b.png", ax=own) is own
    assert not pyplot.get_fignums()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png"]


def test_the_losses_of_a_history_are_what_is_drawn():
    from matplotlib.figure import Figure

    axes = plots.loss_curves(history(), ax=Figure().subplots())
    lines = [line.get_xydata().tolist() for line in axes.get_lines()]
    assert lines == [[[1, 2.0], [2, 1.0], [3, 2 / 3]], [[1, 2.5], [2, 1.25], [3, 2.5 / 3]]]


@pytest.mark.parametrize("layer", [0, 1, -1])
@pytest.mark.parametrize("cell", [crnn.RNN, crnn.GRU, crnn.LSTM])
def test_hidden_states_are_those_of_steps(cell, layer):
    from matplotlib.figure import Figure

    net = cell(3, (4, 6), 2, seed=1)
    x, states = np.random.default_rng(0).standard_normal((9, 3)), []
    stream = net.stream()
    for each in x:
        stream.step(each)
        h = stream.state[0] if cell is crnn.LSTM else stream.state
        states.append(h[layer])
    axes = plots.hidden_states(net, x, layer=layer, labels="abcdefghi", ax=Figure().subplots())
    np.testing.assert_array_equal(axes.images[0].get_array().T, states)
    assert [label.get_text() for label in axes.get_xticklabels()] == list("abcdefghi")


def test_hidden_states_of_a_recurrent_layer_among_others():
    from matplotlib.figure import Figure

    layers = [crnn.layers.Dense(4, "relu"), crnn.layers.GRU(5), crnn.layers.Dropout(0.5),
              crnn.layers.Dense(3), crnn.layers.LSTM(2), crnn.layers.Dense(3, "softmax")]
    net, x = crnn.Sequential(3, layers, seed=1), np.random.default_rng(0).standard_normal((9, 3))
    stream, states = net.stream(), []
    for each in x:
        stream.step(each)
        states.append(stream.state[0])
    for layer in range(2):
        axes = plots.hidden_states(net, x, layer=layer, ax=Figure().subplots())
        np.testing.assert_allclose(
            axes.images[0].get_array().T, [h[layer] for h in states], rtol=1e-5)


def test_hidden_states_of_both_directions():
    from matplotlib.figure import Figure

    net = crnn.GRU(3, 4, seed=1, bidirectional=True)  # without a readout y are the states
    x = np.random.default_rng(0).standard_normal((9, 3))
    axes = plots.hidden_states(net, x, ax=Figure().subplots())
    np.testing.assert_array_equal(axes.images[0].get_array().T, net(x)[0])


def test_a_units_activity_lies_under_its_characters():
    from matplotlib.figure import Figure

    text = "abcabc\n$c"
    axes = plots.text_activity(NET, VOCABULARY, text, 2, width=4, ax=Figure().subplots())
    grid, stream = axes.images[0].get_array(), NET.stream()
    rows = ["abca", "bc\n", "$c"]
    assert grid.shape == (3, 4)
    assert {(t.get_position(), t.get_text()) for t in axes.texts} == {
        ((column, row), character.strip())
        for row, line in enumerate(rows) for column, character in enumerate(line)}
    for row, line in enumerate(rows):
        for column in range(4):
            if column < len(line):
                stream.step(VOCABULARY.encode(line[column])[0])
                assert grid[row, column] == stream.state[0][1][2]
            else:
                assert np.ma.is_masked(grid[row, column]) or np.isnan(grid[row, column])


BAD = {
    "a batch": (lambda: plots.hidden_states(NET, [[0, 1], [2, 3]]), ValueError, "one sequence"),
    "no steps": (lambda: plots.hidden_states(NET, np.zeros(0, int)), ValueError, "one sequence"),
    "a layer too high": (lambda: plots.hidden_states(NET, [0], layer=2), ValueError,
                         "layer must be at most"),
    "a token out of range": (lambda: plots.hidden_states(NET, [5]), IndexError, "token 5"),
    "labels": (lambda: plots.hidden_states(NET, [0, 1], labels="abc"), ValueError, "3 labels"),
    "no network": (lambda: plots.hidden_states("LSTM", [0]), TypeError, "a network"),
    "a unit too high": (lambda: plots.text_activity(NET, VOCABULARY, "a", 3), ValueError, "most 2"),
    "no text": (lambda: plots.text_activity(NET, VOCABULARY, "", 0), ValueError, "empty"),
    "an unknown character": (
        lambda: plots.text_activity(NET, VOCABULARY, "ax", 0), ValueError, "'x'"),
}


@pytest.mark.parametrize(("call", "error", "match"), BAD.values(), ids=BAD)
def test_states_that_cannot_be_drawn(call, error, match):
    with pytest.raises(error, match=match):
        call()


def test_nothing_to_compare(tmp_path):
    path = tmp_path / "nothing.png"
    for call in (lambda: plots.gradient_flow({}, path), lambda: plots.loss_comparison({}, path),
                 lambda: plots.gradient_flow({"zero": np.zeros((1, 4))}, path),
                 lambda: plots.loss_comparison({"a": history(), "b": crnn.History()}, path)):
        with pytest.raises(ValueError, match=r"nothing to draw|no finished epoch"):
            call()
    assert not path.exists()


def test_confusions_are_counts_and_shares_of_rows():
    axes = plots.confusion_matrix(
        ["b", "b", "a_$^", "b", "b"], ["b", "a_$^", "a_$^", "b", "b"], ax=new_axes())
    np.testing.assert_allclose(axes.images[0].get_array(), [[1, 0], [0.25, 0.75]])
    shown = {(*each.get_position(), each.get_text()) for each in axes.texts}
    assert shown == {(0, 0, "1"), (0, 1, "1"), (1, 1, "3")}  # column, row
    assert [each.get_text() for each in axes.get_xticklabels()] == ["a_$^", "b"]


def test_confusions_of_classes_in_another_order_and_of_none():
    axes = plots.confusion_matrix([10, 2], [10, 10], classes=[2, 10, 3], ax=new_axes())
    np.testing.assert_array_equal(axes.images[0].get_array(), [[0, 1, 0], [0, 1, 0], [0, 0, 0]])
    assert [each.get_text() for each in axes.get_yticklabels()] == ["2", "10", "3"]


def test_confusions_of_many_classes_have_no_numbers(tmp_path):
    classes = np.arange(100)
    axes = plots.confusion_matrix(classes, classes[::-1], tmp_path / "many.png")
    assert not axes.texts
    assert (tmp_path / "many.png").stat().st_size > 2000


@pytest.mark.parametrize(("labels", "predicted", "options", "match"), [
    ([1, 2], [1], {}, r"labels have shape \(2,\), and predicted \(1,\)"),
    ([[1]], [[1]], {}, r"both are \(n,\)"),
    ([1], [2], {"classes": [1]}, "the label 2 is none of the classes"),
    ([1], [1], {"classes": [1, 1]}, "twice"),
    ([], [], {}, "labels is empty: there is nothing to draw"),
])
def test_confusions_that_cannot_be_drawn(tmp_path, labels, predicted, options, match):
    with pytest.raises(ValueError, match=match):
        plots.confusion_matrix(labels, predicted, tmp_path / "table.png", **options)
    assert not list(tmp_path.iterdir())


def new_axes():
    from matplotlib.figure import Figure

    return Figure().subplots()


def forecast(names=("sales",)):
    mean = np.arange(4.0) if len(names) == 1 else np.zeros((4, len(names)))
    return Forecast(mean, {0.8: mean - 1, 0.95: mean - 2}, {0.8: mean + 1, 0.95: mean + 2},
                    np.arange(10, 14), list(names))


def test_a_fan_has_its_parts(tmp_path):
    path = tmp_path / "fan.svg"
    axes = plots.fan(forecast(), (np.arange(10), np.ones(10)), [1, 2, 3, 4], path, "sales & more")
    content = path.read_text(encoding="utf-8")
    assert all(text in content for text in ("known", "80 %", "95 %", "forecast", "what came"))
    known, line, came = axes.lines
    assert (len(known.get_xdata()), list(line.get_xdata())) == (10, [10, 11, 12, 13])
    assert list(came.get_ydata()) == [1, 2, 3, 4]
    wide, narrow = (each.get_paths()[0].get_extents() for each in axes.collections)
    assert (wide.y0, wide.y1, narrow.y0, narrow.y1) == (-2, 5, -1, 4)
    assert len(plots.fan(forecast(), path=path).lines) == 1


def test_a_fan_is_of_one_series(tmp_path):
    with pytest.raises(ValueError, match=r"2 series; one, such as forecast\['a'\]"):
        plots.fan(forecast("ab"), path=tmp_path / "fan.png")
    with pytest.raises(ValueError, match="3 values for 4 steps"):
        plots.fan(forecast(), truth=[1, 2, 3], path=tmp_path / "fan.png")
    assert not list(tmp_path.iterdir())


def test_a_forecaster_draws_what_it_forecasts(tmp_path):
    y = np.random.default_rng(0).standard_normal((40, 2))
    forecaster = crnn.Forecaster(hidden_size=4, epochs=2, seed=0).fit(y)
    for name, k in ((None, 0), (1, 1)):
        axes = forecaster.plot(5, name=name, path=tmp_path / "fan.png")
        known, line = axes.lines
        assert list(known.get_xdata()) == list(range(40))
        np.testing.assert_array_equal(known.get_ydata(), y[:, k])
        np.testing.assert_array_equal(line.get_ydata(), forecaster.predict(5).mean[:, k])
    assert (tmp_path / "fan.png").read_bytes().startswith(HEADS["png"])
    with pytest.raises(KeyError, match="no series 2"):
        forecaster.plot(5, name=2)

"""Pictures of losses and gradients: whole files of the right kind, and refusals."""

import sys
import xml.etree.ElementTree

import numpy as np
import pytest

import crnn
from crnn import plots

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
    plots.loss_curves(history(validation), path, title="a title")
    content = path.read_text(encoding="utf-8")  # texts are shapes, each with a comment
    xml.etree.ElementTree.fromstring(content)
    wanted = ["a title", "training, 0.667", "nats", "bits", "epoch"]
    assert all(text in content for text in wanted)
    assert ("validation, 0.833" in content) == validation


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
                 lambda path: plots.gradient_flow(FLOWS, path)):
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


def test_nothing_to_compare(tmp_path):
    path = tmp_path / "nothing.png"
    for call in (lambda: plots.gradient_flow({}, path), lambda: plots.loss_comparison({}, path),
                 lambda: plots.gradient_flow({"zero": np.zeros((1, 4))}, path),
                 lambda: plots.loss_comparison({"a": history(), "b": crnn.History()}, path)):
        with pytest.raises(ValueError, match=r"nothing to draw|no finished epoch"):
            call()
    assert not path.exists()

"""Estimators on data that people know."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn")

import crnn.data
from crnn.sklearn import SequenceClassifier

pytestmark = [pytest.mark.no_backend, pytest.mark.slow]
LONGER = {"epochs": 600, "batch_size": 8, "lr": 0.01}  # 36 series of 251 steps are not many


def median(train, test, **options):
    """Return the median accuracy of five seeds."""
    return np.median([
        SequenceClassifier(random_state=seed, **options).fit(*train[:2]).score(*test[:2])
        for seed in range(5)])


@pytest.fixture
def archive():
    """The folder of data that the package aeon ships; the test is skipped where it is not."""
    spec = importlib.util.find_spec("aeon")
    if spec is None:
        pytest.skip("aeon, which has the data, is not installed")
    return Path(next(iter(spec.submodule_search_locations))) / "datasets" / "data"


def test_japanese_vowels(shared):
    train, test = (crnn.data.read(shared / f"JapaneseVowels_{part}.ts")
                   for part in ("TRAIN", "TEST"))
    assert median(train, test) >= 0.97
    ensemble = SequenceClassifier(random_state=0, n_estimators=5).fit(*train[:2])
    assert ensemble.score(*test[:2]) >= 0.975


@pytest.mark.parametrize(("name", "options", "accuracy"), [
    ("ItalyPowerDemand", {}, 0.95), ("BasicMotions", {}, 0.95), ("GunPoint", {}, 0.9),
    ("ArrowHead", LONGER, 0.5)])
def test_series_that_people_compare_on(name, options, accuracy, archive):
    parts = (crnn.data.read(archive / name / f"{name}_{part}.ts") for part in ("TRAIN", "TEST"))
    assert median(*parts, **options) >= accuracy

"""Schedules: at start, middle and end, against PyTorch's, refusals."""

import math

import numpy as np
import pytest

from crnn.training import schedules

pytestmark = pytest.mark.no_backend

STEPS = 50


@pytest.mark.parametrize(
    ("factor", "expected"),
    [
        (schedules.constant(), [1, 1, 1]),
        (schedules.exponential(), [1, 0.1, 0.01]),
        (schedules.exponential(0.25), [1, 0.5, 0.25]),
        (schedules.cosine(), [1, 0.5, 0]),
        (schedules.cosine(0.5), [1, 0.75, 0.5]),
        (schedules.schedule("constant"), [1, 1, 1]),
        (schedules.schedule("exponential"), [1, 0.1, 0.01]),
        (schedules.schedule("cosine"), [1, 0.5, 0]),
    ],
)
def test_schedules_at_start_middle_and_end(factor, expected):
    values = [factor(progress) for progress in (0, 0.5, 1)]
    np.testing.assert_allclose(values, expected, rtol=1e-15, atol=1e-16)
    assert all(type(value) is float for value in values)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        # torch's rate of step k is lr * gamma**k; k/STEPS is the progress
        (schedules.exponential(0.01), ("ExponentialLR", {"gamma": 0.01 ** (1 / STEPS)})),
        (schedules.cosine(), ("CosineAnnealingLR", {"T_max": STEPS})),
        (schedules.cosine(0.1), ("CosineAnnealingLR", {"T_max": STEPS, "eta_min": 0.05})),
        (schedules.constant(), ("ConstantLR", {"factor": 1.0})),
    ],
)
def test_schedules_equal_torchs(ours, theirs):
    torch = pytest.importorskip("torch")
    initial = 0.5
    opt = torch.optim.SGD([torch.ones(1, requires_grad=True)], lr=initial)
    name, options = theirs
    scheduler = getattr(torch.optim.lr_scheduler, name)(opt, **options)
    for done in range(STEPS + 1):
        expected = opt.param_groups[0]["lr"]
        # torch multiplies from step to step, so its rounding grows with the steps
        assert initial * ours(done / STEPS) == pytest.approx(expected, rel=1e-12, abs=1e-15)
        opt.step()
        scheduler.step()


@pytest.mark.parametrize("name", ["constant", "exponential", "cosine"])
def test_wrong_progress_is_refused(name):
    factor = schedules.schedule(name)
    for value in (-0.001, 1.001, math.nan, math.inf):
        with pytest.raises(ValueError, match=r"progress is .*; wanted a number from 0 to 1"):
            factor(value)
    with pytest.raises(TypeError, match=r"progress is .*; wanted"):
        factor("0.5")


def test_wrong_schedules_are_refused():
    for name in ("linear", "Cosine", "schedule", None, ["cosine"]):
        with pytest.raises((TypeError, ValueError), match="it can be"):
            schedules.schedule(name)
    for make_schedule, value in ((schedules.exponential, 0), (schedules.exponential, 1.5),
                                 (schedules.cosine, -0.1), (schedules.cosine, math.nan)):
        with pytest.raises(ValueError, match=r"final is .*; wanted a number"):
            make_schedule(value)
    with pytest.raises(TypeError, match=r"final is .*; wanted a number"):
        schedules.cosine("0")

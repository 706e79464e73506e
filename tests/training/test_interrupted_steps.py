"""A KeyboardInterrupt anywhere in an optimizer's step: the step is done and counted, or is not."""

import sys

import numpy as np
import pytest
from optimizer_cases import ONE_EACH, make

import crnn

T, B, I, H, O = 4, 2, 3, 5, 4  # noqa: E741


class Interrupt:
    """Raises KeyboardInterrupt at the n-th event of tracing or profiling below it."""

    def __init__(self, point):
        self.count, self.point, self.where = 0, point, None

    def __call__(self, frame, event, argument):
        self.count += 1
        if self.count == self.point:
            self.where = f"{event} in {frame.f_code.co_filename}:{frame.f_lineno}"
            sys.settrace(None)
            sys.setprofile(None)
            raise KeyboardInterrupt
        return self


def interrupted(action, point, install):
    """Run until the n-th event; return where that was, None if there are not so many."""
    interrupt, before = Interrupt(point), (sys.gettrace(), sys.getprofile())
    install(interrupt)
    try:
        action()
        install(None)
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(before[0])
        sys.setprofile(before[1])
    return interrupt.where


def contents(net, optimizer):
    slots = {name: slot.tobytes() for name, slot in optimizer.state().items()}
    return net.vector.tobytes(), optimizer.steps, slots


@pytest.mark.parametrize("install", [sys.settrace, sys.setprofile], ids=["line", "call"])
@pytest.mark.parametrize("steps", [0, 2])
@pytest.mark.parametrize(("name", "options"), ONE_EACH)
def test_a_step_is_whole_or_not_begun(rng, name, options, steps, install):
    x, targets = rng.standard_normal((T, B, I)), rng.integers(0, O, (T, B))

    def begin():
        net, optimizer = crnn.GRU(I, H, O, seed=2), make(name, options)
        for _ in range(steps):
            optimizer.step(net, net.loss_and_gradients(x, targets)[1])
        return net, optimizer, net.loss_and_gradients(x, targets)[1]

    net, optimizer, gradients = begin()
    before = contents(net, optimizer)
    optimizer.step(net, gradients)
    after, y_after = contents(net, optimizer), net(x)[0]
    ends, point, where = set(), 0, ""
    while where is not None:
        point += 1
        net, optimizer, gradients = begin()
        y_before = net(x)[0]
        where = interrupted(lambda: optimizer.step(net, gradients), point, install)  # noqa: B023
        found = contents(net, optimizer)
        assert found in (before, after), where
        ends.add(found[1])
        y = net(x)[0]  # no packed weight is stale
        assert np.array_equal(y, y_before if found == before else y_after), where
        if found == before:
            optimizer.step(net, gradients)
            assert contents(net, optimizer) == after, where
    assert point > 8
    assert ends == {steps, steps + 1}

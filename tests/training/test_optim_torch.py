"""Optimizers against PyTorch's: trajectories and defaults."""

import numpy as np
import pytest
from optimizer_cases import ALL, CASES, ONE_EACH, STEPS, make, random_run

from crnn.training import schedules


def torch_optimizer(torch, name, options, values):
    # A copy: torch writes in place. One tensor at a time is the documented formula.
    parameter = torch.from_numpy(np.array(values)).requires_grad_()
    return getattr(torch.optim, name)([parameter], foreach=False, **options), parameter


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(("name", "options"), ALL)
def test_trajectory_equals_torch(name, options, dtype):
    torch = pytest.importorskip("torch")
    net, grads = random_run(dtype=dtype)
    opt = make(name, options)
    theirs, parameter = torch_optimizer(torch, name, options, net.vector)
    # A step rounds about 8 times, each time by eps/2 of a value of order 1, in crnn and in torch.
    # Parameters near 0 come from terms of order 1, hence the same absolute tolerance.
    eps = np.finfo(dtype).eps
    for t, grad in enumerate(grads, start=1):
        opt.step(net, grad)
        parameter.grad = torch.from_numpy(grad.vector)
        theirs.step()
        tolerance = 8 * t * eps  # at most 9e-14 in float64
        np.testing.assert_allclose(
            net.vector, parameter.detach().numpy(), rtol=tolerance, atol=tolerance
        )
    assert net.vector.dtype == dtype
    assert opt.steps == STEPS


@pytest.mark.parametrize(("name", "options"), ONE_EACH)
def test_trajectory_with_a_moving_rate_equals_torch(name, options):
    torch = pytest.importorskip("torch")
    net, grads = random_run()
    opt = make(name, options)
    theirs, parameter = torch_optimizer(torch, name, options, net.vector)
    factor = schedules.cosine()
    initial = opt.lr
    for done, grad in enumerate(grads):
        opt.lr = theirs.param_groups[0]["lr"] = initial * factor(done / STEPS)
        opt.step(net, grad)
        parameter.grad = torch.from_numpy(grad.vector)
        theirs.step()
    np.testing.assert_allclose(net.vector, parameter.detach().numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_defaults_equal_torchs(name):
    torch = pytest.importorskip("torch")
    opt = make(name, {"lr": 1e-3} if name == "SGD" else {})
    theirs, _ = torch_optimizer(torch, name, {"lr": 1e-3} if name == "SGD" else {}, np.ones(2))
    config = opt.config()
    assert config.pop("name") == name
    config = {k: tuple(v) if isinstance(v, list) else v for k, v in config.items()}
    assert {key: theirs.defaults[key] for key in config} == config

"""Whole trainings against PyTorch's: equal weights, 50 updates, the same curve and parameters.

crnn has one bias where PyTorch has two that add up: ``bias_hh`` is held at zero, its gradient
masked before clipping, so that the one that is left moves as crnn's does.
"""

import numpy as np
import pytest

import crnn

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.usefixtures("one_torch_thread")

T, B, I, H, O = 40, 3, 4, 6, 5  # noqa: E741
CHUNK, EPOCHS, LR = 8, 10, 0.01
UPDATES = EPOCHS * T // CHUNK

# Both sides compute in float64 and differ in the order of sums of at most T*B terms, some 1e-16 of
# a gradient. 50 updates of so small a network make 4e-15 of that at most, of learning rates 6e-15
# (PyTorch multiplies factors up); the rest of the tolerance is for other processors' sums. A wrong
# term in a formula shows above 1e-4.
RTOL = 1e-12

SGD, RMSPROP, ADAGRAD = torch.optim.SGD, torch.optim.RMSprop, torch.optim.Adagrad
ADAM, ADAMW = torch.optim.Adam, torch.optim.AdamW
OPTIMIZERS = {
    "SGD": (crnn.SGD, SGD, {"lr": 0.5}),
    "SGD, weight decay": (crnn.SGD, SGD, {"lr": 0.5, "weight_decay": 0.01}),
    "SGD, momentum": (crnn.SGD, SGD, {"lr": 0.1, "momentum": 0.9}),
    "Nesterov": (crnn.SGD, SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    "Adagrad": (crnn.Adagrad, ADAGRAD, {"lr": 0.05}),
    "Adagrad, decays": (
        crnn.Adagrad, ADAGRAD,
        {"lr": 0.05, "lr_decay": 0.02, "weight_decay": 0.01, "initial_accumulator_value": 0.1},
    ),
    "RMSprop": (crnn.RMSprop, RMSPROP, {"lr": LR}),
    "RMSprop, centered, momentum": (
        crnn.RMSprop, RMSPROP, {"lr": LR, "alpha": 0.9, "momentum": 0.5, "centered": True},
    ),
    "Adam": (crnn.Adam, ADAM, {"lr": LR}),
    "Adam, weight decay": (crnn.Adam, ADAM, {"lr": LR, "betas": (0.8, 0.9), "weight_decay": 0.01}),
    "AdamW": (crnn.AdamW, ADAMW, {"lr": LR, "weight_decay": 0.1}),
}
LOSSES = {
    "softmax": lambda rng: rng.integers(-1, O, (T, B)),  # some steps without a target
    "sigmoid": lambda rng: rng.integers(0, 2, (T, B, O)).astype(float),
    "mse": lambda rng: rng.standard_normal((T, B, O)),
}


class Rival(torch.nn.Module):
    """PyTorch's network with crnn's weights."""

    def __init__(self, net):
        super().__init__()
        self.rnn = torch.nn.RNN(I, H, nonlinearity=net.nonlinearity, dtype=torch.float64)
        self.readout = torch.nn.Linear(H, O, dtype=torch.float64)
        weights = [net.parameters[name].T for name in ("W_xh_l0", "W_hh_l0")]
        weights += [net.parameters["b_h_l0"], np.zeros(H), net.parameters["W_hy"].T,
                    net.parameters["b_y"]]
        with torch.no_grad():
            for parameter, weight in zip(self.parameters(), weights, strict=True):
                parameter.copy_(torch.tensor(np.array(weight)))

    def vector(self):
        """Its parameters in the order of ``net.vector``."""
        W_xh, W_hh, b_ih, b_hh, W_hy, b_y = (each.detach().numpy() for each in self.parameters())
        assert not b_hh.any()
        return np.concatenate([each.ravel() for each in (W_xh.T, W_hh.T, b_ih, W_hy.T, b_y)])

    def loss(self, x, targets, state, loss):
        h, state = self.rnn(x, state)
        y = self.readout(h)
        if loss == "softmax":
            value = torch.nn.functional.cross_entropy(
                y.reshape(-1, O), targets.reshape(-1), ignore_index=-1
            )
        elif loss == "sigmoid":
            value = torch.nn.functional.binary_cross_entropy_with_logits(y, targets)
        else:
            value = torch.nn.functional.mse_loss(y, targets)
        return value, state.detach()


def train_rival(rival, optimizer, x, targets, *, loss, clip_norm=None, clip_value=None,
                scheduler=None):
    """Truncated backpropagation with the state carried on; return losses and learning rates."""
    x, targets = torch.tensor(x), torch.tensor(targets)
    losses, rates = [], []
    for _ in range(EPOCHS):
        state = None
        for start in range(0, T, CHUNK):
            part = slice(start, start + CHUNK)
            optimizer.zero_grad()
            value, state = rival.loss(x[part], targets[part], state, loss)
            value.backward()
            rival.rnn.bias_hh_l0.grad.zero_()
            if clip_norm is not None:
                torch.nn.utils.clip_grad_norm_(rival.parameters(), clip_norm)
            if clip_value is not None:
                torch.nn.utils.clip_grad_value_(rival.parameters(), clip_value)
            optimizer.step()
            losses.append(value.item())
            rates.append(optimizer.param_groups[0]["lr"])
            if scheduler is not None:
                scheduler.step()
    return losses, rates


def compare(rng, ours, theirs, options, *, loss="softmax", nonlinearity="tanh", clip=None,
            cosine=False):
    net = crnn.RNN(I, H, O, dtype="float64", seed=1, nonlinearity=nonlinearity)
    rival = Rival(net)
    x, targets = rng.standard_normal((T, B, I)), LOSSES[loss](rng)
    optimizer = theirs(rival.parameters(), **options)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, UPDATES) if cosine else None
    losses, rates = train_rival(
        rival, optimizer, x, targets, loss=loss, scheduler=scheduler, **(clip or {})
    )
    events = []
    crnn.fit(
        net, (x, targets), ours(**options), epochs=EPOCHS, loss=loss, truncation=CHUNK,
        schedule=crnn.cosine() if cosine else None, callbacks=[events.append], **(clip or {}),
    )
    events = [event for event in events if event.kind == "update"]
    assert len(losses) == len(events) == UPDATES == 50
    np.testing.assert_allclose([event.loss for event in events], losses, rtol=RTOL)
    np.testing.assert_allclose([event.lr for event in events], rates, rtol=RTOL)
    np.testing.assert_allclose(net.vector, rival.vector(), rtol=RTOL, atol=RTOL)
    assert sum(losses[-5:]) < sum(losses[:5])


@pytest.mark.parametrize(("ours", "theirs", "options"), OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_optimizers(rng, ours, theirs, options):
    compare(rng, ours, theirs, options)


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
@pytest.mark.parametrize("loss", LOSSES)
def test_losses(rng, loss, nonlinearity):
    compare(rng, crnn.Adam, ADAM, {"lr": LR}, loss=loss, nonlinearity=nonlinearity)


@pytest.mark.parametrize(
    "clip", [{"clip_norm": 0.3}, {"clip_value": 0.02}, {"clip_norm": 0.3, "clip_value": 0.02}],
    ids="+".join,
)
@pytest.mark.parametrize("name", ["SGD, momentum", "Adam"])
def test_clipping(rng, name, clip):
    compare(rng, *OPTIMIZERS[name], clip=clip)


@pytest.mark.parametrize("name", ["SGD, momentum", "Adam", "AdamW"])
def test_cosine_schedule(rng, name):
    compare(rng, *OPTIMIZERS[name], cosine=True, clip={"clip_norm": 1.0})

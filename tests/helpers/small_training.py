"""A small network, random batches and `train`: what the tests of training share."""

import crnn

T, B, I, H, O = 11, 2, 3, 5, 4  # noqa: E741
TARGET_MAKERS = {
    "softmax": lambda rng, shape: rng.integers(0, O, shape),
    "sigmoid": lambda rng, shape: rng.integers(0, 2, (*shape, O)).astype(float),
    "mse": lambda rng, shape: rng.standard_normal((*shape, O)),
}


def make(**options):
    return crnn.RNN(I, H, O, **({"seed": 3} | options))


def batch(rng, steps=T, sequences=(B,), loss="softmax", last_only=False):
    targets = TARGET_MAKERS[loss](rng, sequences if last_only else (steps, *sequences))
    return rng.standard_normal((steps, *sequences, I)), targets


def train(data, *, net=None, optimizer=None, **options):
    """Fit; return the network, the optimizer, the history and the events of updates and epochs."""
    net, optimizer = net or make(), optimizer or crnn.SGD(0.1, momentum=0.9)
    events = []
    callbacks = [events.append, *options.pop("callbacks", ())]
    history = crnn.fit(net, data, optimizer, **({"epochs": 3, "callbacks": callbacks} | options))
    return net, optimizer, history, *(
        [event for event in events if event.kind == kind] for kind in ("update", "epoch")
    )

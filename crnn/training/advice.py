"""What to do instead, for calls of `crnn.fit` that are meant for another library's."""

EXAMPLE = "fit(net, (x, targets), crnn.Adam(0.001), epochs=10)"
INSTEAD = {
    "batch_size": "data are batches; crnn.batches(x, targets, batch_size=32) makes them of lists",
    "shuffle": "batches come in a new order every epoch; so do sequences with crnn.batches",
    "sample_weight": 'data can be a dict, {"x": ..., "targets": ..., "sample_weight": ...}',
    "validation_data": "give validation=(x, targets)",
    "validation_split": "keep some sequences back, and give validation=(x, targets)",
    "lr": "it is the optimizer's, as in crnn.Adam(0.001)",
    "learning_rate": "it is the optimizer's, as in crnn.Adam(0.001)",
    "random_state": "give seed=",
    "verbose": "give progress=True",
}


def advice(options):
    """Return what to do about a call that Python refuses, given its keyword arguments."""
    found = [f"instead of {name}: {INSTEAD[name]}" for name in options if name in INSTEAD]
    return "; ".join(found) or f"a call is {EXAMPLE}: x and its targets are one argument"

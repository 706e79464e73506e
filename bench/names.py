"""What a run can be asked for, by name and in order; NumPy is not imported for it."""

TASKS = ("step", "sequence", "training", "streams", "writing", "fit", "compressed")
CELLS = ("rnn", "gru", "lstm")
REGIMES = (
    "sizes", "layers", "directions", "lengths", "last step", "floats and wide inputs", "odd sizes",
    "small batches", "large batches", "long sequences", "float64", "writing", "many streams", "fit",
    "lower precision", "start",
)

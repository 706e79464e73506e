"""What a run can be asked for, by name and in order, before NumPy is imported."""

TASKS = ("step", "sequence", "training", "streams", "writing", "fit", "compressed", "start")
CELLS = ("rnn", "gru", "lstm")
REGIMES = (
    "sizes", "layers", "directions", "lengths", "last step", "floats and wide inputs", "odd sizes",
    "small batches", "large batches", "long sequences", "float64", "writing", "many streams", "fit",
    "lower precision", "start",
)
FILES = {  # the data of trainings, and where they are from
    "tinyshakespeare.txt": "github.com/karpathy/char-rnn",
    "jsb_chorales.npz": "see examples/chorales.py",
    "JapaneseVowels_TRAIN.ts": "timeseriesclassification.com",
}

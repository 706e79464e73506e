"""What is measured: the sizes that goals were set for, and the regimes beside them.

"sizes" are tables that differ in H, each with goals; every other regime is a few tasks at a few
sizes, all in `CASES`. A new case is a line there; a new regime a name there and in ``names.py``.
"""

from fits import fit_task
from tasks import COMPRESSED, KINDS, SEQUENCE, STEP, STREAMS, TRAINING, WRITING, Cell, Table

# --- sizes, with goals ---------------------------------------------------------------------------


def _table(kind, title, task, goals, **fixed):
    """Return a table; ``I=None`` stands for I = H."""
    return Table(f"{kind}: {title}", kind, task, [
        ({letter: size or H for letter, size in fixed.items()} | {"H": H}, goal)
        for H, goal in goals.items()
    ])


def _steps(kind, as_many, one):
    """Return the tables of steps, from goals for I = H and for I = 1."""
    return [
        _table(kind, "step, I = H", STEP, as_many, I=None),
        _table(kind, "step, I = 1", STEP, one, I=1),
    ]


def _sequences(kind, goals):
    """Return the tables of sequences, from goals for each B."""
    return [
        _table(kind, f"sequence, T = 256, B = {B}, I = H", SEQUENCE, each, T=256, B=B, I=None)
        for B, each in goals.items()
    ]


def _trainings(kind, goals):
    """Return the tables of training passes, from goals for each B."""
    return [
        _table(kind, f"training, T = 64, B = {B}, 64 symbols", TRAINING, each, T=64, V=64, B=B)
        for B, each in goals.items()
    ]


SIZES = [
    *_steps(
        "RNN",
        {16: 0.06, 32: 0.08, 64: 0.14, 128: 0.8, 256: 2.3, 512: 19, 1024: 72},
        {16: 0.055, 32: 0.065, 64: 0.09, 128: 0.42, 256: 1.5, 512: 6.8, 1024: 40},
    ),
    *_sequences("RNN", {
        1: {16: 0.03, 32: 0.05, 64: 0.1, 128: 0.45, 256: 1.6, 512: 9, 1024: 48},
        32: {16: 0.3, 32: 0.65, 64: 2.2, 128: 9.5, 256: 36, 512: 140, 1024: 560},
    }),
    *_trainings("RNN", {
        1: {32: 0.016, 64: 0.03, 128: 0.08, 256: 0.28, 512: 1.15, 1024: 5.4},
        16: {32: 0.14, 64: 0.26, 128: 0.7, 256: 2.1, 512: 7.5, 1024: 29},
        64: {32: 0.55, 64: 1.0, 128: 2.8, 256: 8.3, 512: 31, 1024: 113},
    }),
    *_steps("GRU", {32: 0.15, 128: 2.2, 512: 58}, {16: 0.07, 32: 0.1, 64: 0.25}),
    *_sequences("GRU", {1: {32: 0.11, 128: 1.4, 512: 32}, 32: {32: 2.0, 128: 29, 512: 425}}),
    *_trainings("GRU", {
        1: {32: 0.04, 128: 0.22, 512: 3.6},
        16: {32: 0.35, 128: 1.9, 512: 26},
        64: {32: 1.3, 128: 7.5, 512: 102},
    }),
    *_steps("LSTM", {32: 0.18, 128: 2.9, 512: 76}, {16: 0.08, 32: 0.12, 64: 0.3}),
    *_sequences("LSTM", {1: {32: 0.14, 128: 1.9, 512: 43}, 32: {32: 2.7, 128: 37, 512: 550}}),
    *_trainings("LSTM", {
        1: {32: 0.05, 128: 0.29, 512: 4.8},
        16: {32: 0.45, 128: 2.5, 512: 33},
        64: {32: 1.7, 128: 9.8, 512: 132},
    }),
]

# --- regimes -------------------------------------------------------------------------------------

FIT = "fit"  # a task that is made when it is known where the data are
CASES = [  # regime, task, kinds, all sizes
    ("layers", SEQUENCE, KINDS, [
        {"T": 8, "B": 1, "I": 32, "H": 32, "L": 2}, {"T": 64, "B": 1, "I": 128, "H": 128, "L": 2},
        {"T": 64, "B": 16, "I": 64, "H": 64, "L": 4},
    ]),
    ("layers", TRAINING, KINDS, [{"T": 64, "V": 64, "B": 16, "H": 128, "L": 2}]),
    ("directions", SEQUENCE, KINDS, [
        {"T": 8, "B": 1, "I": 32, "H": 32, "L": 2, "D": 2},
        {"T": 64, "B": 1, "I": 128, "H": 128, "D": 2}, {"T": 64, "B": 16, "I": 64, "H": 64, "D": 2},
    ]),
    ("directions", TRAINING, KINDS, [{"T": 64, "V": 64, "B": 16, "H": 64, "D": 2}]),
    ("lengths", SEQUENCE, KINDS, [
        {"T": 8, "B": 4, "I": 32, "H": 32, "shortest": 2},
        {"T": 64, "B": 16, "I": 64, "H": 64, "shortest": 8},
        {"T": 64, "B": 16, "I": 64, "H": 64, "D": 2, "shortest": 8},
    ]),
    ("last step", SEQUENCE, KINDS, [
        {"T": 64, "B": 1, "I": 64, "H": 64, "O": 10},
        {"T": 64, "B": 32, "I": 64, "H": 64, "O": 2000},
    ]),
    ("floats and wide inputs", SEQUENCE, KINDS, [{"T": 64, "B": 32, "I": 1024, "H": 64}]),
    ("floats and wide inputs", TRAINING, KINDS, [
        {"T": 64, "V": 10, "B": 16, "H": 64, "I": I} for I in (8, 1024)  # noqa: E741
    ]),
    ("odd sizes", STEP, KINDS, [{"I": H, "H": H} for H in (50, 200, 300)]),
    ("odd sizes", SEQUENCE, KINDS, [
        {"T": 64, "B": B, "I": H, "H": H} for B, H in ((1, 100), (1, 200), (16, 50), (16, 300))
    ]),
    ("small batches", SEQUENCE, KINDS, [
        {"T": 64, "B": B, "I": 128, "H": 128} for B in (2, 3, 5)
    ]),
    ("large batches", SEQUENCE, KINDS, [
        {"T": 16, "B": B, "I": 64, "H": 64} for B in (256, 1024, 4096)
    ]),
    ("large batches", SEQUENCE, ["RNN"], [{"T": 4, "B": 32, "I": 2048, "H": 2048}]),
    ("large batches", TRAINING, KINDS, [{"T": 16, "V": 64, "B": 1024, "H": 64}]),
    ("long sequences", SEQUENCE, KINDS, [{"T": 10_000, "B": 1, "I": 32, "H": 64}]),
    ("long sequences", TRAINING, KINDS, [{"T": 2000, "V": 64, "B": 4, "H": 64}]),
    ("float64", STEP, KINDS, [{"I": 128, "H": 128}]),
    ("float64", SEQUENCE, KINDS, [{"T": 64, "B": 16, "I": 128, "H": 128}]),
    ("float64", TRAINING, KINDS, [{"T": 64, "V": 64, "B": 16, "H": 128}]),
    ("writing", WRITING, KINDS, [
        {"V": 65, "H": 128, "length": 500}, {"V": 65, "H": 128, "length": 500, "L": 2},
    ]),
    ("many streams", STREAMS, KINDS, [{"N": 10_000, "some": 5000, "I": 16, "H": 32}]),
    ("fit", FIT, ["RNN", "GRU"], [{"data": "text", "updates": 100, "H": 128}]),
    ("fit", FIT, ["GRU"], [{"data": "text", "updates": 100, "H": 128, "L": 2}]),
    ("fit", FIT, ["GRU", "LSTM"], [{"data": "chorales", "H": 192}]),
    ("fit", FIT, ["LSTM"], [{"data": "vowels", "H": 64}]),
    ("lower precision", COMPRESSED, KINDS, [
        {"T": 16, "B": B, "I": 512, "H": 512, "weights": weights}
        for weights in ("bf16", "int8") for B in (1, 32)
    ]),
]

# --- small ones, to see that results agree -------------------------------------------------------

QUICK = [  # the first sizes of each for every kind, the others for the first
    ("sizes", STEP, KINDS, [{"I": 7, "H": 11}, {"I": 1, "H": 16}]),
    ("sizes", SEQUENCE, KINDS, [{"T": 5, "B": B, "I": 7, "H": 8} for B in (3, 1)]),
    ("sizes", TRAINING, KINDS, [{"T": 5, "V": 6, "B": B, "H": 8} for B in (3, 1)]),
    ("layers", SEQUENCE, ["LSTM"], [{"T": 5, "B": 3, "I": 7, "H": 8, "L": 2}]),
    ("directions", TRAINING, ["GRU"], [{"T": 5, "V": 6, "B": 3, "H": 8, "L": 2, "D": 2}]),
    ("lengths", SEQUENCE, ["LSTM"], [{"T": 6, "B": 3, "I": 7, "H": 8, "D": 2, "shortest": 2}]),
    ("last step", SEQUENCE, ["RNN"], [{"T": 6, "B": 3, "I": 7, "H": 8, "O": 20}]),
    ("floats and wide inputs", TRAINING, ["RNN"], [{"T": 5, "V": 6, "B": 3, "H": 8, "I": 4}]),
    ("odd sizes", STEP, ["GRU"], [{"I": 5, "H": 9}]),
    ("small batches", SEQUENCE, ["LSTM"], [{"T": 5, "B": 2, "I": 7, "H": 8}]),
    ("large batches", SEQUENCE, ["RNN"], [{"T": 3, "B": 40, "I": 7, "H": 8}]),
    ("long sequences", SEQUENCE, ["RNN"], [{"T": 50, "B": 1, "I": 3, "H": 8}]),
    ("float64", STEP, ["RNN"], [{"I": 7, "H": 11}]),
    ("writing", WRITING, ["LSTM"], [{"V": 9, "H": 8, "length": 20, "L": 2}]),
    ("many streams", STREAMS, ["LSTM"], [{"N": 20, "some": 6, "I": 3, "H": 8}]),
    ("fit", FIT, ["GRU"], [{"data": "random", "H": 8}]),
    ("fit", FIT, ["RNN"], [{"data": "random notes", "H": 8}]),
    ("fit", FIT, ["LSTM"], [{"data": "random classes", "H": 8}]),
    ("lower precision", COMPRESSED, ["LSTM"], [
        {"T": 5, "B": 3, "I": 16, "H": 32, "weights": "int8"}
    ]),
]
DTYPES = {"float64": "float64"}  # of regimes that have one of their own


def tables(quick, data=None):
    """Return all tables; those of `fit` on real data only if it is said where these are.

    Parameters
    ----------
    quick : bool
        Small sizes.
    data : pathlib.Path, optional
        The folder with the files that ``names.py`` names.
    """
    made = [] if quick else [*SIZES]
    for regime, task, kinds, all_sizes in QUICK if quick else CASES:
        if task is FIT:
            if data is None and not quick:
                continue
            task = fit_task(data)
        for number, kind in enumerate(kinds):
            title = f"{regime[0].upper()}{regime[1:]}: {kind}, {task.name}"
            sizes = all_sizes[:1] if quick and number else all_sizes
            made.append(Table(title, kind, task, [(each, None) for each in sizes], regime,
                              DTYPES.get(regime)))
    return made


def cells(names, quick, kinds=tuple(KINDS), regimes=("sizes",), data=None):
    """Return the cells of some tasks, kinds and regimes, in order."""
    return [
        Cell(table, sizes, goal)
        for table in tables(quick, data)
        if table.regime in regimes and table.task.name in names and table.kind in kinds
        for sizes, goal in table.goals
    ]

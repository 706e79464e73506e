"""The five kinds of crnn files, and what the header of each holds besides the tensors.

A network has its configuration, and may have a scaler; a character model also its vocabulary and an
account of its training; a checkpoint, without a vocabulary, an account of a training under way. The
state of a stream has no network: it says which ones it fits. A forecaster has the configuration
that all its networks share, and an account of the series.
"""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from crnn.files import container
from crnn.files.disk import FormatError, PathLike

NETWORK, MODEL, CHECKPOINT = "network", "character model", "checkpoint of training"
STATE, FORECASTER = "state of a stream", "forecaster"
KEYS = {
    NETWORK: ("config",),
    MODEL: ("config", "vocabulary", "training"),
    CHECKPOINT: ("config", "training"),
    STATE: ("state",),
    FORECASTER: ("config", "forecaster"),
}
MAY_HAVE = {NETWORK: ("scaler",), MODEL: ("scaler",)}
NAMES = {  # what error messages call the text of a key
    "config": "configuration", "vocabulary": "vocabulary", "training": "account of training",
    "state": "account of a state", "scaler": "scaler",
    "forecaster": "account of a forecaster",
}


class Content(NamedTuple):
    """What is in a file.

    Attributes
    ----------
    kind : str
        One of KEYS.
    tensors : dict of str to ndarray
    header : dict
        By the keys of its kind, what was written as JSON. Names, shapes and all values in it are
        still to be checked.
    metadata : dict of str to str
        Texts of users.
    """

    kind: str
    tensors: dict
    header: dict
    metadata: dict


def write(
    path: PathLike, tensors: Mapping[str, np.ndarray], header: Mapping[str, Any],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a file, whole or not at all.

    Parameters
    ----------
    path : str or os.PathLike
    tensors : mapping of str to ndarray
    header : dict
        By the keys of one kind, what is to be written as JSON.
    metadata : mapping of str to str, optional
        Further texts, under keys that crnn does not use.

    Raises
    ------
    TypeError, ValueError, OSError
        As `container.write`; ValueError also for a key in metadata that is crnn's own.
    """
    metadata = dict(metadata or {})
    for key in sorted(NAMES):
        if key in metadata:
            raise ValueError(f"the metadata key {key!r} is crnn's own; use another")
    texts = {key: json.dumps(value, allow_nan=False) for key, value in header.items()}
    container.write(path, tensors, metadata | texts)


def read(path: PathLike, *wanted: str) -> Content:
    """Read a file of one of the wanted kinds.

    Raises
    ------
    FormatError
        If it is not whole, or of another kind.
    OSError
        If it cannot be read.
    """
    tensors, metadata = container.read(path)
    kind = _kind_of(metadata)
    if kind not in wanted:
        raise FormatError(f"{path}: {_refusal(kind, wanted)}")
    if "config" not in metadata and kind != STATE:
        raise FormatError(f"{path}: the header has no network configuration")
    keys = [*KEYS[kind], *(key for key in MAY_HAVE.get(kind, ()) if key in metadata)]
    # the header of a network or a model may also have metadata of its user's
    own = metadata.keys() & NAMES.keys() if kind in MAY_HAVE else metadata
    container.check_names(path, own, keys)
    header = {key: container.read_json(path, metadata.pop(key), NAMES[key]) for key in keys}
    return Content(kind, tensors, header, metadata)


def _kind_of(metadata: Mapping[str, str]) -> str:
    if "state" in metadata and "config" not in metadata:
        return STATE
    if "forecaster" in metadata:
        return FORECASTER
    if "vocabulary" in metadata:
        return MODEL
    return CHECKPOINT if "training" in metadata else NETWORK


def _refusal(kind: str, wanted: tuple[str, ...]) -> str:
    if wanted == (CHECKPOINT,):
        return f"a {kind if kind in (STATE, FORECASTER) else 'model'}, not a checkpoint of training"
    if wanted in ((STATE,), (FORECASTER,)):
        return f"a {kind}, not {'the' if wanted == (STATE,) else 'a'} {wanted[0]}"
    if kind == FORECASTER:
        return "a forecaster; crnn.Forecaster.load reads it"
    if wanted == (MODEL,):
        hint = "; crnn.text.save_model writes both in one file" * (kind == NETWORK)
        return f"a {kind}, not a character model: it has no vocabulary{hint}"
    return f"a {kind}, not a model"

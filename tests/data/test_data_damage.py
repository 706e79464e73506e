"""Whatever is in a file of data, reading it ends well or in a FormatError."""

import io

import data_files
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import crnn

pytestmark = pytest.mark.no_backend

written = data_files.written  # a fixture, which pytest looks for in this module

TS = ("# c\n@timeStamps false\n@univariate false\n@equalLength false\n@classLabel true a b\n@data\n"
      "1.5,2:3,?:a\n-1e3:4:b\n")
CSV = 'id,date,x,y,label\na,2020-01-01,1.5,2,u\na,2020-01-02,?,3,u\n"b",2020-01-01,4,-1e3,v\n'
KINDS = ("ts", "csv", "npz")


def npz():
    file = io.BytesIO()
    np.savez_compressed(file, x=np.arange(12.0).reshape(2, 3, 2), lengths=[3, 1], labels=["a", "b"])
    return file.getvalue()


CONTENTS = {"ts": TS.encode(), "csv": CSV.encode(), "npz": npz()}


def read_well(path):
    """Read, and return whether it was accepted: then what came back fits together."""
    data, message = None, str(path)
    try:
        data = crnn.data.read(path)
    except crnn.FormatError as error:
        message = str(error)
    assert str(path) in message
    assert len(message) < 800
    if data is None:
        return False
    assert len({each.shape[1] for each in data.sequences}) == 1
    assert all(each.ndim == 2 and each.dtype.kind == "f" and each.size for each in data.sequences)
    for each in (data.labels, data.ids, data.times):
        assert each is None or len(each) == len(data.sequences)
    repr(data)
    return True


@pytest.mark.parametrize("kind", KINDS)
def test_every_truncation(written, kind):
    whole = CONTENTS[kind]
    accepted = [read_well(written(f"a.{kind}", whole[:length])) for length in range(len(whole) + 1)]
    assert accepted[-1]
    assert sum(accepted) < {"ts": 10, "csv": 50, "npz": 2}[kind]  # of text, where a line ends


@pytest.mark.parametrize("kind", KINDS)
def test_every_byte_changed(written, kind):
    whole = bytearray(CONTENTS[kind])
    for place in range(len(whole)):
        for change in (0x01, 0x80)[: 1 if kind == "npz" else 2]:  # a CRC is in the way of others
            whole[place] ^= change
            read_well(written(f"a.{kind}", bytes(whole)))
            whole[place] ^= change


SOME = settings(max_examples=200, deadline=None,
                suppress_health_check=[HealthCheck.function_scoped_fixture])


@SOME
@given(st.sampled_from(KINDS), st.binary(max_size=200))
def test_random_bytes(written, kind, content):
    read_well(written(f"a.{kind}", content))


@SOME
@given(st.sampled_from(KINDS[:2]), st.lists(st.sampled_from([
    "1", "-2.5e3", "?", "nan", "inf", "", "a", "b", ",", ":", ";", "\t", "\n", "\r", '"', "@", "#",
    "@data\n", "@classLabel true a b\n", "@targetLabel true\n", "id", "time", "label", "x",
    "2020-01-01", "9999-99", "\0", "\u2028", "é", " ", "1" * 400, "_"]), max_size=40))
def test_random_words(written, kind, words):
    read_well(written(f"a.{kind}", "".join(words)))


@SOME
@given(st.data())
def test_archives_with_arrays_of_any_shape(written, data):
    names = st.sampled_from(["x", "lengths", "labels", "y", "arr_0", "arr_1", "other"])
    values = st.sampled_from([0, 1, 2, 3, -1, np.nan, np.inf])
    shapes = st.lists(st.integers(0, 3), max_size=4)
    arrays = {
        name: np.full(data.draw(shapes), data.draw(values), float).view(
            data.draw(st.sampled_from(["f8", "<f8", ">f8", "i8", "u8", "U2", "M8[s]", "S8"])))
        for name in data.draw(st.lists(names, unique=True))}
    file = io.BytesIO()
    np.savez(file, **arrays)
    read_well(written("a.npz", file.getvalue()))

"""Networks in .nam files: against published ones, by hand, and files that are none."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from amplifier_files import nam_content, published, random_lstm, written

import crnn

PUBLISHED = ("nam_boss_lstm1x16", "nam_boss_lstm2x8", "nam_darkglass_lstm3")
TINY = {  # one unit: W has rows i, f, g, o of columns x, h; then b, h0, c0, and the head
    "architecture": "LSTM", "config": {"input_size": 1, "hidden_size": 1, "num_layers": 1},
    "weights": [1, 0.5, 0, 0, 2, 0, 0, 0, 0, 0.25, 0, 0, 0.75, -0.5, 3, 0.125],
}


def sigmoid(a):
    return 1 / (1 + math.exp(-a))


@pytest.fixture
def models(shared):
    folder = shared.parent / "models"
    if not folder.is_dir():
        pytest.skip("the published networks are not here")
    return folder


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_networks(models, tmp_path, name, dtype, backend):
    arrays = published(models, name)
    net = crnn.from_nam(written(tmp_path / "amp.nam", nam_content(arrays)), dtype=dtype)
    x, wanted = arrays["x"].astype(dtype), arrays["expected_y"]
    atol = 1e-10 if dtype == "float64" else 1e-4
    x = x if backend == "compiled" else x[:600]
    y, (h, c) = net(x)
    np.testing.assert_allclose(y, wanted[: len(x)], rtol=0, atol=atol)
    if len(x) == len(wanted):
        np.testing.assert_allclose(h, arrays["expected_h_n"], rtol=0, atol=10 * atol)
        np.testing.assert_allclose(c, arrays["expected_c_n"], rtol=1e-5, atol=atol)
    steps = np.stack([net.step(each) for each in x[:300, 0]])
    np.testing.assert_allclose(steps, wanted[:300, 0], rtol=0, atol=atol)


def test_two_samples_by_hand(tmp_path):
    net = crnn.from_nam(written(tmp_path / "amp.nam", TINY), dtype="float64")
    h, c, wanted = 0.75, -0.5, []
    for x in (0.5, -1.0):
        i, f, g, o = sigmoid(x + 0.5 * h), sigmoid(0.25), math.tanh(2 * x), sigmoid(0)
        c = f * c + i * g
        h = o * math.tanh(c)
        wanted.append(3 * h + 0.125)
    np.testing.assert_allclose([net.step([x])[0] for x in (0.5, -1.0)], wanted, rtol=1e-14)
    net.reset()
    assert net.step([0.5])[0] == pytest.approx(wanted[0], rel=1e-14)


def test_several_inputs_and_outputs(tmp_path, rng):
    arrays = random_lstm(rng, inputs=3, hidden=4, layers=3, outputs=2)
    content = nam_content(arrays)
    content["config"] |= {"in_channels": 3, "out_channels": 2}
    net = crnn.from_nam(written(tmp_path / "amp.nam", content), dtype="float64")
    assert (net.input_size, net.output_size, net.num_layers) == (3, 2, 3)
    np.testing.assert_array_equal(net.parameters["W_hy"], arrays["lin.weight"].T)
    np.testing.assert_array_equal(net.parameters["W_xh_l2"], arrays["rec.weight_ih_l2"].T)
    np.testing.assert_array_equal(net.parameters["c_0_l1"], arrays["c0"][1, 0])


def test_metadata_are_texts_that_are_safe_to_show(tmp_path):
    about = {"name": "a\x1b[2J\u202ename", "gain": 0.5, "training": {"epochs": [1, "é"]},
             "k\n": None}
    content = TINY | {"metadata": about, "sample_rate": 44100.0}
    net = crnn.from_nam(written(tmp_path / "amp.nam", content))
    assert net.metadata == {
        "sample_rate": "44100", "nam.name": "a\\x1b[2J\\u202ename", "nam.gain": "0.5",
        "nam.training": '{"epochs": [1, "é"]}', "nam.k\\n": "null",
    }
    net.save(tmp_path / "net")
    assert crnn.load(tmp_path / "net").metadata == net.metadata
    assert crnn.from_nam(written(tmp_path / "amp.nam", TINY)).metadata == {}


BAD = {
    "another architecture": (TINY | {"architecture": "WaveNet"}, "the architecture 'WaveNet'"),
    "no architecture": ({"layers": []}, "no 'architecture'"),
    "no configuration": (TINY | {"config": None}, "None as config"),
    "no layers": (TINY | {"config": TINY["config"] | {"num_layers": 0}}, "0 as 'num_layers'"),
    "too many layers": (TINY | {"config": TINY["config"] | {"num_layers": 1001}}, "1 to 1000"),
    "a size that is true": (TINY | {"config": TINY["config"] | {"num_layers": True}}, "True as"),
    "a size in text": (TINY | {"config": TINY["config"] | {"hidden_size": "1"}}, "'1' as"),
    "a huge size": (TINY | {"config": TINY["config"] | {"hidden_size": 2**40}}, "1099511627776"),
    "a lying size": (TINY | {"config": TINY["config"] | {"hidden_size": 10**8}},
                     "has 16 weights, where an LSTM"),
    "an option": (TINY | {"config": TINY["config"] | {"skip": 1}}, "'skip' in config"),
    "channels": (TINY | {"config": TINY["config"] | {"in_channels": 2}}, "2 as in_channels"),
    "a weight too few": (TINY | {"weights": TINY["weights"][1:]}, "has 15 weights"),
    "a weight too many": (TINY | {"weights": [*TINY["weights"], 0]}, "has 17 weights"),
    "weights in rows": (TINY | {"weights": [[1]] * 16}, r"\[1\] in weights"),
    "weights in text": (TINY | {"weights": "0" * 16}, "in weights"),
    "a weight that is true": (TINY | {"weights": [True] * 16}, "True in weights"),
    "a weight beyond float32": (TINY | {"weights": [1e39] * 16}, r"1e\+39 in weights"),
    "a huge whole number": (TINY | {"weights": [10**400] * 16}, "numbers that float32 holds"),
    "a sample rate in text": (TINY | {"sample_rate": "48000"}, "as sample_rate"),
    "a sample rate below 0": (TINY | {"sample_rate": -1}, "-1 as sample_rate"),
    "metadata that are a list": (TINY | {"metadata": [1]}, "as metadata"),
}
BAD_BYTES = {
    "nothing": (b"", "a JSON object"),
    "a list": (b"[1]", "a JSON object"),
    "a picture": (b"\x89PNG\r\n", "looks like a PNG picture"),
    "no end": (json.dumps(TINY).encode()[:-1], "not strict JSON"),
    "a key twice": (b'{"architecture": "LSTM", "architecture": "LSTM"}', "appears twice"),
    "not a number": (b'{"weights": [NaN]}', "is not a finite number"),
    "infinity": (b'{"weights": [1e999]}', "is not a finite number"),
    "a number of many digits": (b'{"weights": [' + b"1" * 5000 + b"]}", "bad.nam"),
    "latin-1": ('{"architecture": "é"}'.encode("latin-1"), "not UTF-8"),
    "utf-16": ('{"architecture": "LSTM"}'.encode("utf-16"), "it looks like a text in UTF-16"),
    "deep": (b'{"metadata": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "not strict JSON"),
}


@pytest.mark.parametrize(("content", "message"), BAD.values(), ids=BAD)
def test_a_bad_file_is_refused(tmp_path, content, message):
    path = written(tmp_path / "bad.nam", content)
    with pytest.raises(crnn.FormatError, match=message) as caught:
        crnn.from_nam(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(("data", "message"), BAD_BYTES.values(), ids=BAD_BYTES)
def test_bytes_that_are_no_strict_json_are_refused(tmp_path, data, message):
    (tmp_path / "bad.nam").write_bytes(data)
    with pytest.raises(crnn.FormatError, match=message):
        crnn.from_nam(tmp_path / "bad.nam")
    with pytest.raises(crnn.FormatError, match=message):
        crnn.from_rtneural(tmp_path / "bad.nam")


def test_metadata_may_be_as_deep_as_json(tmp_path):
    """A depth that may be read may be too much to write: it is refused, then, or read."""
    for depth in (10, 300, 900, 2000):
        text = json.dumps(TINY)[:-1] + ', "metadata": {"a": ' + "[" * depth + "]" * depth + "}}"
        (tmp_path / "deep.nam").write_text(text)
        try:
            crnn.from_nam(tmp_path / "deep.nam")
        except crnn.FormatError:
            assert depth > 300


def test_a_mark_of_byte_order_is_no_character(tmp_path):
    (tmp_path / "amp.nam").write_bytes(b"\xef\xbb\xbf" + json.dumps(TINY).encode())
    assert crnn.from_nam(tmp_path / "amp.nam").parameters["b_y"] == 0.125


def test_a_file_cut_off_anywhere_is_refused(tmp_path):
    whole = json.dumps(TINY).encode()
    for end in range(len(whole)):
        (tmp_path / "cut.nam").write_bytes(whole[:end])
        with pytest.raises(crnn.FormatError):
            crnn.from_nam(tmp_path / "cut.nam")


def test_what_is_no_regular_file_is_refused_at_once(tmp_path):
    for read in (crnn.from_nam, crnn.from_rtneural):
        with pytest.raises(IsADirectoryError):
            read(tmp_path)
        with pytest.raises(FileNotFoundError):
            read(tmp_path / "none")
        with pytest.raises(TypeError):
            read(3)
        if os.name != "nt":
            with pytest.raises(crnn.FormatError, match="device"):
                read("/dev/zero")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "fifo")
        with pytest.raises(crnn.FormatError, match="FIFO"):
            crnn.from_nam(tmp_path / "fifo")


def test_a_file_too_large_is_refused_before_it_is_read(tmp_path):
    with open(tmp_path / "large.nam", "wb") as file:
        file.write(b"{")
        file.truncate(10**12)  # a hole: it takes no room
    with pytest.raises(crnn.FormatError, match="1000000000000 bytes"):
        crnn.from_nam(tmp_path / "large.nam")


@pytest.mark.no_backend
@pytest.mark.parametrize("loader", ["nam", "rtneural"])
def test_some_inputs_of_the_fuzzer(tmp_path, loader):
    fuzzer = Path(__file__).parents[1] / "fuzz" / "json_loaders.py"
    done = subprocess.run([sys.executable, fuzzer, loader, "--inputs", "300"], cwd=tmp_path,
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{loader}: 300 inputs")

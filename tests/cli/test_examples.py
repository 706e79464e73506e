"""The examples: each runs with tiny settings; the marked ones do what their README says."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import amplifier_files
import keras_h5
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import crnn

pytestmark = pytest.mark.no_backend
FOLDER = Path(__file__).resolve().parents[2] / "examples"
SCRIPTS = sorted(path.stem for path in FOLDER.glob("*.py"))
LARGEST_PICTURE = 100_000  # bytes


def example(name):
    """Return an example as a module."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def chorales_file(path):
    """Write pieces of random notes as the file of chorales has them."""
    rng = np.random.default_rng(0)
    parts = {}
    for part, lengths in (("train", [5, 9, 7, 6, 8]), ("valid", [4, 6]), ("test", [7, 5])):
        notes = rng.random((sum(lengths), 88)) < 0.1
        parts |= {part: np.packbits(notes, axis=1), f"{part}_lengths": np.array(lengths)}
    np.savez(path, **parts)
    return path


def test_there_are_examples_and_the_readme_has_them_all():
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert len(SCRIPTS) >= 4
    assert [name for name in SCRIPTS if f"python examples/{name}.py" not in readme] == []
    pictures = {path.name: path.stat().st_size for path in FOLDER.glob("*.png")}
    assert [name for name in pictures if f"]({name})" not in readme] == []
    assert max(pictures.values()) < LARGEST_PICTURE


@pytest.mark.parametrize("name", SCRIPTS)
def test_help(name):
    done = subprocess.run([sys.executable, FOLDER / f"{name}.py", "--help"], text=True,
                          capture_output=True, check=True)
    assert done.stdout.startswith(f"usage: {name}.py")
    assert "--seed" in done.stdout


def test_keras_to_c(tmp_path):
    pytest.importorskip("h5py")
    rng = np.random.default_rng(0)

    def drawn(*shape):
        return rng.uniform(-0.5, 0.5, shape).astype(np.float32)

    path = tmp_path / "model.h5"
    keras_h5.write(path, [
        keras_h5.layer("LSTM", [drawn(3, 20), drawn(5, 20), drawn(20)], units=5),
        keras_h5.layer("Dense", [drawn(5, 2), drawn(2)], units=2, activation="sigmoid"),
    ])
    for weights, tolerance in (("float", 1e-6), ("int8", 0.02)):
        difference = example("keras_to_c").main(
            [str(path), str(tmp_path / "net.h"), "--weights", weights, "--steps", "50"])
        assert difference is None or difference < tolerance


def test_adding(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    errors = example("adding").main([
        "--steps", "8", "--hidden", "4", "--batches", "3", "--batch-size", "5", "--epochs", "2",
        "--plot", str(tmp_path / "adding.png"),
    ])
    assert list(errors) == ["RNN", "GRU", "LSTM"]
    assert "LSTM: epoch 2/2" in capsys.readouterr().out
    assert (tmp_path / "adding.png").stat().st_size > 2000


def test_the_sums_of_the_adding_problem():
    x, sums = example("adding").sequences(np.random.default_rng(0), 10, 50)
    numbers, marks = x[:, :, 0], x[:, :, 1]
    assert (marks[:5].sum(axis=0) == 1).all()
    assert (marks[5:].sum(axis=0) == 1).all()
    np.testing.assert_allclose(sums[:, 0], (numbers * marks).sum(axis=0), rtol=1e-6)


def test_reber(capsys):
    reber = example("reber")
    solved = reber.main(["--seeds", "2", "--strings", "20", "--test-strings", "5", "--hidden", "4",
                         "--epochs", "1"])
    assert solved == 0  # after two updates
    assert "lstm: 0 of 2 seeds" in capsys.readouterr().out


def test_the_strings_of_the_grammar():
    reber, rng = example("reber"), np.random.default_rng(0)
    for _ in range(200):
        string, legal = reber.string(rng)
        assert len(string) == len(legal) >= 9
        assert all(symbol in may for symbol, may in zip(string, legal, strict=True))
        assert (string[0], string[1], string[-1]) == ("B", string[-2], "E")
        assert string[2:-2] in {"BTXSE", "BPVVE"} or len(string[2:-2]) > 5
        assert string[2:-2].count("E") == 1


def test_who_knows_the_grammar_makes_no_wrong_predictions():
    """And who knows all but the last but one symbol is wrong there alone."""
    reber = example("reber")
    strings = reber.unseen_strings(np.random.default_rng(1), 30, {"BTBTXSETE"})
    assert "BTBTXSETE" not in strings
    y = np.zeros((max(map(len, strings)) - 1, len(strings), 7))
    for b, legal in enumerate(strings.values()):
        for t, may in enumerate(legal[1:]):
            y[t, b, [reber.SYMBOLS.index(symbol) for symbol in may]] = 1
    assert reber.wrong_predictions(lambda x, lengths: (y, None), strings) == (0, 0)
    for b, string in enumerate(strings):
        y[len(string) - 3, b, [1, 2]] = 1
    assert reber.wrong_predictions(lambda x, lengths: (y, None), strings) == (30, 30)


def test_gradient_flow(tmp_path):
    pytest.importorskip("matplotlib")
    factors = example("gradient_flow").main([
        str(tmp_path / "flow.png"), "--steps", "30", "--hidden", "8", "--batch-size", "2"])
    assert (tmp_path / "flow.png").stat().st_size > 2000
    assert factors["RNN"] < factors["LSTM"] < 1 < factors["ReLU, W = 1.2 I"]


def test_chorales(tmp_path):
    pytest.importorskip("matplotlib")
    losses = example("chorales").main([
        str(chorales_file(tmp_path / "notes.npz")), "--hidden", "4", "--batch-size", "2",
        "--epochs", "2", "--plot", str(tmp_path / "notes.png")])
    assert list(losses) == ["RNN", "GRU", "LSTM"]
    assert all(20 < loss < 70 for loss in losses.values())  # 88 ln 2 = 61 for guessing
    assert (tmp_path / "notes.png").stat().st_size > 2000


def test_hourly(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    tested = example("hourly").main(["--weeks", "3", "--days", "2", "--hidden", "4", "--epochs",
                                     "2", "--plot", str(tmp_path / "hourly.png")])
    assert list(tested) == ["calendar", "calendar and temperature"]
    assert [len(each.forecasts) for each in tested.values()] == [2, 2]
    assert capsys.readouterr().out.count("seasonal naive") == 2
    assert (tmp_path / "hourly.png").stat().st_size > 2000


def test_a_town_heats_when_it_is_cold_and_sleeps_at_night():
    times, load, temperature = example("hourly").town(8 * 7 * 24, 0)
    hour, is_weekend = np.arange(len(load)) % 24, np.arange(len(load)) // 24 % 7 >= 5
    assert (times[is_weekend].astype("datetime64[D]").astype(object)[0].weekday()) == 5
    assert load[hour == 3].mean() < load[hour == 12].mean()
    assert load[is_weekend].mean() < load[~is_weekend].mean()
    noon = hour == 12
    assert np.corrcoef(load[noon], temperature[noon])[0, 1] < -0.5


def vowels_file(path, seed):
    """Write recordings, of 3 to 5 steps of 2 numbers, whose sign is the speaker's."""
    rng = np.random.default_rng(seed)
    lines = ["@timeStamps false", "@classLabel true 1 2", "@data"]
    for speaker in [1, 2] * 6:
        numbers = (2 * speaker - 3) * rng.uniform(1, 2, (2, rng.integers(3, 6)))
        lines.append(":".join([*(",".join(map(str, each)) for each in numbers), str(speaker)]))
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def test_grid_search(tmp_path, capsys):
    pytest.importorskip("sklearn")
    best, accuracy = example("grid_search").main([
        vowels_file(tmp_path / "train.ts", 0), vowels_file(tmp_path / "test.ts", 1), "--epochs",
        "5", "--folds", "2", "--jobs", "1"])
    assert set(best) == {"cell", "hidden_size", "bidirectional", "lr"}
    assert accuracy == 1
    assert "33 trainings in" in capsys.readouterr().out


def test_guitar_amp(tmp_path, capsys):
    """A string, made and played, and the same again from its file."""
    rng = np.random.default_rng(0)
    model = amplifier_files.written(
        tmp_path / "amp.nam", amplifier_files.nam_content(amplifier_files.random_lstm(rng)))
    guitar_amp, dry, wet = example("guitar_amp"), str(tmp_path / "dry.wav"), tmp_path / "wet.wav"
    string = guitar_amp.plucked(rng, 0.25, 48000)
    guitar_amp.write(dry, string, 48000)
    assert guitar_amp.main([str(model), str(wet), "--input", dry, "--block", "50"]) > 0
    found, rate = guitar_amp.read(str(wet))
    read, _ = guitar_amp.read(dry)
    y, _ = crnn.from_nam(model)(read[:, None])
    assert (rate, len(found)) == (48000, len(string))
    np.testing.assert_allclose(found, y[:, 0].clip(-1, 1), rtol=0, atol=1e-4)
    guitar_amp.main([str(model), str(wet), "--seconds", "0.1"])
    assert "times as fast as it sounds" in capsys.readouterr().out


def test_a_plucked_string_sounds_and_dies_away():
    string = example("guitar_amp").plucked(np.random.default_rng(0), 1.0, 48000, pitch=100.0)
    spectrum = abs(np.fft.rfft(string[:9600]))
    assert spectrum.argmax() * 5 % 100 <= 5  # a multiple of the pitch
    assert abs(string[-4800:]).max() < abs(string[:4800]).max() / 2


def test_noise_suppressor(tmp_path, capsys):
    """Of random weights: step by step it gives what it gives at once."""
    rng, sizes = np.random.default_rng(0), {"vad": (24, 24), "noise": (90, 48),
                                            "denoise": (114, 96)}
    arrays = {"x_features": rng.normal(size=(5, 42)), "c_gains": np.zeros((5, 22))}
    for name, inputs, outputs in (("input_dense", 42, 24), ("denoise_output", 96, 22)):
        arrays |= {f"{name}.kernel": rng.normal(size=(inputs, outputs)) / 8,
                   f"{name}.bias": rng.normal(size=outputs) / 8}
    for name, (inputs, H) in sizes.items():
        arrays |= {f"{name}_gru.kernel": rng.normal(size=(inputs, 3 * H)) / 8,
                   f"{name}_gru.recurrent_kernel": rng.normal(size=(H, 3 * H)) / 16,
                   f"{name}_gru.bias": rng.normal(size=3 * H) / 8}
    save_file(arrays, tmp_path / "weights.safetensors")
    noise_suppressor = example("noise_suppressor")
    assert noise_suppressor.main([str(tmp_path / "weights.safetensors"), "--frames", "3"]) <= 1
    assert "5 frames" in capsys.readouterr().out
    suppressor = noise_suppressor.Suppressor(arrays, "float64")
    whole = suppressor(arrays["x_features"])
    steps = [suppressor.step(each) for each in arrays["x_features"]]
    np.testing.assert_allclose(steps, whole, rtol=0, atol=1e-14)
    assert whole.std() > 0.05


def test_the_noise_suppressor_gives_the_gains_of_the_c_program(shared):
    path = shared.parent / "models" / "rnnoise_v0_3gru_relu.safetensors"
    if not path.exists():
        pytest.skip("the published networks are not here")
    noise_suppressor, arrays = example("noise_suppressor"), load_file(path)
    suppressor = noise_suppressor.Suppressor(arrays, "float64")
    gains = suppressor(arrays["x_features"].astype(float))
    np.testing.assert_allclose(gains, arrays["expected_gains"], rtol=0, atol=1e-10)
    assert noise_suppressor.main([str(path), "--frames", "3"]) < 1e-4


def test_char_rnn(tmp_path):
    (tmp_path / "text").write_text("all work and no play, " * 50)
    loss = example("char_rnn").main([str(tmp_path / "text"), "--hidden", "8", "--batch-size", "2",
                                     "--steps", "10", "--epochs", "12", "--validation", "0.1"])
    assert loss < 2.8


# --- what they reach -----------------------------------------------------------------------------


@pytest.mark.slow
def test_a_town_is_forecast_better_with_its_temperature():
    tested = example("hourly").main([])
    calendar, temperature = (each.summary() for each in tested.values())
    assert temperature["forecaster"]["mape"] < 0.75 * calendar["forecaster"]["mape"]
    assert calendar["forecaster"]["mape"] < 0.75 * calendar["seasonal naive"]["mape"]


@pytest.mark.slow
def test_the_best_of_a_grid_knows_the_speakers(shared):
    pytest.importorskip("sklearn")
    parts = [str(shared / f"JapaneseVowels_{part}.ts") for part in ("TRAIN", "TEST")]
    assert example("grid_search").main(parts)[1] >= 0.97


@pytest.mark.slow
def test_gates_solve_the_adding_problem():
    errors = example("adding").main(["--quiet"])
    assert errors["RNN"] > 0.14  # guessing has 0.167
    assert errors["GRU"] < 0.01
    assert errors["LSTM"] < 0.01


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_gates_solve_the_embedded_reber_grammar(cell):
    assert example("reber").main(["--cell", cell]) >= 9


@pytest.mark.slow
def test_chorales_reach_the_published_figures(shared):
    losses = example("chorales").main([str(shared / "jsb_chorales.npz"), "--quiet"])
    assert losses["RNN"] <= 8.91
    assert losses["GRU"] <= 8.75
    assert losses["LSTM"] <= 8.75


def run(name, *arguments, folder):
    """Run an example in a process of its own; return what it prints."""
    done = subprocess.run(
        [sys.executable, FOLDER / f"{name}.py", *arguments], cwd=folder, text=True,
        capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_ranks(tmp_path):
    """Of one rank; it goes on where it was."""
    pytest.importorskip("mpi4py")
    few = ["--steps", "8", "--sequences", "40", "--hidden", "4", "--batch-size", "10"]
    printed = run("ranks", *few, "--epochs", "2", folder=tmp_path)
    assert printed.startswith("epoch 1: mean squared error ")
    assert printed.count("\n") == 2
    assert run("ranks", *few, "--epochs", "3", folder=tmp_path).startswith("epoch 3:")


@pytest.mark.slow
def test_words_are_said_as_g2p_en_says_them(tmp_path):
    if importlib.util.find_spec("g2p_en") is None:
        pytest.skip("g2p-en is not installed")
    printed = run("g2p", folder=tmp_path)
    assert "\n1000 of 1000 words are said alike;" in printed


@pytest.mark.slow
def test_many_series(tmp_path):
    pytest.importorskip("distributed")
    printed = run("many_series", "--series", "4", "--epochs", "2", folder=tmp_path)
    assert printed.startswith("4 networks in ")

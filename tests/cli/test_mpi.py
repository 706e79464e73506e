"""Ranks of MPI, in processes of their own; skipped without mpi4py and mpiexec."""

import importlib.util
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import mpi_ranks
import numpy as np
import pytest
from command_line import PROSE, SMALL
from processes import command, environment, fresh

from crnn import text
from crnn.files import kinds

pytestmark = pytest.mark.no_backend
MPIEXEC = shutil.which("mpiexec", path=Path(sys.executable).parent) or shutil.which("mpiexec")
needs_mpi = pytest.mark.skipif(
    not (MPIEXEC and importlib.util.find_spec("mpi4py")), reason="mpi4py or mpiexec is missing")
HANGS = 100  # seconds; whatever ends does so long before


def start(size, *arguments, folder):
    """Start Python on some ranks."""
    return subprocess.Popen(
        [MPIEXEC, "-n", str(size), *command(*map(str, arguments))], cwd=folder, text=True,
        env=environment(CRNN_NUM_THREADS="1"), stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def run(size, *arguments, folder):
    """Run Python on some ranks; return the exit code, and what was printed."""
    process = start(size, *arguments, folder=folder)
    try:
        out, err = process.communicate(timeout=HANGS)
    finally:
        process.kill()
    return process.returncode, out, err


def trained(size, folder, event="nothing"):
    return run(size, mpi_ranks.__file__, folder, event, folder=folder)


@needs_mpi
def test_ranks_train_as_one_process(tmp_path):
    """A hundred updates in float64, to 1e-12."""
    wanted, history = mpi_ranks.train(None, mpi_ranks.data())
    assert history["update"][-1] > 100
    for size in (1, 2, 4):
        (tmp_path / "checkpoint").unlink(missing_ok=True)
        assert trained(size, tmp_path) == (0, "", "")
        np.testing.assert_allclose(
            np.load(tmp_path / f"{size}.npy"), wanted.vector, rtol=1e-12, atol=1e-12)


@needs_mpi
@pytest.mark.parametrize("event", ["raise", "kill"])
def test_a_rank_that_fails_ends_all_and_the_checkpoint_is_whole(tmp_path, event):
    """It is from the end of an epoch, and training goes on from there with other ranks."""
    code, _, err = trained(3, tmp_path, event)
    assert code != 0
    assert ("RuntimeError: nobody catches this" in err) == (event == "raise")
    rows = kinds.read(tmp_path / "checkpoint", kinds.CHECKPOINT).header["training"]["progress"]
    assert rows["epoch"] in (1, 2)
    assert trained(2, tmp_path) == (0, "", "")
    wanted, _ = mpi_ranks.train(None, mpi_ranks.data())
    np.testing.assert_allclose(np.load(tmp_path / "2.npy"), wanted.vector, rtol=1e-12, atol=1e-12)


TRAIN = ["-m", "crnn", "train", "prose.txt", *SMALL, "--dtype", "float64", "--mpi"]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "prose.txt").write_text(PROSE)
    return tmp_path


@needs_mpi
@pytest.mark.parametrize("lines", [[], ["--lines", "--batch-size", "5"]])
def test_the_command_line_trains_on_ranks(folder, lines):
    """Also when it goes on with another number of them; only one of them prints."""
    for size, options in (
        (1, ["--epochs", "4", "-o", "one"]),
        (2, ["--epochs", "2", "--schedule", "constant", "-o", "two"]),
        (3, ["--epochs", "4", "--schedule", "constant", "-o", "two", "--resume"]),
        (1, ["--epochs", "4", "--schedule", "constant", "-o", "one"]),
    ):
        code, out, err = run(size, *TRAIN, *lines, *options, folder=folder)
        assert (code, err) == (0, "")
        ranks = f"{size} rank{'s' * (size > 1)}; 1 thread of this one"
        assert out.splitlines().count(ranks) == out.count("epoch 4/4") + out.count("epoch 2/2") == 1
    one, two = (text.load_model(folder / name) for name in ("one", "two"))
    np.testing.assert_allclose(two[0].vector, one[0].vector, rtol=1e-12, atol=1e-12)
    assert two[2]["updates"] == one[2]["updates"]


@needs_mpi
def test_what_is_wrong_is_said_once(folder):
    code, out, err = run(3, "-m", "crnn", "train", "nothing.txt", "--mpi", folder=folder)
    assert (code, out) == (1, "")
    assert err.count("crnn: No such file or directory: nothing.txt") == 1
    code, _, err = run(2, "-m", "crnn", "train", "-", "--mpi", folder=folder)
    assert code == 1
    assert err.count("crnn: standard input reaches one process only; give a file") == 1


@needs_mpi
def test_ctrl_c_stops_all_and_says_how_to_go_on(folder):
    process = start(2, *TRAIN, "--epochs", "100000", folder=folder)
    try:
        for line in process.stdout:
            if line.startswith("epoch 3/"):
                process.send_signal(signal.SIGINT)
                break
        _, err = process.communicate(timeout=HANGS)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "crnn: training stopped after update " in err
    assert "; the checkpoint is that of the end of epoch " in err
    assert err.count("; go on with: mpiexec -n 2 crnn train prose.txt") == 1
    assert kinds.read(folder / "model.safetensors.checkpoint", kinds.CHECKPOINT)


FAKE = """
    IN_PLACE, COMM_TYPE_SHARED = "in place", "shared"

    class COMM_WORLD:
        Get_rank, Get_size = staticmethod(lambda: 1), staticmethod(lambda: 3)
        Allreduce = staticmethod(lambda how, vector: None)

        @staticmethod
        def Split_type(kind):
            return COMM_WORLD

        @staticmethod
        def allgather(own):
            return [own, {min(own)}, {-1}]

        @staticmethod
        def Abort(code):
            print("all ended with", code, flush=True)
"""


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """A folder with an mpi4py that has three ranks and knows the second one."""
    (tmp_path / "mpi4py").mkdir()
    (tmp_path / "mpi4py" / "__init__.py").write_text("")
    (tmp_path / "mpi4py" / "MPI.py").write_text(textwrap.dedent(FAKE))
    return str(tmp_path)


def test_shares_and_threads_of_a_rank(fake):
    fresh("""
        import sys
        sys.path.insert(0, sys.argv[1])
        import numpy as np
        import crnn
        from crnn.engine import processors
        processors.available = lambda root=None: 8
        processors.os.sched_getaffinity = lambda pid: set(range(8))
        from crnn import mpi
        assert (mpi.rank, mpi.size, mpi.all_reduce.rank, mpi.all_reduce.size) == (1, 3, 1, 3)
        assert crnn.get_num_threads() == 7  # seven and a half
        assert mpi.share([3, 4, 5, 6, 7]) == [4, 7]
        x = np.arange(24).reshape(2, 4, 3)
        assert np.array_equal(mpi.share(x), x[1:2])
        assert np.array_equal(mpi.share(x, axis=1), x[:, 1:2])
        first, second = mpi.share((x, x[..., 0]), axis=1)
        assert np.array_equal(first, x[:, 1:2])
        assert np.array_equal(second, x[:, 1:2, 0])
        whole = crnn.batches([np.arange(n) for n in range(2, 8)], batch_size=4, shuffle=False)
        assert [lengths.tolist() for _, _, lengths in whole] == [[1, 2, 3, 4], [5, 6]]
        shared = mpi.share(whole)
        assert [lengths.tolist() for _, _, lengths in shared] == [[2], [6]]
        """, fake)


def test_an_exception_ends_all_ranks(fake):
    found = subprocess.run(
        command("-c", "import sys; sys.path.insert(0, sys.argv[1]); from crnn import mpi; 1 / 0",
                fake), env=environment(), capture_output=True, text=True, check=False)
    assert found.stdout == "all ended with 1\n"
    assert "ZeroDivisionError" in found.stderr


def test_threads_that_the_environment_says(fake):
    fresh("""
        import sys
        sys.path.insert(0, sys.argv[1])
        import crnn.mpi
        assert crnn.get_num_threads() == 5
        """, fake, OMP_NUM_THREADS="5")


def test_without_mpi4py_the_extra_is_named():
    fresh("""
        import sys
        sys.modules["mpi4py"] = None
        try:
            import crnn.mpi
        except ImportError as error:
            assert "pip install 'crnn[mpi]'" in str(error)
        else:
            raise AssertionError
        """)
    found = subprocess.run(
        command("-c", "import sys; sys.modules['mpi4py'] = None; from crnn import cli;"
                " sys.exit(cli.main(['train', '--mpi']))"),
        env=environment(), capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (1, "")
    assert found.stderr == (
        "crnn: crnn.mpi needs mpi4py and an MPI; install them with: pip install 'crnn[mpi]'\n")


def test_only_rank_0_prints(fake, tmp_path):
    """Another one is silent, and says what went wrong only if rank 0 does not end it before."""
    (tmp_path / "prose.txt").write_text(PROSE)
    found = subprocess.run(
        command("-c", "import sys; sys.path.insert(0, sys.argv[1]); from crnn import cli;"
                " sys.exit(cli.main(['train', 'prose.txt', '--mpi', '--validation', '0.9999']))",
                fake),
        env=environment(), cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (1, "all ended with 1\n")
    assert found.stderr.startswith("crnn: the text has ")

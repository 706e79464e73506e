"""What every test shares: the suite runs once on each backend."""

import sys
from pathlib import Path

import numpy as np
import pytest

import crnn
from crnn.kernels import pool

pytest.register_assert_rewrite(
    "bug_checks", "cell_networks", "command_line", "forged_files", "passes", "small_network",
    "worked_example",
)
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"  # where it is there
BACKENDS = ("compiled", "reference")


def pytest_generate_tests(metafunc):
    """Run a test once a backend, unless it or its module is marked ``no_backend``."""
    if not metafunc.definition.get_closest_marker("no_backend"):
        metafunc.parametrize("backend", BACKENDS, indirect=True)


@pytest.fixture(autouse=True)
def backend(request, monkeypatch):
    """Name of the backend that networks use unless they are told otherwise."""
    if request.node.get_closest_marker("no_backend"):
        return None
    monkeypatch.setenv("CRNN_BACKEND", request.param)
    return request.param


@pytest.fixture(autouse=True)
def threads_whatever_else_runs():
    """Have passes split over threads where a busy machine would make that stop for a while."""
    before = pool.set_thresholds(times_alone=0)
    yield
    pool.set_thresholds(*before)


@pytest.fixture
def small_work_is_split():
    """Have small batches split over threads too, and put back how many there were."""
    before, thresholds = crnn.get_num_threads(), pool.set_thresholds(multiplications=0)
    yield
    pool.set_thresholds(*thresholds)
    crnn.set_num_threads(before)


@pytest.fixture
def switching():
    """Make Python change threads as often as it can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.fixture
def one_torch_thread():
    """PyTorch computes in one thread, as it would not beside other tests."""
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def rng():
    """A seeded generator: the same numbers in every run."""
    return np.random.default_rng(20261120)


@pytest.fixture
def shared():
    """The folder with real data; the test is skipped where it is not there."""
    if not SHARED.is_dir():
        pytest.skip("the shared data are not here")
    return SHARED


def pytest_report_header():
    info = crnn.build_info()
    return f"crnn {info['version']}, {info['compiler']}, {info['instruction_set']}"

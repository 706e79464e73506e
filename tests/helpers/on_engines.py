"""Networks trained beside each other on an engine: python on_engines.py loky|dask|killed|ray

What comes back has the bits of a training in this process, also where a worker is killed in the
middle, and no worker uses more than the one thread that it was given.
"""

import contextlib
import os
import signal
import sys
import threading
import time

import joblib
import numpy as np

import crnn
from crnn.kernels import pool
from crnn.sklearn import SequenceClassifier

WORKERS, NETWORKS = 2, 4


def ensemble(n_jobs, epochs=3):
    """Return the parameters of an ensemble."""
    rng = np.random.default_rng(0)
    X = [rng.standard_normal((length, 3)) for length in rng.integers(5, 15, 40)]
    classifier = SequenceClassifier(
        n_estimators=NETWORKS, n_jobs=n_jobs, epochs=epochs, hidden_size=8, random_state=0)
    return [net.vector for net in classifier.fit(X, rng.integers(0, 3, 40)).nets_]


def forecasters(n_jobs):
    """Return the parameters of a network for each of some series."""
    rng = np.random.default_rng(0)
    series = [rng.standard_normal(60).cumsum() for _ in range(NETWORKS)]
    forecaster = crnn.Forecaster(shared=False, hidden_size=4, epochs=5, seed=0, n_jobs=n_jobs)
    return [net.vector for net in forecaster.fit(series).fitted.networks]


def threads_here():
    """Return how many threads a pass may use in this process, and how many have ever helped."""
    return crnn.get_num_threads(), len(pool.worker_ids())


@contextlib.contextmanager
def loky():
    """Joblib's own processes."""
    with joblib.parallel_config("loky", inner_max_num_threads=1):
        yield


@contextlib.contextmanager
def dask():
    """A Dask cluster of processes; yields its client."""
    from dask.distributed import Client, LocalCluster

    with LocalCluster(n_workers=WORKERS, threads_per_worker=1, dashboard_address=None) as cluster, \
            Client(cluster) as client, joblib.parallel_config("dask"):
        yield client


@contextlib.contextmanager
def ray():
    """A Ray session."""
    import ray
    from ray.util.joblib import register_ray

    ray.init(num_cpus=WORKERS, include_dashboard=False, log_to_driver=False)
    register_ray()
    try:
        with joblib.parallel_config("ray"):
            yield
    finally:
        ray.shutdown()


def check(engine):
    """Train on an engine, and compare."""
    with engine():
        for train in (ensemble, forecasters):
            for found, wanted in zip(train(WORKERS), train(1), strict=True):
                assert np.array_equal(found, wanted)
        tasks = [joblib.delayed(threads_here)() for _ in range(4 * WORKERS)]
        assert set(joblib.Parallel(WORKERS)(tasks)) == {(1, 0)}


def check_killed():
    """Kill one of two workers while it trains."""
    wanted, killed = ensemble(1, epochs=400), []

    def kill(client):
        pids = client.run(os.getpid)
        while not killed:
            time.sleep(0.2)
            busy = [worker for worker, tasks in client.processing().items() if tasks]
            if busy:
                os.kill(pids[busy[0]], signal.SIGKILL)
                killed.append(pids[busy[0]])

    with dask() as client:
        thread = threading.Thread(target=kill, args=[client])
        thread.start()
        found = ensemble(WORKERS, epochs=400)
        thread.join()
        assert all(map(np.array_equal, found, wanted))
        assert killed[0] not in client.run(os.getpid).values()


if __name__ == "__main__":
    name = sys.argv[1]
    check_killed() if name == "killed" else check({"loky": loky, "dask": dask, "ray": ray}[name])
    print("the same")

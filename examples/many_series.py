"""A network of its own for each of 500 series, on a Dask cluster.

    python examples/many_series.py                              a cluster of processes, made here
    python examples/many_series.py --address tcp://host:8786    one that there is

Each series has a level, a trend and a week of its own, and noise. The last two weeks are held out;
forecasts of them are compared with the week before (seasonal naive).

Needs dask[distributed] and joblib (pip install 'dask[distributed]' 'crnn[sklearn]').
"""

import argparse
import time

import joblib
import numpy as np

import crnn

WEEK, HELD_OUT = 7, 14


def make_series(count, steps, seed):
    """Return so many series, (steps, count)."""
    rng = np.random.default_rng(seed)
    days = np.arange(steps)[:, None]
    weeks = rng.normal(0, 5, (WEEK, count))[days[:, 0] % WEEK]
    noise = rng.normal(0, 2, (steps, count))
    for day in range(1, steps):  # what comes after a good day is better
        noise[day] += 0.6 * noise[day - 1]
    return rng.uniform(50, 100, count) + rng.normal(0, 0.05, count) * days + weeks + noise


def main(arguments=None):
    """Run the command line; return how far forecasts and the naive ones are off, on average."""
    parser = argparse.ArgumentParser(description="A network for each of many series, on Dask.")
    add = parser.add_argument
    add("--series", type=int, default=500)
    add("--steps", type=int, default=200, help="of each series, with the last two weeks")
    add("--hidden", type=int, default=8)
    add("--epochs", type=int, default=30)
    add("--workers", type=int, default=2, help="processes of a cluster that is made here")
    add("--address", help="of the scheduler of a cluster that there is")
    add("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    from dask.distributed import Client

    series = make_series(options.series, options.steps, options.seed)
    past, future = series[:-HELD_OUT], series[-HELD_OUT:]
    forecaster = crnn.Forecaster(
        season=WEEK, hidden_size=options.hidden, epochs=options.epochs, lr=0.01, shared=False,
        n_jobs=-1, seed=options.seed)
    cluster = {"address": options.address} if options.address else {
        "n_workers": options.workers, "threads_per_worker": 1, "dashboard_address": None}
    with Client(**cluster), joblib.parallel_config("dask"):
        start = time.perf_counter()
        forecaster.fit(past)
        seconds = time.perf_counter() - start
    naive = np.tile(past[-WEEK:], (HELD_OUT // WEEK, 1))
    forecast = forecaster.predict(HELD_OUT).mean
    errors = [np.abs(each - future).mean() for each in (forecast, naive)]
    print(f"{options.series} networks in {seconds:.0f} s; off by {errors[0]:.2f}, and the week"
          f" before by {errors[1]:.2f}")
    return errors


if __name__ == "__main__":
    main()

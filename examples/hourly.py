"""How much electricity will a town use tomorrow, hour by hour, if it is known how cold it will be?

    python examples/hourly.py --plot hourly.png

The load of each hour follows the time of day and the day of the week, and in cold weather people
heat. The last days are forecast, each from all hours before it: with what the calendar says, and
with the temperature, too, which in life would come from a weather forecast. The data are made here;
in their place put your own three columns: times, load and temperature.
"""

import argparse

import numpy as np

import crnn
from crnn import plots

DAY = 24
WARM = 16  # degrees, above which nobody heats


def town(hours, seed):
    """Return the times, the load and the temperature of so many hours, (hours,) each."""
    rng = np.random.default_rng(seed)
    times = np.datetime64("2025-01-06T00", "h") + np.arange(hours)         # a Monday
    hour, day = np.arange(hours) % DAY, np.arange(hours) // DAY
    winter = -8 * np.cos(2 * np.pi * (day - 15) / 365)
    sun = 4 * np.sin(2 * np.pi * (hour - 9) / DAY)
    temperature = 8 + winter + sun + wandering(rng, 0.99, hours)
    habits = 60 + 15 * np.sin(2 * np.pi * (hour - 8) / DAY)
    habits += 6 * np.sin(4 * np.pi * (hour - 6) / DAY)
    at_work = np.where(day % 7 < 5, 1, 0.85)
    heating = 1.2 * np.maximum(WARM - temperature, 0)
    return times, habits * at_work + heating + wandering(rng, 0.8, hours), temperature


def wandering(rng, stays, steps):
    """Return an autoregressive series of the first order, (steps,)."""
    values = np.zeros(steps)
    for t in range(1, steps):
        values[t] = stays * values[t - 1] + rng.normal(0, 0.6)
    return values


def main(arguments=None):
    """Forecast; return the two backtests, of the calendar alone, and with the temperature."""
    parser = argparse.ArgumentParser(
        description="Forecast a town's hourly load with the temperature as a covariate.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--weeks", type=int, default=12, help="of the data")
    add("--days", type=int, default=7, help="at the end that are forecast, one after the other")
    add("--hidden", type=int, default=32, metavar="H", help="hidden units")
    add("--epochs", type=int, default=500, help="times through the series at most")
    add("--seed", type=int, default=0, help="of the data and the initial parameters")
    add("--plot", metavar="FILE", help="draw the forecast of the last two days (PNG, SVG or PDF)")
    options = parser.parse_args(arguments)

    times, load, temperature = town(options.weeks * 7 * DAY, options.seed)
    # As the network is told the hour and the weekday, it forecasts the load itself better than its
    # differences to the day before (which would be of the temperature, too).
    forecaster = crnn.Forecaster(
        hidden_size=options.hidden, season=DAY, difference=None, calendar=("hour", "weekday"),
        epochs=options.epochs, seed=options.seed)
    tested = {}
    for name, X in (("calendar", None), ("calendar and temperature", temperature[:, None])):
        tested[name] = forecaster.backtest(
            load, DAY, X, folds=options.days, refit=False, time=times)
        print(f"{name}:\n{tested[name]}")
    if options.plot:
        known = slice(None, -2 * DAY)
        forecaster.fit(load[known], temperature[known, None], time=times[known])
        forecast = forecaster.predict(2 * DAY, temperature[-2 * DAY :, None])
        before = slice(-7 * DAY, -2 * DAY)
        plots.fan(forecast, (times[before], load[before]), load[-2 * DAY :], options.plot,
                  "load of a town")
    return tested


if __name__ == "__main__":
    main()

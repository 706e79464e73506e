"""Times that follow each other regularly, and what the calendar says of them."""

import numpy as np
import pytest

from crnn.forecasting.calendar import Step, as_times, features_of, step_of

pytestmark = pytest.mark.no_backend

REGULAR = {
    "numbers": ([1700, 1702, 1704], ("number", 2), [1706, 1708]),
    "whole floats": ([1.0, 2.0, 3.0], ("number", 1), [4, 5]),
    "days": (["2024-02-27", "2024-02-28", "2024-02-29"], ("duration", 86_400_000_000),
             ["2024-03-01", "2024-03-02"]),
    "quarters of an hour": (["2024-01-01T23:30", "2024-01-01T23:45"], ("duration", 900_000_000),
                            ["2024-01-02T00:00", "2024-01-02T00:15"]),
    "months": (["1960-10", "1960-11", "1960-12", "1961-01"], ("month", 1), ["1961-02", "1961-03"]),
    "months on the 15th": (["2020-11-15", "2020-12-15", "2021-01-15", "2021-02-15"], ("month", 1),
                           ["2021-03-15", "2021-04-15"]),
    "ends of months": (["2020-01-31", "2020-02-29", "2020-03-31"], ("month end", 1),
                       ["2020-04-30", "2020-05-31"]),
    "months on the 30th": (["2020-11-30", "2020-12-30", "2021-01-30"], ("month", 1),
                           ["2021-02-28", "2021-03-30"]),
    "an offset from UTC": (["2020-01-01T00:00+02:00", "2020-01-01T01:00+02:00"],
                           ("duration", 3_600_000_000), ["2020-01-01T00:00", "2020-01-01T01:00"]),
    "quarters": (["2020-01-01", "2020-04-01", "2020-07-01", "2020-10-01"], ("month", 3),
                 ["2021-01-01", "2021-04-01"]),
    "years": (["2019-01-01", "2020-01-01", "2021-01-01"], ("month", 12),
              ["2022-01-01", "2023-01-01"]),
    "business days": (["2024-05-02", "2024-05-03", "2024-05-06"], ("business day", 1),
                      ["2024-05-07", "2024-05-08"]),
}


@pytest.mark.parametrize("case", REGULAR)
def test_regular_times_go_on(case):
    given, step, after = REGULAR[case]
    times = as_times(given, "time")
    assert step_of(times) == Step(*step)
    np.testing.assert_array_equal(step_of(times).after(times[-1], 2), as_times(after, "time"))


REFUSED = {
    "twice": (["2020-01-01", "2020-01-01", "2020-01-02"], "twice.*row 1 has 2020-01-01"),
    "not sorted": ([3, 1, 2], "not sorted; sort.*row 1 has 1 after 3"),
    "a gap": (["2020-01-01", "2020-01-02", "2020-01-04"], "row 2 has 2020-01-04.*missing='skip'"),
    "no dates": (["monday", "tuesday"], "dates"),
    "fractions": ([0.5, 1.5], "dates, whole numbers"),
    "a missing one": (["2020-01-01", "NaT"], "missing time in row 1"),
    "two axes": ([[1, 2]], "one time for each row"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_times_that_are_not_regular_are_refused(case):
    given, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        step_of(as_times(given, "time"))


def test_features_by_hand():
    times = as_times(["2024-01-01T06:00", "2024-07-04T12:00"], "time")  # a Monday, a Thursday
    found = features_of(times, ("hour", "weekday", "month"))
    np.testing.assert_allclose(found[0], [1, 0, 0, 1, 0, 1], atol=1e-12)
    turn = 2 * np.pi * 3 / 7
    np.testing.assert_allclose(
        found[1], [0, -1, np.sin(turn), np.cos(turn), 0, -1], atol=1e-12)
    assert features_of(times, ()).shape == (2, 0)
    first, last = features_of(as_times(["2024-01-01", "2024-12-31"], "time"), ("yearday",))
    np.testing.assert_allclose(first, [0, 1], atol=1e-12)
    turn = 2 * np.pi * 365 / 366
    np.testing.assert_allclose(last, [np.sin(turn), np.cos(turn)], atol=1e-12)
    days = features_of(as_times(["2024-01-01", "2024-01-16"], "time"), ("monthday",))
    np.testing.assert_allclose(
        days, [[0, 1], [np.sin(30 * np.pi / 31), np.cos(30 * np.pi / 31)]], atol=1e-12)

"""Series in data frames, and in what `crnn.data.read` returns."""

import numpy as np
import pytest

import crnn

pytestmark = pytest.mark.no_backend
pandas = pytest.importorskip("pandas")
pytest.importorskip("narwhals")
QUICK = {"hidden_size": 4, "epochs": 3, "seed": 0}


@pytest.fixture
def months(rng):
    """Return 40 values of two series by month, with a covariate."""
    date = pandas.date_range("2020-01-01", periods=40, freq="MS")
    return pandas.DataFrame({"date": date, "north": rng.standard_normal(40),
                             "south": rng.standard_normal(40), "promo": rng.standard_normal(40)})


def long(frame, names, first, last):
    """Return a long frame of some rows, the series' rows between each other's."""
    parts = frame[first:last].melt(["date", "promo"], list(names), "shop", "sales")
    return parts.sort_values(["date", "shop"], ascending=[True, False], ignore_index=True)


def test_wide_long_and_arrays_are_the_same(months):
    arrays = crnn.Forecaster(**QUICK).fit(
        months[["south", "north"]].to_numpy()[:30], months.promo.to_numpy()[:30])
    wide = crnn.Forecaster(**QUICK).fit(months[["date", "south", "north", "promo"]][:30], ["promo"])
    rows = crnn.Forecaster(**QUICK).fit(
        long(months, ["south", "north"], 0, 30), ["promo"], id="shop", time="date", value="sales")
    assert rows.fitted.layout.names == wide.fitted.layout.names == ["south", "north"]
    found = [arrays.predict(3, months.promo.to_numpy()[30:33]).mean,
             wide.predict(3, months[["date", "promo"]][30:33]).mean,
             wide.predict(3, months.promo[30:33]).mean,
             rows.predict(3, long(months, ["north", "south"], 30, 33)).mean,
             rows.predict(3, months[["date", "promo"]][30:35]).mean]
    for each in found:
        assert each.tobytes() == found[0].tobytes()
    arrays.update(months[["south", "north"]].to_numpy()[30:33], months.promo.to_numpy()[30:33])
    wide.update(months[30:33][["date", "north", "south", "promo"]], ["promo"])
    rows.update(long(months, ["north", "south"], 30, 33), ["promo"])
    found = [each.predict(2, months.promo.to_numpy()[33:]) for each in (arrays, wide, rows)]
    assert found[0].mean.tobytes() == found[1].mean.tobytes() == found[2].mean.tobytes()
    np.testing.assert_array_equal(found[1].times, np.array(["2022-10-01", "2022-11-01"], "M8[us]"))
    assert found[2]["north"].mean.tolist() == found[0][1].mean.tolist()


def test_a_column_with_an_index_of_dates(months):
    series = months.set_index("date").north
    found = crnn.Forecaster(calendar=("month",), **QUICK).fit(series[:30]).predict(2)
    assert found.names == ["north"]
    assert found.mean.shape == (2,)
    assert str(found.times[0])[:10] == "2022-07-01"
    periods = series.copy()
    periods.index = pandas.PeriodIndex(series.index, freq="M")
    other = crnn.Forecaster(calendar=("month",), **QUICK).fit(periods[:30]).predict(2)
    assert other.mean.tobytes() == found.mean.tobytes()


def test_one_series_may_go_on_under_another_name(months):
    one, other = (crnn.Forecaster(**QUICK).fit(months.north[:30]) for _ in range(2))
    one.update(months.north[30:].rename("now"))
    other.update(months.north[30:].to_numpy())
    assert one.predict(2).mean.tobytes() == other.predict(2).mean.tobytes()


def test_a_column_of_several(months):
    frame = months.assign(date=months.date.dt.strftime("%Y-%m"))
    found = crnn.Forecaster(**QUICK).fit(frame[:30], time="date", value="south").predict(2)
    alone = crnn.Forecaster(**QUICK).fit(months.south[:30]).predict(2)
    assert found.mean.tobytes() == alone.mean.tobytes()
    assert alone.times.tolist() == [30, 31]


def test_what_was_read(months, tmp_path):
    path = tmp_path / "sales.csv"
    months[["date", "north", "promo"]].to_csv(path, index=False)
    found = crnn.Forecaster(**QUICK).fit(crnn.data.read(path), ["promo"])
    wanted = crnn.Forecaster(**QUICK).fit(months[["date", "north", "promo"]], ["promo"])
    future = pandas.DataFrame({"date": pandas.date_range("2023-05-01", periods=2, freq="MS"),
                               "promo": [0.5, -0.5]})
    future.to_csv(path, index=False)
    for each in (found.predict(2, crnn.data.read(path)), found.predict(2, future)):
        assert each.mean.tobytes() == wanted.predict(2, future).mean.tobytes()
    long(months, ["south", "north"], 0, 40).drop(columns="promo").to_csv(path, index=False)
    data = crnn.data.read(path, id="shop")
    several = crnn.Forecaster(**QUICK).fit(data)
    assert several.fitted.layout.names == data.ids.tolist()
    assert several.predict(2)["north"].mean.shape == (2,)


def test_results_as_frames(months):
    one = crnn.Forecaster(**QUICK).fit(months[["date", "north"]]).predict(3).to_pandas()
    assert list(one) == ["time", "forecast", "lower_80", "upper_80", "lower_95", "upper_95"]
    assert one.time.tolist() == list(pandas.date_range("2023-05-01", periods=3, freq="MS"))
    forecast = crnn.Forecaster(**QUICK).fit(months[["date", "north", "south"]]).predict(3)
    both = forecast.to_pandas()
    assert both.series.tolist() == ["north"] * 3 + ["south"] * 3
    assert both.forecast.tolist() == forecast.mean.T.ravel().tolist()
    assert "south" in repr(forecast)
    assert "2023-05-01" in repr(forecast)
    tested = crnn.Forecaster(**QUICK).backtest(months[["date", "north"]], 3, folds=2)
    assert tested.to_pandas().shape == (4, 8)


def test_columns_may_be_numbers(months):
    values = months[["north", "south"]].to_numpy()
    found = crnn.Forecaster(**QUICK).fit(pandas.DataFrame(values, columns=[7, 3]))
    assert found.fitted.layout.names == [7, 3]
    wanted = crnn.Forecaster(**QUICK).fit(values).predict(2)
    assert found.predict(2).mean.tobytes() == wanted.mean.tobytes()
    assert found.predict(2)[3].mean.tolist() == wanted.mean[:, 1].tolist()


def test_a_forecaster_of_columns_with_numbers_is_saved_and_loaded(months, tmp_path):
    rows = pandas.DataFrame({0: ["a"] * 40, 1: months.date, 2: months.north})
    found = crnn.Forecaster(**QUICK).fit(rows, id=0, time=1, value=2)
    found.save(tmp_path / "model")
    again = crnn.Forecaster.load(tmp_path / "model")
    assert again.fitted.layout == found.fitted.layout
    np.testing.assert_array_equal(again.predict(2).mean, found.predict(2).mean)


def test_times_beside_a_column_and_beside_what_was_read(months):
    wanted = crnn.Forecaster(**QUICK).fit(months.set_index("date").north).predict(2)
    data = crnn.data.Dataset([months[["north"]].to_numpy()])
    for y in (months.north, data):
        found = crnn.Forecaster(**QUICK).fit(y, time=months.date).predict(2)
        np.testing.assert_array_equal(found.times, wanted.times)
        np.testing.assert_array_equal(found.mean, wanted.mean)


def test_an_update_may_have_rows_of_some_series_only(months):
    rows = long(months, ["south", "north"], 0, 32)
    names = {"id": "shop", "time": "date", "value": "sales"}
    known = rows.date < months.date[30]
    some = rows[~known & (rows["shop"] == "north")]
    found = crnn.Forecaster(**QUICK).fit(rows[known], ["promo"], **names).update(some, ["promo"])
    whole = crnn.Forecaster(**QUICK).fit(rows[known], ["promo"], **names).update(
        rows[~known], ["promo"])
    assert [str(each)[:7] for each in found.fitted.lasts] == ["2022-06", "2022-08"]
    ahead = pandas.concat([rows[rows["shop"] == "south"][30:], months[32:34].assign(shop="north")])
    ahead_of_all = long(months, ["south", "north"], 32, 34)
    assert found.predict(2, ahead)["north"].mean.tobytes() == (
        whole.predict(2, ahead_of_all)["north"].mean.tobytes())
    with pytest.raises(ValueError, match="0 rows for series 'south'"):
        found.predict(2, ahead[ahead.shop == "north"])
    with pytest.raises(ValueError, match="'west', which was not there in fit"):
        found.update(some.assign(shop="west"), ["promo"])


def test_an_update_from_a_file_may_have_one_of_its_series_only(tmp_path):
    def read(days, shops):
        path = tmp_path / "shops.csv"
        path.write_text("shop,date,sales,promo\n" + "".join(
            f"{shop},2024-01-{day:02d},{np.sin(day) + len(shop)},{day % 3}\n"
            for shop in shops for day in days))
        return crnn.data.read(path, id="shop")

    found = crnn.Forecaster(**QUICK).fit(read(range(1, 21), ["a", "bb"]), ["promo"], value="sales")
    found.update(read(range(21, 23), ["bb"]), ["promo"])
    assert [str(each)[:10] for each in found.fitted.lasts] == ["2024-01-20", "2024-01-22"]


REFUSED = {
    "no such column": (lambda f, m: f.fit(m, time="day"), ValueError, "'day'.*'date', 'north'"),
    "texts": (lambda f, m: f.fit(m.assign(date="a")), TypeError, "'date'.*time='date'"),
    "which values": (lambda f, m: f.fit(m, id="date"), ValueError, "value="),
    "duplicate times": (lambda f, m: f.fit(m.assign(date=m.date[0])), ValueError, "twice.*ids"),
    "unsorted times": (lambda f, m: f.fit(m[::-1]), ValueError, "sort the rows"),
    "a row that is missing": (lambda f, m: f.fit(m.drop(7)), ValueError, "row 7.*missing='skip'"),
    "a time zone": (lambda f, m: f.fit(m.assign(date=m.date.dt.tz_localize("UTC"))), ValueError,
                    "tz_localize"),
    "an index with a time zone": (
        lambda f, m: f.fit(m.set_index(m.date.dt.tz_localize("UTC")).north), ValueError,
        "index.*tz_convert"),
    "a row without an id": (
        lambda f, m: f.fit(m.assign(shop=["a"] * 39 + [None]), id="shop", value="north"),
        ValueError, "'shop', of ids, has none in row 39"),
    "times beside a frame": (lambda f, m: f.fit(m[["north"]], time=m.date), TypeError,
                             "time is a Series; y is a frame"),
    "an id of one column": (lambda f, m: f.fit(m.north, id="shop"), TypeError, "y is one column"),
    "an id of what was read": (
        lambda f, m: f.fit(crnn.data.Dataset([np.zeros((9, 1))]), id="shop"), TypeError,
        r"crnn\.data\.read\(path, id="),
    "too few times of a column": (lambda f, m: f.fit(m.north, time=m.date[:5]), ValueError,
                                  "5 items.*40 values"),
    "no covariate": (lambda f, m: f.fit(m, ["price"]), ValueError, "'price'"),
    "another time": (lambda f, m: f.predict(2, m[["date", "promo"]]), ValueError,
                     "2020-01-01.*2023-05-01"),
    "no column": (lambda f, m: f.predict(2, m[["date", "north"]]), ValueError, "'promo'"),
    "an update that was there": (lambda f, m: f.update(m[-2:], ["promo"]), ValueError,
                                 "2023-03-01.*2023-05-01"),
    "an update of others": (lambda f, m: f.update(m[["date", "north", "promo"]], ["promo"]),
                            ValueError, "as y did"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_frames_that_do_not_fit_are_refused(case, months):
    action, kind, message = REFUSED[case]
    forecaster = crnn.Forecaster(**QUICK).fit(months, ["promo"])
    before = forecaster.fitted
    with pytest.raises(kind, match=message):
        action(forecaster, months)
    assert forecaster.fitted is before


def test_polars(months):
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({name: months[name].to_numpy() for name in months})
    found = crnn.Forecaster(**QUICK).fit(frame[:30], ["promo"]).predict(3, frame[30:33])
    wanted = crnn.Forecaster(**QUICK).fit(months[:30], ["promo"]).predict(3, months[30:33])
    assert found.mean.tobytes() == wanted.mean.tobytes()
    assert found.times.tolist() == wanted.times.tolist()

"""CSV files: columns found and given, sequences put together, messages with line and column."""

import tracemalloc

import data_files
import numpy as np
import pytest

import crnn

pytestmark = pytest.mark.no_backend

# Fixtures, which pytest looks for in this module.
read_as, refused, written = data_files.read_as, data_files.refused, data_files.written

LONG = ("ID,Date,speed,Label,slope\na,2020-01-01,1,walk,10\na,2020-01-02,2,walk,20\n"
        "b,2020-01-01,3,run,30\n")
WIDE = "label,0,1,2\n1,0.5,1.5,2.5\n2,3.5,4.5,\n"


def as_lists(data):
    return [each.tolist() for each in data.sequences]


def test_long_form(read_as):
    data = read_as("a.csv", LONG)
    assert as_lists(data) == [[[1, 10], [2, 20]], [[3, 30]]]
    assert data.labels.tolist() == ["walk", "run"]
    assert data.ids.tolist() == ["a", "b"]
    assert data.features == ["speed", "slope"]
    np.testing.assert_array_equal(data.times[0], np.array(["2020-01-01", "2020-01-02"], "M8[D]"))
    assert data.times[1].dtype == data.times[0].dtype


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_other_delimiters_and_ends_of_lines(read_as, delimiter):
    content = LONG.replace(",", delimiter).replace("\n", "\r\n")
    assert as_lists(read_as("a.tsv", content)) == [[[1, 10], [2, 20]], [[3, 30]]]


def test_quotes_empty_lines_and_spaces(read_as):
    data = read_as("a.csv", '\n"id"," x, y "\n\n"a ""b""\n c", 1 \n"a ""b""\n c",""\n')
    assert data.features == ["x, y"]
    assert data.ids.tolist() == ['a "b"\n c']
    np.testing.assert_equal(data.sequences[0], [[1], [np.nan]])


def test_rows_of_sequences_between_each_other(read_as, refused):
    content = "id,t,x\n2,0,1\n1,0,2\n2,1,3\n1,5,4\n"
    data = read_as("a.csv", content)
    assert as_lists(data) == [[[1], [3]], [[2], [4]]]
    assert data.ids.tolist() == [2, 1]
    assert [each.tolist() for each in data.times] == [[0, 1], [0, 5]]
    without = "\n".join(",".join(row.split(",")[::2]) for row in content.split())
    assert refused("a.csv", without).startswith(
        "FILE has in line 4 again a row of '2' after rows of others; sort the rows by id, or name")


def test_a_single_sequence(read_as):
    data = read_as("a.csv", "Date,a,b\n1949-01,1,2\n1949-02,3,4\n")
    assert (as_lists(data), data.ids, data.labels) == ([[[1, 2], [3, 4]]], None, None)
    assert data.times[0].astype(str).tolist() == ["1949-01", "1949-02"]
    plain = read_as("a.csv", "1,2\n3,4\n5,6\n")
    assert (as_lists(plain), plain.features) == ([[[1, 2], [3, 4], [5, 6]]], ["0", "1"])


@pytest.mark.parametrize("name", ["", "YEAR", "month"])
def test_a_first_column_that_may_be_an_index(read_as, name):
    data = read_as("a.csv", f"{name},x\n1700,5\n1701,6\n")
    assert (as_lists(data), data.times[0].tolist()) == ([[[5], [6]]], [1700, 1701])
    long = read_as("a.csv", f"id,{name or 'z'},x\na,3,5\na,1,6\n")
    assert long.times is None


def test_a_series_that_pandas_wrote_without_a_name(read_as):
    data = read_as("a.csv", ",0\n1821,269\n1822,321\n")
    assert (as_lists(data), data.times[0].tolist()) == ([[[269], [321]]], [1821, 1822])
    two = read_as("a.csv", ",0,1\n3,269,1\n4,321,2\n")
    assert (as_lists(two), two.features) == ([[[269, 1], [321, 2]]], ["0", "1"])
    bare = read_as("a.csv", ",1\n3,269\n")
    np.testing.assert_equal(as_lists(bare), [[[np.nan, 1], [3, 269]]])


def test_a_quarter_beside_an_index_is_the_time(read_as):
    data = read_as("a.csv", ",Quarter,x\n0,1970 Q4,5\n1,1971 Q1,6\n")
    assert (data.features, data.times[0].astype(str).tolist()) == (["x"], ["1970-10", "1971-01"])


def test_a_column_of_dates_is_of_times_whatever_it_is_called(read_as, refused):
    data = read_as("a.csv", "id,day,x\na,2020-01-01,5\na,2020-01-02,6\n")
    assert (data.features, data.times[0].astype(str).tolist()) == (
        ["x"], ["2020-01-01", "2020-01-02"])
    assert read_as("a.csv", "day,x\n2020-01-01,5\n", columns="x").times is not None
    assert refused("a.csv", "day,due,x\n2020-01-01,2020-02-01,5\n").startswith(
        "FILE has in line 2, column 'day': '2020-01-01' is not a number")


def test_columns_given_by_name_or_number(read_as):
    content = "who,when,what,kind,x,y\n1,0,A,9,1,2\n1,1,A,8,3,4\n"
    given = {"id": "who", "time": 1, "label": "WHAT"}
    assert as_lists(read_as("a.csv", content, columns=["y", 4], **given)) == [[[2, 1], [4, 3]]]
    assert as_lists(read_as("a.csv", content, columns="x", **given)) == [[[1], [3]]]
    assert read_as("a.csv", content, columns=5, **given).features == ["y"]
    data = read_as("a.csv", content, **given)
    assert (data.features, data.labels.tolist()) == (["kind", "x", "y"], ["A"])


def test_what_is_given_is_not_found_besides(read_as):
    content = "id,series,class,x\n1,7,3,5\n1,7,4,6\n"
    data = read_as("a.csv", content, id="series", columns=["id", "class", "x"])
    assert (as_lists(data), data.labels) == ([[[1, 3, 5], [1, 4, 6]]], None)


def test_columns_without_a_name_are_left_out(read_as):
    assert read_as("a.csv", "x,y,\n1,2,\n3,4,\n").features == ["x", "y"]
    assert read_as("a.csv", ",id,x\n0,a,2\n1,a,4\n").features == ["x"]


@pytest.mark.parametrize(("labels", "wanted"), [
    (["1", "10"], [1, 10]), (["0.5", "2"], [0.5, 2.0]), (["1", "x"], ["1", "x"]),
    (["01", "x"], ["01", "x"]),
])
def test_labels_are_what_all_of_them_are(read_as, labels, wanted):
    data = read_as("a.csv", "id,x,label\n" + f"1,0,{labels[0]}\n2,0,{labels[1]}\n")
    assert data.labels.tolist() == wanted


def test_a_sequence_in_each_row(read_as):
    data = read_as("a.csv", WIDE, rows="sequences")
    assert as_lists(data) == [[[0.5], [1.5], [2.5]], [[3.5], [4.5]]]
    assert (data.labels.tolist(), data.ids, data.times) == ([1, 2], None, None)
    archive = read_as("GunPoint_TRAIN.tsv", "2\t-0.5\t1\n1\t3\tNaN\n", rows="sequences", label=0)
    assert (as_lists(archive), archive.labels.tolist()) == ([[[-0.5], [1]], [[3]]], [2, 1])
    named = read_as("a.csv", "id,date,x\n7,1,?\n8,?,2\n", rows="sequences")
    np.testing.assert_equal(as_lists(named), [[[1]], [[np.nan], [2]]])
    assert named.ids.tolist() == [7, 8]


@pytest.mark.parametrize(("texts", "kind", "wanted"), [
    (["1", "2.5"], "f", ["1.0", "2.5"]),
    (["2020-01-01T10:00", "2020-01-01 12:30"], "M", ["2020-01-01T10:00", "2020-01-01T12:30"]),
    (["2020-01-01T10", "2020-01-01T11"], "M", ["2020-01-01T10", "2020-01-01T11"]),
    (["2020-01-01 10:00+0200", "2020-01-01T09:00Z"], "M",
     ["2020-01-01T08:00", "2020-01-01T09:00"]),
    (["2020-01-01 10:00:00.5-01", "2020-01-02"], "M",
     ["2020-01-01T11:00:00.500", "2020-01-02T00:00:00.000"]),
    (["1991 Jul", "1991 AUG"], "M", ["1991-07", "1991-08"]),
    (["Nov-1991", "dec 1991", "1992-01"], "M", ["1991-11", "1991-12", "1992-01"]),
    (["1970 Q3", "1970Q4", "Q1 1971"], "M", ["1970-07", "1970-10", "1971-01"]),
    (["1991 Mai", "1991 Jun"], "U", ["1991 Mai", "1991 Jun"]),
    (["1970 Q4", "1970 Q5"], "U", ["1970 Q4", "1970 Q5"]),
    (["2020-02-30", "2020-02-29"], "U", ["2020-02-30", "2020-02-29"]),
    (["1000-01-01T00:00:00.123456789"], "U", ["1000-01-01T00:00:00.123456789"]),
    (["today", "now"], "U", ["today", "now"]),
])
def test_times(read_as, texts, kind, wanted):
    times = read_as("a.csv", "time,x\n" + "".join(f"{each},1\n" for each in texts)).times[0]
    assert (times.dtype.kind, times.astype(str).tolist()) == (kind, wanted)


@pytest.mark.parametrize(("content", "options", "message"), [
    ("", {}, "FILE is empty"),
    ("\n \n", {}, "FILE has no line that is not empty"),
    ("a,b\n", {}, "FILE has no row below the names of its columns"),
    ("label,b\n", {"rows": "sequences"}, "FILE has no row below the names of its columns"),
    ("a,b\n1,2\n3\n", {}, "FILE has in line 3 1 cell, and 2 in its first line; is a line cut off,"),
    ("a,b\n1,2\n3,4,5\n", {}, "FILE has in line 3 3 cells, and 2 in its first line; is a line cut"),
    ("a,b\n1,2\n3,four\n", {}, "FILE has in line 3, column 'b': 'four' is not a number; what is m"),
    ("a;b\n1;2,5\n", {}, "FILE has in line 2, column 'b': '2,5' is not a number: write decimals w"),
    ("a,b\n1,-inf\n", {}, "FILE has in line 2, column 'b': '-inf' is not a finite number; what is"),
    ('a,b\n1,"2\n', {}, "FILE is not CSV in line 2: unexpected end of data"),
    ("2020-01-01,5\n2020-01-02,6\n", {}, "FILE has in line 1 '2020-01-01', which looks like data,"),
    ("x,0.5\nx,0.25\n", {}, "FILE has in line 1 '0.5', which looks like data, where the names of"),
    ("a,a\n1,2\n", {}, "FILE has in line 1 two columns of the name 'a'; give each its own"),
    ("id,a\n,2\n", {}, "FILE has in line 2, column 'id', no id"),
    ("id,time,a\n1,?,2\n", {}, "FILE has in line 2, column 'time', no time"),
    ("id,label,a\n1,,2\n", {}, "FILE has in line 2, column 'label', no label"),
    ("id,label,a\n1,x,2\n1,y,2\n", {}, "FILE has in line 3 the label 'y', and 'x' before in the"),
    ("1,2\n3,4\n", {"label": 0},
     "FILE has in line 2 the label '3', and '1' before in the same sequence; name the column that "
     "tells sequences apart as id, or, where each row is a sequence, say that rows are"),
    ("id,label\n1,x\n", {}, "FILE has no column of numbers beside those of ids, times and labels"),
    ("a,time\n1,3\n1,2\n", {}, "FILE has in line 3 the time '2' after '3' in line 2: sort the rows"
     " by their times, or name the column that tells sequences apart as id"),
    ("id,time,a\nu,3,1\nv,1,2\nu,3,1\n", {},
     "FILE has the time '3' in line 2 and again in line 4 (id 'u'): remove one of them, or name t"),
    ("time,a\nMon,3\nTue,2\nMon,1\n", {}, "FILE has the time 'Mon' in line 2 and again in line 4:"),
    ("date,time,a\n1,2,3\n", {}, "FILE has columns 'date', 'time', which could all be the time; g"),
    ("a,b\n1,2\n", {"label": "c"}, "FILE has no column 'c' for label; its columns are 'a', 'b'"),
    ("a,b\n1,2\n", {"columns": ["a", "d"]}, "FILE has no column 'd'; its columns are 'a', 'b'"),
    ("a,A\n1,2\n", {"id": "á"}, "FILE has no column 'á' for id"),
    ("a,b\n1,2\n", {"id": "a", "columns": ["a", "b"]}, "FILE is to have the column 'a' twice; a c"),
    ("label,x\na,\n", {"rows": "sequences"}, "FILE has in line 2 no number; each row is a sequenc"),
    (b"a\n\xff\n", {}, "FILE is not UTF-8 text: invalid start byte at byte 2"),
    (b"PK\x03\x04\xff", {}, "FILE is not UTF-8 text: invalid start byte at byte 4; it looks like "),
])
def test_what_is_wrong_and_where(refused, content, options, message):
    assert refused("a.csv", content, **options).startswith(message)


@pytest.mark.parametrize(("name", "options", "error", "message"), [
    ("a.csv", {"rows": "columns"}, ValueError, "rows is 'columns'; it can be 'steps', 'sequences'"),
    ("a.csv", {"label": 2}, ValueError, "label must be at most 1, got 2"),
    ("a.csv", {"id": -1}, ValueError, "id must be at least 0, got -1"),
    ("a.csv", {"id": True}, TypeError, "id is True; the name of a column or its number is wanted"),
    ("a.csv", {"columns": [1.5]}, TypeError, "columns is 1.5; the name of a column or its number"),
    ("a.csv", {"rows": "sequences", "time": "a"}, ValueError, "time is a column of steps; leave i"),
    ("a.csv", {"encoding": "no"}, LookupError, "unknown encoding: no"),
    ("a.ts", {"label": "b"}, ValueError, "label is 'b', which is for CSV files; leave it out for "),
    ("a.npz", {"rows": "sequences"}, ValueError, "rows is 'sequences', which is for CSV files; le"),
    ("a.npz", {"encoding": "utf-8"}, ValueError, "encoding is for texts; a .npz file is none"),
    ("a.txt", {}, ValueError, "FILE ends in '.txt'; crnn reads data from .ts, .csv, .tsv, .npz: g"),
    ("a", {}, ValueError, "FILE ends in ''; crnn reads data from .ts, .csv, .tsv, .npz: give the "),
])
def test_arguments_that_do_not_fit(refused, name, options, error, message):
    assert refused(name, "a,b\n1,2\n", error, **options).startswith(message)


def test_paths(tmp_path):
    with pytest.raises(TypeError):
        crnn.data.read(3)
    with pytest.raises(FileNotFoundError):
        crnn.data.read(tmp_path / "a.csv")
    (tmp_path / "a.csv").mkdir()
    with pytest.raises(IsADirectoryError):
        crnn.data.read(tmp_path / "a.csv")


def test_a_table_takes_little_memory(written):
    path = written("a.csv", "id,x,y\n" + "7,1.2345678,8.7654321\n" * 20_000)
    tracemalloc.start()
    data = crnn.data.read(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert data.sequences[0].shape == (20_000, 2)
    assert peak < 8 * path.stat().st_size


def test_airline_and_sunspots(shared):
    airline = crnn.data.read(shared / "airline.csv")
    assert airline.sequences[0][[0, -1], 0].tolist() == [112, 432]
    assert airline.times[0][-1] == np.datetime64("1960-12")
    sunspots = crnn.data.read(shared / "sunspots.csv")
    assert sunspots.sequences[0].shape == (309, 1)
    assert sunspots.times[0][[0, -1]].tolist() == [1700, 2008]

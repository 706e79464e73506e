"""Files .ts: right values, and messages with the line and what to do."""

import data_files
import numpy as np
import pytest

import crnn

pytestmark = pytest.mark.no_backend

# Fixtures, which pytest looks for in this module.
read_as, refused, written = data_files.read_as, data_files.refused, data_files.written

HEAD = "@problemName Steps\n@timeStamps false\n@classLabel true walk run\n@data\n"
TARGETS = "@targetLabel true\n@data\n"


def test_channels_of_unequal_lengths_and_classes(read_as):
    data = read_as("a.ts", "# a comment\n" + HEAD + "1,2,3:4,5,6:walk\n\n%# another\n7:-8e-1:run\n")
    assert [each.tolist() for each in data.sequences] == [[[1, 4], [2, 5], [3, 6]], [[7, -0.8]]]
    assert all(each.dtype == np.float64 and each.flags.c_contiguous for each in data.sequences)
    assert data.labels.tolist() == ["walk", "run"]
    assert data.metadata == {
        "problemname": "Steps", "timestamps": "false", "classlabel": "true walk run"}
    assert (data.ids, data.features, data.times) == (None, None, None)
    assert repr(data) == "Dataset of 2 sequences: 1 to 3 steps of 2 features, 2 different labels"


def test_keys_and_truth_in_any_case_and_spacing(read_as):
    head = "@TIMESTAMPS\tFALSE\n@ClassLabel   True Walk RUN\n@DATA\n"
    assert read_as("a.TS", head + " 1 , 2 : walk \r\n3:run\n").labels.tolist() == ["Walk", "RUN"]


def test_classes_that_differ_in_case_alone_are_two(read_as):
    data = read_as("a.ts", "@classLabel true a A\n@data\n1:A\n1:a\n")
    assert data.labels.tolist() == ["A", "a"]


@pytest.mark.parametrize(("classes", "labels"), [
    ("1 2 10", [10, 2]), ("1 2 x 10", ["10", "2"]), ("01 2 10", ["10", "2"]), ("", [10, 2]),
    ("10 2 9223372036854775808", ["10", "2"]), ("10 2 -3", [10, 2]),
], ids=str)
def test_classes_are_integers_where_all_that_the_header_names_are(read_as, classes, labels):
    """So that they are alike in a file in which some are missing."""
    data = read_as("a.ts", f"@classLabel true {classes}\n@data\n1:10\n1:2\n")
    assert data.labels.tolist() == labels


def test_numbers_to_predict(read_as):
    data = read_as("a.ts", "@univariate true\n" + TARGETS + "1,2:0.5\n3,4,5:-1e3\n")
    assert data.labels.tolist() == [0.5, -1000]
    assert data.labels.dtype == np.float64


def test_without_labels(read_as):
    data = read_as("a.ts", "@classLabel false\n@data\n1,2:3,4\n")
    assert data.labels is None
    assert data.sequences[0].tolist() == [[1, 3], [2, 4]]


@pytest.mark.parametrize("mark", ["?", "NaN", "nan", "NA", " ? ", "null"])
def test_missing_values(read_as, mark):
    data = read_as("a.ts", "@missing true\n" + HEAD + f"1,{mark},3:walk\n")
    np.testing.assert_equal(data.sequences[0], [[1], [np.nan], [3]])


@pytest.mark.parametrize(("content", "message"), [
    ("", "FILE is empty"),
    ("1,2:a\n", "FILE is not a .ts file: it has no line @data, after which its sequences are"),
    (HEAD, "FILE has no sequence after @data; it may be cut off"),
    ("@timestamps True\n" + HEAD[40:] + "(2007-01-01 00:00:00,1.5):walk\n",
     "FILE has timestamps (line 1: @timeStamps true), which are not read: write the values alone"),
    ("@data\n1:2\n", "FILE does not say whether its lines end in a label: write @classLabel true"),
    ("@univariate maybe\n" + HEAD, "FILE has in line 1 @univariate 'maybe'; true or false is want"),
    ("@classLabel a b\n@data\n1:a\n", "FILE has in line 1 @classLabel 'a b'; true and the classes"),
    ("@classLabel\n@data\n1:a\n", "FILE has in line 1 @classLabel ''; true and the classes, or fa"),
    (HEAD + "1:walk\n@missing true\n",
     "FILE has in line 6 a line of the header, '@missing true', after @data: move it up"),
    (HEAD + "1,2:walk\n3,o:run\n",
     "FILE has in line 6, channel 1, value 2: 'o' is not a number; what is missing is written as"),
    (HEAD + "1,2:3,:run\n", "FILE has in line 5, channel 2, value 2: there is nothing"),
    (HEAD + "1,2::run\n", "FILE has in line 5, channel 2, value 1: there is nothing"),
    (HEAD + "1,inf:run\n", "FILE has in line 5, channel 1, value 2: 'inf' is not a finite number;"),
    (HEAD + "1,1e999:run\n", "FILE has in line 5, channel 1, value 2: '1e999' is not a finite nu"),
    (HEAD + "1_000:run\n", "FILE has in line 5, channel 1, value 1: '1_000' is not a"),
    (HEAD + "1,2:3:run\n", "FILE has in line 5 2 values in channel 1 and 1 in channel 2; all chan"),
    (HEAD + "1:2:run\n1:run\n", "FILE has in line 6 1 channels, and 2 in the lines before it"),
    (HEAD + "1:jump\n", "FILE has in line 5, at its end, the class 'jump', which the header does "),
    (HEAD + "1,2\n", "FILE has in line 5, at its end, the class '1,2', which the header does not "),
    (HEAD + "walk\n", "FILE has in line 5 no colon, and so no channel beside the label"),
    ("@classLabel true\n@data\n1:\n", "FILE has in line 3, at its end, the class '', which the he"),
    (TARGETS + "1:two\n", "FILE has in line 3, at its end, 'two' where the number to predict is w"),
    (TARGETS + "1:?\n", "FILE has in line 3, at its end, '?' where the number to predict is wante"),
    ("@univariate true\n" + HEAD + "1:2:run\n",
     "FILE has in line 6 2 channels, and says in line 1 @univariate true"),
    ("@equalLength true\n" + HEAD + "1,2:run\n1:run\n",
     "FILE has in line 7 1 steps, 2 in the lines before it, and says in line 1 @equalLength true"),
])
def test_what_is_wrong_and_where(refused, content, message):
    assert refused("a.ts", content).startswith(message)


def test_messages_are_short_and_rule_no_screen(refused):
    message = refused("a.ts", HEAD + "\x1b[2J" * 10_000 + ":run\n")
    assert len(message) < 300
    assert "\x1b" not in message


@pytest.mark.parametrize("encoding", ["utf-16", "windows-1252"])
def test_other_encodings(read_as, refused, encoding):
    content = ("# café\n" + HEAD.replace("run", "naïf") + "1:naïf\n").encode(encoding)
    assert f"it looks like {encoding}: give encoding {encoding}" in refused("a.ts", content)
    assert read_as("a.ts", content, encoding=encoding).labels.tolist() == ["naïf"]
    assert read_as("a.ts", b"\xef\xbb\xbf" + HEAD.encode() + b"1:run\n").labels.tolist() == ["run"]


def test_japanese_vowels(shared):
    """Sizes, first and last numbers and sums as the file itself says, cut up another way."""
    for part, count in (("TRAIN", 270), ("TEST", 370)):
        path = shared / f"JapaneseVowels_{part}.ts"
        data = crnn.data.read(path)
        rows = [line.split(":") for line in path.read_text().splitlines() if line[0] not in "@#"]
        assert len(data.sequences) == len(rows) == count
        assert data.labels.tolist() == [int(row[-1]) for row in rows]
        for sequence, row in zip(data.sequences, rows, strict=True):
            np.testing.assert_array_equal(
                sequence, np.array([each.split(",") for each in row[:-1]], float).T)

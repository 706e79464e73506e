"""Files .ts, as the UCR and UEA archives of time series have them.

A header of lines ``@key value``, the line ``@data``, then a sequence in each line: its channels
with a colon between them, each of them numbers with commas, and the label at the end. Lines that
begin with # or % are comments. Keys and their values may be in any case.
"""

import numpy as np

from crnn.data.cells import labels_of, no_number, number, shown
from crnn.data.dataset import Dataset
from crnn.files.disk import bad

COMMENTS = ("#", "%")
FLAGS = ("timestamps", "univariate", "equallength", "targetlabel")  # keys with true or false


def read_ts(path, text):
    """Return the `Dataset` of a file's text."""
    lines = _lines(text)
    header = _header(path, lines)
    _check_header(path, header)
    classes, is_regression = _classes(header), _is_true(header, "targetlabel")
    sequences, labels = [], []
    for line, content in lines:
        if content.startswith("@"):
            raise bad(path, f"has in line {line} a line of the header, {shown(content)}, after"
                      " @data: move it up")
        channels = content.split(":")
        if is_regression:
            labels.append(_number_to_predict(path, line, channels.pop()))
        elif classes is not None:
            labels.append(_class(path, line, channels.pop().strip(), classes))
        sequence = _sequence(path, line, channels)
        _check_fits(path, line, sequence, sequences, header)
        sequences.append(sequence)
    if not sequences:
        raise bad(path, "has no sequence after @data; it may be cut off")
    metadata = {key: value for key, (_, value) in header.items()}
    if is_regression:
        return Dataset(sequences, np.array(labels), metadata=metadata)
    if classes is None:
        return Dataset(sequences, metadata=metadata)
    are_whole = labels_of(classes or labels).dtype.kind == "i"  # as in the other files of the data
    return Dataset(sequences, labels_of(labels) if are_whole else np.array(labels),
                   metadata=metadata)


def _lines(text):
    """Yield the number and the content of each line that is neither empty nor a comment."""
    for line, content in enumerate(text.split("\n"), 1):
        content = content.strip()
        if content and not content.startswith(COMMENTS):
            yield line, content


def _header(path, lines):
    """Return the line and the value of each key, and leave the lines at the first sequence."""
    header = {}
    for line, content in lines:
        if not content.startswith("@"):
            continue  # a comment that somebody forgot to mark
        key, *value = content[1:].split(maxsplit=1)[:2] or [""]
        if key.lower() == "data":
            return header
        header[key.lower()] = line, "".join(value)
    raise bad(path, "is not a .ts file: it has no line @data, after which its sequences are")


def _check_header(path, header):
    for key in FLAGS:
        line, value = header.get(key, (0, "false"))
        if value.lower() not in ("true", "false"):
            raise bad(path, f"has in line {line} @{key} {shown(value)}; true or false is wanted")
    if _is_true(header, "timestamps"):
        raise bad(path, f"has timestamps (line {header['timestamps'][0]}: @timeStamps true), which"
                  " are not read: write the values alone, with commas between them, or a CSV file"
                  " with columns of ids, times, labels and values")
    line, value = header.get("classlabel", (0, "false"))
    if value.lower().split(maxsplit=1)[:1] not in (["true"], ["false"]):
        raise bad(path, f"has in line {line} @classLabel {shown(value)}; true and the classes, or"
                  " false, is wanted")
    if not {"classlabel", "targetlabel"} & set(header):
        raise bad(path, "does not say whether its lines end in a label: write @classLabel true and"
                  " the classes, @targetLabel true, or @classLabel false above @data")


def _is_true(header, key):
    return key in header and header[key][1].lower() == "true"


def _classes(header):
    """Return the classes that the header names, or None if it says that there are none."""
    has, *classes = header.get("classlabel", (0, "false"))[1].split()
    return None if has.lower() == "false" else classes


def _number_to_predict(path, line, text):
    value = number(text)
    if value is None or np.isnan(value):
        raise bad(path, f"has in line {line}, at its end, {shown(text.strip())} where the number to"
                  " predict is wanted; is the line cut off?")
    return value


def _class(path, line, name, classes):
    """Return a line's class as the header writes it."""
    if name in classes:
        return name
    for each in classes:
        if each.lower() == name.lower():
            return each
    if classes or not name:
        raise bad(path, f"has in line {line}, at its end, the class {shown(name)}, which the header"
                  " does not name (@classLabel); is the line cut off?")
    return name


def _sequence(path, line, channels):
    """Return a line's channels as an array (T, I)."""
    if not channels:
        raise bad(path, f"has in line {line} no colon, and so no channel beside the label")
    values = [_values(path, line, number, each) for number, each in enumerate(channels, 1)]
    for place, each in enumerate(values, 1):
        if len(each) != len(values[0]):
            raise bad(path, f"has in line {line} {len(values[0])} values in channel 1 and"
                      f" {len(each)} in channel {place}; all channels of a line are equally long")
    return np.array(values).T.copy()


def _values(path, line, channel, text):
    cells = text.split(",")
    values = [number(each) for each in cells]
    for place, (value, cell) in enumerate(zip(values, cells, strict=True), 1):
        if value is None or not cell.strip():
            why = no_number(cell) if value is None else "there is nothing"
            raise bad(path, f"has in line {line}, channel {channel}, value {place}: {why}")
    return values


def _check_fits(path, line, sequence, before, header):
    steps, channels = sequence.shape
    if channels > 1 and _is_true(header, "univariate"):
        raise bad(path, f"has in line {line} {channels} channels, and says in line"
                  f" {header['univariate'][0]} @univariate true")
    if not before:
        return
    wanted_steps, wanted_channels = before[0].shape
    if channels != wanted_channels:
        raise bad(path, f"has in line {line} {channels} channels, and {wanted_channels} in the"
                  " lines before it")
    if steps != wanted_steps and _is_true(header, "equallength"):
        raise bad(path, f"has in line {line} {steps} steps, {wanted_steps} in the lines before it,"
                  f" and says in line {header['equallength'][0]} @equalLength true; is the line cut"
                  " off?")

"""Pages of docs/guide: their code is run, and what it prints is compared with what they say.

    python tests/helpers/guide_pages.py classify path/to/data

runs a page in a new folder beside links to the data, prints what its code prints, and names the
folder with its picture: for whoever changes a page.
"""

import contextlib
import io
import os
import re
import shlex
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from crnn import cli

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guide"
NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")
# Of a number, which may also be one more or less in its last digit: without fused multiply-add a
# training ends a little elsewhere.
TOLERANCE = 0.05
EXAMPLE = "<!-- for example -->"  # above an output that other roundings change altogether
FENCED = re.compile(rf"^({EXAMPLE}\n+)?```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


class Block(NamedTuple):
    """A piece of code on a page, and what the page says it prints.

    Attributes
    ----------
    language : {"python", "sh"}
    code : str
    printed : str or None
        None where the page says nothing.
    is_example : bool
        Whether only the number of lines counts.
    """

    language: str
    code: str
    printed: str | None
    is_example: bool


def blocks(text):
    """Return the blocks of a page, in its order.

    >>> blocks('''
    ... ```python
    ... print(1)
    ... ```
    ... It prints:
    ... ```
    ... 1
    ... ```
    ... ''')
    [Block(language='python', code='print(1)\\n', printed='1\\n', is_example=False)]
    """
    found = []
    for example, language, body in FENCED.findall(text):
        if language == "cython":  # which tests/network/test_real_time.py builds and runs
            continue
        if language:
            found.append(Block(language, body, None, False))
        else:
            found[-1] = found[-1]._replace(printed=body, is_example=bool(example))
    return found


def run(block, names):
    """Return what a block prints; ``names`` are the variables of its page."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        if block.language == "sh":
            for command in block.code.splitlines():
                program, *arguments = shlex.split(command, comments=True)
                assert program == "crnn", command
                assert cli.main(arguments) in (0, None), command
        else:
            exec(compile(block.code, "page", "exec"), names)
    return output.getvalue()


def difference(said, printed):
    """Return what is wrong with what a page says, or None.

    Words are the same, numbers about the same; ``...`` stands for anything.

    >>> difference("loss 1.00, ... s", "loss 1.02, 3 s")
    >>> difference("loss 1.00", "loss 1.2")
    'the page says 1.00, and 1.2 is printed'
    >>> difference("1 % of 3,000", "2 % of 3,000")
    >>> difference("one", "two")
    "the page says 'one', and 'two' is printed"
    """
    pattern = "".join(
        ".*?" if part == "..." else f"({NUMBER.pattern})" if NUMBER.fullmatch(part)
        else re.escape(part)
        for part in re.split(rf"(\.\.\.|{NUMBER.pattern})", said.strip())
    )
    match = re.fullmatch(pattern, printed.strip(), re.DOTALL)
    if not match:
        return f"the page says {said.strip()!r}, and {printed.strip()!r} is printed"
    for ours, theirs in zip(NUMBER.findall(said), match.groups(), strict=True):
        one, other = (float(each.replace(",", "")) for each in (ours, theirs))
        last_digit = 10.0 ** -len(ours.partition(".")[2])
        if abs(one - other) > 1.001 * max(TOLERANCE * abs(one), last_digit):
            return f"the page says {ours}, and {theirs} is printed"
    return None


def main():
    """Run a page for whoever changes it."""
    page, data = sys.argv[1:]
    names, links = {}, [path.resolve() for path in Path(data).iterdir()]
    os.chdir(tempfile.mkdtemp())
    for path in links:
        Path(path.name).symlink_to(path)
    for block in blocks((GUIDE / f"{page}.md").read_text(encoding="utf-8")):
        printed = run(block, names)
        print(block.code, printed, sep="\n")
        if block.printed is not None and not block.is_example:
            print("->", difference(block.printed, printed) or "as the page says")
    print("in", Path.cwd())


if __name__ == "__main__":
    main()

"""The guide's pages do what they say: their code is run, and what it prints is what they show."""

import re

import guide_pages
import numpy as np
import pytest
from guide_pages import GUIDE, blocks, difference, run

pytestmark = pytest.mark.no_backend
PAGES = sorted(path.stem for path in GUIDE.glob("*.md") if path.stem != "README")
TEXTS = {page: (GUIDE / f"{page}.md").read_text(encoding="utf-8") for page in PAGES}
TAKE_LONG = {"estimators", "forecaster", "music", "write"}  # more than three seconds
LARGEST_PICTURE = 100_000  # bytes


@pytest.fixture
def folder(shared, tmp_path, monkeypatch):
    """A folder with links to the data, where the code of a page is run."""
    for each in ("matplotlib", "narwhals", "pandas", "sklearn"):
        pytest.importorskip(each)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    for path in shared.iterdir():
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    from matplotlib import pyplot

    pyplot.close("all")


def check(text, is_whole=True):
    """Run a page, and compare what it prints unless it is not trained as the page says."""
    names = {}
    for block in blocks(text):
        printed = run(block, names)
        if block.printed is None or not is_whole:
            continue
        if block.is_example:
            assert "..." in block.printed or printed.count("\n") == block.printed.count("\n")
        else:
            assert difference(block.printed, printed) is None


@pytest.mark.parametrize("page", [
    pytest.param(page, marks=[pytest.mark.slow] if page in TAKE_LONG else []) for page in PAGES])
def test_a_page_does_what_it_says(page, folder):
    check(TEXTS[page])
    for picture in re.findall(r"\]\((\w+\.png)\)", TEXTS[page]):
        assert (folder / picture).stat().st_size < LARGEST_PICTURE


@pytest.mark.parametrize("page", ["classify", "estimators", "forecast", "forecaster"])
def test_a_program_has_at_most_fifteen_lines(page):
    program = blocks(TEXTS[page])[0].code.splitlines()
    assert len([line for line in program if line.strip()]) <= 15


@pytest.mark.slow
@pytest.mark.parametrize(("page", "pieces", "lowest", "highest"), [
    pytest.param("classify", 1, 0.97, 1, id="classify: right"),
    pytest.param("estimators", 1, 0.97, 1, id="estimators: right"),
    pytest.param("forecast", 2, 0, 10, id="forecast: per cent off"),
    pytest.param("forecaster", 2, 0, 10, id="forecaster: per cent off"),
])
def test_median_of_five_seeds(page, pieces, lowest, highest, folder):
    found = []
    for seed in range(5):
        names = {}
        for block in blocks(TEXTS[page])[:pieces]:
            printed = run(block._replace(code=block.code.replace("seed=0", f"seed={seed}")), names)
        found.append(float(re.search(r"[\d.]+(?=%| of)", printed)[0]))
    assert lowest <= np.median(found) <= highest


@pytest.mark.parametrize("page", sorted(TAKE_LONG))
def test_the_code_of_a_page_that_takes_long_runs(page, folder):
    short = re.sub(r"\bepochs=\d+", "epochs=1", TEXTS[page])
    short = re.sub(r"\b(Forecaster|Sequence[A-Z]\w+)\((?![^)]*epochs)", r"\1(epochs=1, ", short)
    short = re.sub(r"^(crnn (?:train|forecast) .*)", r"\1 --epochs 1 --hidden 8", short,
                   flags=re.MULTILINE)
    few = (folder / "names.txt").read_text(encoding="utf-8").splitlines(keepends=True)[:3500]
    (folder / "names.txt").unlink()
    (folder / "names.txt").write_text("".join(few), encoding="utf-8")
    check(short, is_whole=False)


def test_every_page_is_in_the_index_and_has_its_picture():
    index = (GUIDE / "README.md").read_text(encoding="utf-8")
    pictures = {path.name: path.stat().st_size for path in GUIDE.glob("*.png")}
    assert [page for page in PAGES if f"]({page}.md)" not in index] == []
    assert [page for page in PAGES if f"]({page}.png)" not in TEXTS[page]] == []
    assert set(pictures) == {f"{page}.png" for page in PAGES}
    assert max(pictures.values()) < LARGEST_PICTURE


def test_what_is_printed_is_compared():
    page = "text\n\n```python\nfor k in range(3):\n    print(k, 1.5, 'a')\n```\n\n```\n{}\n```\n"
    check(page.format("0 1.5 a\n1 1.5 a\n2 1.51 a"))
    check(page.format("0 1.5 a\n...\n2 1.5 a"))
    for wrong in ("0 1.5 a\n1 1.5 a\n2 1.7 a", "0 1.5 a\n1 1.5 a\n2 1.5 b", "0 1.5 a"):
        with pytest.raises(AssertionError):
            check(page.format(wrong))


def test_what_is_for_example_has_as_many_lines():
    page = f"```python\nprint('a')\nprint('b')\n```\n\n{guide_pages.EXAMPLE}\n\n```\n{{}}\n```\n"
    check(page.format("c\nd"))
    with pytest.raises(AssertionError):
        check(page.format("c"))

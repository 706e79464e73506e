"""What the documentation shows is run: docstrings' examples and the README's Python."""

import contextlib
import doctest
import importlib
import inspect
import io
import pkgutil
import re
from pathlib import Path

import pytest

import crnn

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*.md")]
MODULES = ["crnn", *(module.name for module in pkgutil.walk_packages(crnn.__path__, "crnn.")
                     if not module.name.startswith("crnn.kernels."))]


def imported(name):
    """Return a module, or None if it needs an extra that is not there."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        if "pip install 'crnn[" in str(error):
            return None
        raise


@pytest.mark.parametrize("name", [name for name in MODULES if not name.endswith("__main__")])
def test_docstring_examples(name, backend):
    module = imported(name)
    if module is None:
        pytest.skip("the extra that it needs is not there")
    result = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert result.failed == 0


def test_there_are_docstring_examples(backend):
    finder = doctest.DocTestFinder()
    modules = [imported(name) for name in MODULES if "__main__" not in name]
    examples = [test for module in filter(None, modules) for test in finder.find(module)
                if test.examples]
    assert len(examples) >= 10


def test_readme_python(backend):
    section = README.split("## Ten lines of Python")[1].split("\n## ")[0]
    code = re.search(r"```python\n(.*?)```", section, re.DOTALL).group(1)
    promised = re.search(r"It prints `(.*?)`", section).group(1)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "README.md", "exec"), {})
    assert printed.getvalue().strip() == promised


@pytest.mark.no_backend
def test_nothing_was_left_to_be_filled_in():
    left = re.compile(r"\b(?!CRNN_|OMP_NUM_|PYSPARK_)[A-Z]{3,}_[A-Z_]{4,}\b|\(BENCH\)|TODO|FIXME")
    assert len(PAGES) >= 3
    assert [left.findall(page.read_text("utf-8")) for page in PAGES] == [[]] * len(PAGES)


@pytest.mark.no_backend
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_what_is_there(page):
    links = re.findall(r"\]\(([^)#]+)\)", page.read_text("utf-8"))
    here = [link for link in links if "://" not in link]
    assert [link for link in here if not (page.parent / link).exists()] == []


@pytest.mark.no_backend
def test_the_map_names_what_is_there():
    code = re.findall(r"`([^`]+)`", (ROOT / "docs" / "house.md").read_text("utf-8"))
    names = {name for each in code for name in re.findall(r"[A-Za-z_]\w+", each)}
    files = [path for folder in ("crnn", "tests") for path in (ROOT / folder).rglob("*")
             if path.suffix in {".py", ".pyx", ".pxi"}]
    known = set(re.findall(r"\w+", " ".join(path.read_text("utf-8") for path in files)))
    known |= {part for path in files for part in re.findall(r"\w+", str(path.relative_to(ROOT)))}
    assert len(names) > 100
    assert names - known - {"setup", "README", "CHANGELOG"} == set()


@pytest.mark.no_backend
def test_every_public_function_and_class_has_an_example():
    finder = doctest.DocTestFinder(recurse=False)
    objects = {name: getattr(crnn, name) for name in crnn.__all__}
    bare = [
        name for name, value in objects.items()
        if callable(value) and not (isinstance(value, type) and issubclass(value, Exception))
        and not finder.find(value, name)[0].examples
    ]
    assert bare == []


@pytest.mark.no_backend
def test_every_public_name_has_a_docstring():
    objects = {name: getattr(crnn, name) for name in crnn.__all__}
    bare = [name for name, value in objects.items() if not value.__doc__]
    for name, value in objects.items():
        if isinstance(value, type):
            members = {key: each for key, each in vars(value).items() if not key.startswith("_")}
            bare += [
                f"{name}.{key}"
                for key, each in members.items()
                if (callable(each) or isinstance(each, property)) and not each.__doc__
            ]
    assert bare == []


@pytest.mark.no_backend
def test_the_interface_in_the_readme_has_every_public_name():
    """What is left out serves crnn's own floors, or is a detail of what is named."""
    left_out = {"dropout_state", "is_at_start", "restore", "as_dict", "header", "of",
                "picture_format", "model_from", "description", "from_config", "without_dropout",
                "stored", "begin_steps", "meaning"}
    section = README.split("## The interface")[1].split("\n## ")[0]
    named = set(re.findall(r"\w+", section)) | left_out
    plots = importlib.import_module("crnn.plots")
    names = {*crnn.__all__, *crnn.data.__all__, *crnn.text.__all__}
    names |= {name for name, value in vars(plots).items()
              if inspect.isfunction(value) and value.__module__ == plots.__name__}
    for each in (crnn.LSTM, crnn.Stream, crnn.Gradients, crnn.History, crnn.Scaler, crnn.Adam):
        names |= set(dir(each))
    public = {name for name in names if not name.startswith("_")}
    assert len(public) > 70
    assert public - named == set()

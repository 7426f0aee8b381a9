from collections import Counter

import pytest

from supernet.data import stdlib
from supernet.data.load import load_rows
from supernet.data.stdlib import AREA_MODULES, AREAS, TEXT_LENGTH, stdlib_rows, stdlib_splits
from supernet.options.data import DataOptions
from supernet.runtime.errors import UserError
from tests.fixtures import read_task


def write_library(folder, rows_per_area=60):
    """A small "standard library": one module for each area."""
    for area, modules in AREA_MODULES.items():
        functions = [f'def f{i}():\n    """Row {i} of the area {area}."""\n' for i in range(rows_per_area)]
        (folder / f"{modules.split()[0]}.py").write_text("\n".join(functions))
    return folder


def test_every_module_has_one_area():
    modules = [module for names in AREA_MODULES.values() for module in names.split()]
    assert [module for module, count in Counter(modules).items() if count > 1] == []


def test_the_task_table_has_the_same_areas_in_the_same_order():
    assert read_task("stdlib").classes == AREAS


@pytest.mark.slow
def test_the_running_python_gives_thousands_of_rows_and_no_area_dominates():
    texts, labels = stdlib_rows()
    counts = Counter(labels)
    assert len(texts) == len(labels) == len(set(texts)) > 4000
    assert set(counts) == set(range(len(AREAS)))
    assert max(counts.values()) / len(labels) < 0.3
    assert all(len(text) in TEXT_LENGTH and text == " ".join(text.split()) for text in texts)


def test_splits_are_disjoint_complete_and_fixed():
    train, test = stdlib_splits()
    assert stdlib_splits() == (train, test)
    assert len(test[0]) == int(0.2 * len(stdlib_rows()[0]))
    assert sorted(train[0] + test[0]) == sorted(stdlib_rows()[0])


def test_the_split_seed_does_not_touch_the_test_set():
    rows, others = (
        load_rows(read_task("stdlib", max_validation_rows=None), DataOptions(split_seed=seed)) for seed in (128, 1)
    )
    assert rows.test.columns == others.test.columns
    assert rows.train.columns != others.train.columns
    assert len(rows.train) == int(0.7 * (len(rows.train) + len(rows.validation)))


def test_only_first_paragraphs_of_fitting_length_are_taken(tmp_path):
    write_library(tmp_path)
    source = '''
"""The docstring of the module is not taken, as it is about many things."""
if True:
    class Shape:
        """The first   paragraph
        over two lines.
   \t
        The second paragraph.
        """
        async def draw(self):
            """Draws the shape, as a method that is async."""
            def inner():
                """An inner function has a docstring too."""
        def short(self):
            "Too short."
        def long(self):
            "%s"
        variable = "a string that is not a docstring at all"
''' % ("long " * 100)
    (tmp_path / "turtle.py").write_text(source)
    texts = [text for text in stdlib_rows(tmp_path)[0] if "Row" not in text]
    assert texts == [
        "The first paragraph over two lines.",
        "Draws the shape, as a method that is async.",
        "An inner function has a docstring too.",
    ]


def test_texts_of_two_areas_are_dropped_and_repeated_ones_kept_once(tmp_path):
    write_library(tmp_path)
    shared, twice = "This text stands in two areas.", "This text stands in one area, but twice."
    for module in ("turtle", "queue"):
        (tmp_path / f"{module}.py").write_text(f'def f():\n    """{shared}"""\n')
    for module in ("csv", "gzip"):
        (tmp_path / f"{module}.py").write_text(f'def f():\n    """{twice}"""\n')
    texts, labels = stdlib_rows(tmp_path)
    assert shared not in texts
    assert [AREAS[label] for text, label in zip(texts, labels, strict=True) if text == twice] == ["files"]


def test_tests_and_broken_files_are_skipped(tmp_path):
    write_library(tmp_path)
    for folder in ("idlelib/idle_test", "asyncio/test", "email/tests"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "module.py").write_text('def f():\n    """This is a test and not wanted."""\n')
    (tmp_path / "csv.py").write_text('def broken(:\n    """A file that cannot be parsed."""\n')
    assert all("Row" in text for text in stdlib_rows(tmp_path)[0])


def test_modules_are_parsed_and_not_imported(tmp_path):
    write_library(tmp_path)
    (tmp_path / "turtle.py").write_text('raise SystemExit\ndef f():\n    """This module must not be run."""\n')
    assert "This module must not be run." in stdlib_rows(tmp_path)[0]


def test_missing_sources_are_told_in_one_line_that_names_the_area(tmp_path):
    write_library(tmp_path)
    (tmp_path / "colorsys.py").unlink()
    with pytest.raises(UserError, match=r"area 'windows' has 0 docstrings in .*; install Python with the sources") as e:
        stdlib_rows(tmp_path)
    assert "\n" not in str(e.value)


@pytest.mark.slow
def test_rows_are_read_once(monkeypatch):
    stdlib_rows()
    monkeypatch.setattr(stdlib.ast, "parse", lambda source: pytest.fail("parsed again"))
    stdlib_rows()

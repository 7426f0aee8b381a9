"""A text task that needs no download: which area of Python's standard library does a docstring come from?

The rows are read from the sources of the running Python, so they differ a little between Python versions. Compare
results of the same version only. The modules are parsed, never imported. This module imports no torch.
"""

from __future__ import annotations

import ast
import gc
import random
import re
import sysconfig
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import TypeAlias

from supernet.runtime.errors import UserError

AREA_MODULES: MappingProxyType[str, str] = MappingProxyType(
    {
        # windows and graphics
        "windows": "colorsys curses idlelib tkinter turtle turtledemo",
        # concurrency, processes and operating system
        "concurrency": """_threading_local asyncio asyncore asynchat concurrent contextvars multiprocessing pipes pty
            queue sched selectors signal subprocess threading""",
        # mail and web
        "network": """cgi cgitb email ftplib html http imaplib ipaddress mailbox mailcap mimetypes netrc nntplib
            nturl2path poplib quopri smtpd smtplib socket socketserver ssl telnetlib urllib uu webbrowser wsgiref
            xmlrpc""",
        # import system, packaging and installation
        "imports": """_aix_support _android_support _apple_support _ios_support _osx_support
            _sitebuiltins compileall distutils ensurepip imp importlib modulefinder pkgutil platform py_compile pyclbr
            runpy site sysconfig venv zipapp zipimport""",
        # numbers, dates and data types
        "numbers": """_collections_abc _py_abc _pydatetime _pydecimal _pylong _strptime _weakrefset abc bisect calendar
            collections copy copyreg ctypes dataclasses datetime decimal enum fractions functools graphlib heapq hmac
            hashlib numbers operator random reprlib secrets statistics types typing uuid weakref zoneinfo""",
        # files, archives and formats of stored data
        "files": """_compression _pyio aifc binhex bz2 chunk compression configparser csv dbm filecmp fileinput fnmatch
            genericpath glob gzip imghdr io lzma ntpath os pathlib pickle pickletools plistlib posixpath shelve shutil
            sndhdr sqlite3 stat sunau tarfile tempfile tomllib wave xdrlib zipfile""",
        # testing, debugging and measuring
        "testing": """_pyrepl bdb cProfile cmd code codeop dis doctest faulthandler inspect linecache logging pdb
            profile pstats pydoc rlcompleter timeit trace traceback tracemalloc unittest warnings""",
        # text, languages and parsing
        "text": """_markupbase argparse ast base64 codecs difflib encodings getopt getpass gettext json keyword lib2to3
            locale optparse pprint re shlex sre_compile sre_constants sre_parse string stringprep symtable tabnanny
            textwrap token tokenize xml""",
    }
)
"""Area -> top-level modules of Python 3.10 to 3.13. The order of the areas is the order of the label ids."""

AREAS = tuple(AREA_MODULES)
SKIPPED_FOLDERS = frozenset({"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"})
TEXT_LENGTH = range(20, 401)
"""Characters that a row may have."""
MIN_ROWS_PER_AREA = 50
TEST_SHARE = 0.2
_SPLIT_SEED = 20240502  # of the test set, which stays the same for every data.split_seed


TextsLabels: TypeAlias = tuple[list[str], list[int]]


def stdlib_folder() -> Path:
    """Where the sources of this Python's standard library lie."""
    return Path(sysconfig.get_paths()["stdlib"])


def stdlib_rows(folder: Path | None = None) -> TextsLabels:
    """The first paragraphs of the docstrings of functions and classes, and the ids of their areas.

    Sorted by module, then in the order of the source. Texts of two areas are left out; other duplicates are
    kept once. Read once per process and folder.

    Args:
        folder: Where the sources are; None for the standard library of the running Python.

    Returns:
        Texts with collapsed whitespace, and the label id of each (its position in `AREAS`). Do not modify them.

    Raises:
        UserError: if an area has too few rows, which means that the sources are not installed.
    """
    return _read(folder or stdlib_folder())


def stdlib_splits(folder: Path | None = None) -> tuple[TextsLabels, TextsLabels]:
    """The rows as ("training file", test set): a fixed shuffle, 20 % of the rows are for testing.

    Arguments and errors as for `stdlib_rows`.
    """
    texts, labels = stdlib_rows(folder)
    order = list(range(len(texts)))
    random.Random(_SPLIT_SEED).shuffle(order)
    cut = int(TEST_SHARE * len(order))
    test, train = (([texts[i] for i in rows], [labels[i] for i in rows]) for rows in (order[:cut], order[cut:]))
    return train, test


@lru_cache(maxsize=4)
def _read(folder: Path) -> TextsLabels:
    areas_of: dict[str, set[int]] = {}
    with _no_garbage_collection():
        for area, file in _source_files(folder):
            for text in _docstrings(file):
                areas_of.setdefault(text, set()).add(area)
    rows = {text: min(areas) for text, areas in areas_of.items() if len(areas) == 1}
    _check_counts(Counter(rows.values()), folder)
    return list(rows), list(rows.values())


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Syntax trees have no cycles; beside torch in memory the collector would take longer than the parser."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _source_files(folder: Path) -> Iterator[tuple[int, Path]]:
    """(area id, file) of every module in the table, in an order that depends on names only."""
    area_of = {module: i for i, area in enumerate(AREAS) for module in AREA_MODULES[area].split()}
    for module in sorted(area_of):
        single = folder / f"{module}.py"
        if single.is_file():
            yield area_of[module], single
        for file in sorted((folder / module).rglob("*.py")):
            if SKIPPED_FOLDERS.isdisjoint(file.relative_to(folder).parts):
                yield area_of[module], file


def _docstrings(file: Path) -> Iterator[str]:
    """First paragraphs of a file's docstrings, in the order of the source; nothing if the file cannot be parsed."""
    source = file.read_bytes()
    if b'"""' not in source and b"'''" not in source:
        return
    try:
        # lib2to3 and others keep deliberately odd sources; their warnings are not about this project.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return
    for node in _definitions(tree):
        docstring = ast.get_docstring(node, clean=True) or ""
        paragraph = " ".join(re.split(r"\n\s*\n", docstring, maxsplit=1)[0].split())
        if len(paragraph) in TEXT_LENGTH:
            yield paragraph


def _definitions(node: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    """Functions and classes below a node, outer first. Walks statements only: expressions are most of a tree."""
    for block in ("body", "handlers", "orelse", "finalbody"):
        for child in getattr(node, block, ()):
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                yield child
            yield from _definitions(child)


def _check_counts(counts: Counter[int], folder: Path) -> None:
    for i, area in enumerate(AREAS):
        if counts[i] < MIN_ROWS_PER_AREA:
            raise UserError(
                f"task=stdlib: area '{area}' has {counts[i]} docstrings in {folder}, at least {MIN_ROWS_PER_AREA} are"
                " needed; install Python with the sources of its standard library (Debian: apt install"
                f" libpython3-stdlib idle python3-tk), or give another task. Modules looked for:"
                f" {' '.join(AREA_MODULES[area].split())}"
            )

"""A campaign of bad inputs over all commands, as a user types them, in this process.

Each gives one line on stderr and a status that is not 0: no traceback, no warning, nothing half-written, and whatever
was there before is as it was. The rows are in the tables of `tests/bad_inputs`.
"""

import gc
import sys

import pytest
import yaml

import search.choice.select
import search.cli
import search.report.overlay
import supernet.cli
from search.options.profile import ProfileConfig
from search.options.search import SearchConfig
from search.profile import profile
from search.run import search as run_search
from supernet.console.config import load_config
from tests.bad_inputs import command_lines, data, exports, models, runs, supernets, tables, values
from tests.bad_inputs.rows import Place
from tests.fake_runs import make_run

_TRAINING = ["task=sst2", "model.name_or_path={model}", "data.dir={data}", "data.cache_dir={cache}"]

COMMANDS = {
    "train": (supernet.cli.main, _TRAINING),
    "search": (search.cli.main, ["supernet={trained}", "searcher=random", "max_evaluations=3"]),
    "report": (search.report.overlay.main, ["runs=[{run}]"]),
    "select": (search.choice.select.main, ["run={run}"]),
    "export": (search.cli.export_main, ["run={searched}/search/mine", "data.cache_dir={cache}"]),
    "profile": (search.cli.profile_main, ["supernet={trained}", "turns=1", "check_subnets=0", "workload.length=16"]),
}
"""How each begins, and what it is told unless the row tells it something else."""

ROWS = [
    *values.ROWS,
    *command_lines.ROWS,
    *data.ROWS,
    *models.ROWS,
    *supernets.ROWS,
    *runs.ROWS,
    *tables.ROWS,
    *exports.ROWS,
]

SILENT = (".lock",)
"""Files that say nothing of a run."""


@pytest.fixture(scope="session")
def stock(tmp_path_factory, model_folder, data_folder, supernet_folder):
    """What is whole: a model, rows, a training's folder, a search of it, a run with latencies, a table of them."""
    root = tmp_path_factory.mktemp("stock")
    make_run(root / "run", objectives=("error", "params", "latency_ms"), evaluations=8, rows=60)
    few = [f"supernet={supernet_folder.parent}", f"output_dir={root / 'searched'}"]
    run_search(load_config("search", SearchConfig, [*few, "searcher=random", "max_evaluations=3", "name=mine"]))
    short = [*few, "turns=1", "check_subnets=0", "workload.length=16", f"output={root / 'latency.json'}"]
    profile(load_config("profile", ProfileConfig, short))
    return {
        "model": model_folder,
        "data": data_folder,
        "trained": supernet_folder.parent,
        "searched": root / "searched",
        "run": root / "run",
        "table": root / "latency.json",
    }


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """Tokenised rows, which all rows of the tables share."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module", autouse=True)
def _composing_is_quick():
    """Some 600 commands are composed of a dozen files each, and the garbage of that is not among the libraries."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(yaml, "SafeLoader", getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # OmegaConf's loader is one
        gc.freeze()
        yield
        gc.unfreeze()


def tree(folder):
    """What a folder holds: the bytes of each file, and where each link leads."""
    found = {}
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = path.readlink()
        elif path.is_file() and path.name not in SILENT:
            found[name] = path.read_bytes()
    return found


def command_line(row, place):
    given = row.arguments.split() if isinstance(row.arguments, str) else row.arguments
    keys = {argument.partition("=")[0] for argument in given}
    usual = [a for a in (*COMMANDS[row.command][1], "output_dir={out}") if a.partition("=")[0] not in keys]
    return [argument.format_map(place) for argument in (*usual, *given)]


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_one_line(row, stock, cache, tmp_path, monkeypatch, capsys):
    place = Place(tmp_path, stock, {"cache": cache})
    for damage in row.damage:
        damage(place)
    arguments = command_line(row, place)
    before = tree(tmp_path)
    monkeypatch.setattr(sys, "argv", [row.command, *arguments])
    with pytest.raises(SystemExit) as end:
        COMMANDS[row.command][0]()
    said = capsys.readouterr().err
    assert end.value.code not in (0, None), said
    *earlier, line = said.splitlines()
    assert line.startswith("error: "), said
    assert row.talks or not earlier, said
    assert not [text for text in earlier if text.startswith(("error", "Traceback"))], said
    missing = [words for words in row.expected if words not in line]
    assert not missing, line
    after = tree(tmp_path)
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    assert not {name for name in changed if name.rpartition("/")[2] not in row.leaves}, changed


def test_the_rows_are_many_and_all_different():
    assert len({str(row) for row in ROWS}) == len(ROWS)
    assert {row.command for row in ROWS} == set(COMMANDS)
    assert all(max(map(len, row.expected)) >= 8 for row in ROWS), "words that any error might have say nothing"

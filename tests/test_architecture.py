"""The import rules that keep the two stages apart."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in ("supernet", "search")
    for path in (ROOT / package).rglob("*.py")
}


def imports(name):
    """Names of the modules that a module imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= inside & MODULES.keys() or {node.module or ""}
    return found


def importers(package):
    return {name for name in MODULES if any(i.split(".")[0] == package for i in imports(name))}


def test_supernet_never_imports_search():
    assert all(name.startswith("search") for name in importers("search"))


COMMANDS = {"supernet.cli", "search.cli", "search.profile", "search.report.overlay", "search.select"}


def test_nobody_imports_a_command():
    assert not [name for name in MODULES if COMMANDS & imports(name)]


def test_hydra_and_syne_tune_stay_where_they_belong():
    assert importers("hydra") | importers("omegaconf") == {"supernet.config", "supernet.command", "supernet.overrides"}
    users = importers("syne_tune")
    assert {name for name in users if not name.startswith("search.finetune.")} == {"search.searchers.schedulers"}


@pytest.mark.parametrize(
    "name",
    [
        "supernet.shapes",
        "supernet.reading",
        "supernet.subnetwork",
        "supernet.space",
        "supernet.spaces",
        "supernet.sampling",
        "supernet.cost",
        "search.pareto",
        "supernet.tasks",
        "supernet.config",  # options and configuration: help and a mistake on the command line wait for no library
        "supernet.options",
        "search.options",
        "search.select",
        "search.report.overlay",
    ],
)
def test_values_and_formulas_need_no_torch(name):
    reached, todo = set(), [name]
    while todo:
        for i in imports(todo.pop()) - reached:
            reached.add(i)
            todo += [i] if i in MODULES else []
    assert not [i for i in reached if i.split(".")[0] in ("torch", "transformers")]


def test_there_are_no_cycles():
    graph = {name: {i for i in imports(name) if i in MODULES} for name in MODULES}
    while free := [name for name, needs in graph.items() if not needs]:
        graph = {name: needs - set(free) for name, needs in graph.items() if name not in free}
    assert not graph


def test_yaml_holds_no_python_paths():
    for path in (ROOT / "conf").rglob("*.yaml"):
        assert "_target_" not in path.read_text(), path


def test_paths_of_users_are_read_in_one_way():
    """`Path.expanduser` fails where a name begins with ~ and is no user's; `supernet.storage.user_path` does not."""
    assert not [name for name, path in MODULES.items() if ").expanduser()" in path.read_text()]

"""The rooms of the house, what each may import, and how large it may be."""

import ast
import re
from pathlib import Path

import pytest

from supernet.models.heads import HEADS
from supernet.options.kinds import KINDS
from supernet.runtime.commands import COMMANDS

ROOT = Path(__file__).parent.parent
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in ("supernet", "search", "plm_supernet")
    for path in (ROOT / package).rglob("*.py")
}
TREES = {name: ast.parse(path.read_text()) for name, path in MODULES.items()}

ROOMS = {
    "supernet.runtime": "",
    "supernet.console": "runtime",
    "supernet.space": "runtime",
    "supernet.options": "runtime space",
    "supernet.models": "runtime space options",
    "supernet.data": "runtime space options",
    "supernet.evaluation": "runtime space options models data",
    "supernet.artifact": "runtime space options models",
    "supernet.export": "runtime console space options models data evaluation artifact",
    "supernet.training": "runtime console space options models data evaluation artifact",
    "supernet.predict": "runtime console options data export",
    "supernet.cli": "runtime console options training",
    "supernet.__main__": "runtime console",
    "search.objectives": "",
    "search.pareto": "",
    "search.options": "objectives",
    "search.trials": "objectives",
    "search.run_folder": "objectives options trials",
    "search.loop": "trials",
    "search.evaluation": "objectives trials",
    "search.searchers": "pareto options",
    "search.baselines": "options trials loop evaluation",
    "search.finetune": "objectives pareto options trials loop evaluation searchers",
    "search.report": "objectives pareto options trials run_folder",
    "search.rows": "options",
    "search.ranking": "baselines",
    "search.spaces": "options run_folder searchers report",
    "search.session": "objectives options trials run_folder evaluation rows ranking spaces",
    "search.remeasure": "objectives pareto trials run_folder evaluation report",
    "search.conclude": "trials run_folder loop report session remeasure",
    "search.run": "options trials loop searchers baselines finetune spaces session conclude",
    "search.choice": "objectives options trials run_folder report",
    "search.export": "objectives options trials run_folder baselines finetune report rows choice",
    "search.profile": "options",
    "search.cli": "options run export profile",
    "search.doctor": "objectives options",
    "search.compress": "options run run_folder report export",
    "plm_supernet.handles": "",
    "plm_supernet.stages": "handles",
    "plm_supernet.classifier": "handles stages",
}
"""Each room of a stage, in order, and the others of the same stage that its modules may import. A room is a folder or a
module. The packages themselves are below all of them; what stage two imports of stage one is not restricted, nor what
the Python API imports."""


def imports(name):
    """Names of the modules that a module imports, anywhere in it; a package counts too, as its `__init__.py` runs."""
    return imported_in(TREES[name])


def imported_in(tree):
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names} & MODULES.keys()
            found.add(node.module or "")
    return found


def room_of(name):
    return ".".join(name.split(".")[:2])


def allowed_in(room):
    """The rooms of the same stage that a room may import."""
    return {f"{room.split('.')[0]}.{name}" for name in ROOMS[room].split()}


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_import_what_they_may(room):
    stage = room.split(".")[0]
    wrong = {
        (name, i)
        for name in MODULES
        if room_of(name) == room
        for i in imports(name)
        if i.split(".")[0] == stage and room_of(i) not in {*allowed_in(room), room, stage}
    }
    assert not wrong


def test_every_module_is_in_a_room_and_rooms_are_in_order():
    assert {room_of(name) for name in MODULES if "." in name} == ROOMS.keys()
    seen = []
    for room in ROOMS:
        assert allowed_in(room) <= set(seen)
        seen.append(room)


def test_rooms_are_at_most_eight_deep():
    depth = {}
    for room in ROOMS:
        depth[room] = 1 + max((depth[name] for name in allowed_in(room)), default=0)
    assert max(depth[room] for room in ROOMS if room.startswith("supernet.")) <= 8


def test_rooms_are_small():
    folders = {path.parent for path in MODULES.values()}
    sizes = {f: len([p for p in f.glob("*.py") if p.name != "__init__.py"]) for f in folders}
    assert max(sizes.values()) <= 16, sizes


def test_modules_are_short():
    assert not [name for name, path in MODULES.items() if len(path.read_text().splitlines()) > 300]


@pytest.mark.parametrize("folder", ["supernet", "search", "plm_supernet", "tests", "benchmarks"])
def test_functions_are_short(folder):
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    paths = list((ROOT / folder).rglob("*.py"))
    assert paths
    assert not [
        (path.name, node.name)
        for path in paths
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, functions) and (node.end_lineno or 0) - node.lineno + 1 > 50
    ]


def test_packages_hold_a_docstring_alone():
    """An import in an `__init__.py` comes with every module of the package. Two have to come, before torch; the Python
    API's is what users import."""
    packages = {name: TREES[name].body for name, path in MODULES.items() if path.name == "__init__.py"}
    others = packages.keys() - {"supernet", "search", "plm_supernet"}
    assert not [name for name in others if len(packages[name]) != 1]
    assert imports("supernet") == {"supernet.runtime.threads"}
    assert imports("search") == {"supernet", "supernet.console.start"}


def importers(package):
    return {name for name in MODULES if any(i.split(".")[0] == package for i in imports(name))}


def test_supernet_never_imports_search():
    assert all(name.startswith(("search", "plm_supernet")) for name in importers("search"))


def test_nobody_imports_the_python_api():
    assert all(name.startswith("plm_supernet") for name in importers("plm_supernet"))


COMMAND_MODULES = {"supernet.__main__", *(row.main.partition(":")[0] for row in COMMANDS.values())}


def test_nobody_imports_a_command():
    assert not [name for name in MODULES if COMMAND_MODULES & imports(name)]


def test_hydra_and_syne_tune_stay_where_they_belong():
    assert importers("hydra") | importers("omegaconf") == {
        "supernet.console.choices",
        "supernet.console.config",
        "supernet.console.command",
        "supernet.console.overrides",
    }
    users = importers("syne_tune")
    assert {name for name in users if not name.startswith("search.finetune.")} == {"search.searchers.schedulers"}


TORCH_FREE = ("supernet.runtime.reading", "supernet.console", "supernet.space", "supernet.options", "search.options")
TORCH_FREE += ("search.pareto", "search.objectives", "search.choice", "search.report.overlay")


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith(TORCH_FREE)])
def test_values_and_formulas_need_no_torch(name):
    assert not heavy({i for module in reached({name}) for i in imports(module)})


@pytest.mark.parametrize("name", sorted(COMMAND_MODULES))
def test_help_needs_no_torch(name):
    """What a command's functions import, they import when they run."""
    functions = [node for node in TREES[name].body if isinstance(node, ast.FunctionDef)]
    late = {i for function in functions for i in imported_in(function)}
    at_once = imports(name) - late
    assert not heavy({i for module in reached(at_once & MODULES.keys()) for i in imports(module)} | at_once)


def reached(names):
    """The modules of ours that some modules import, themselves among them."""
    found, todo = set(names), list(names)
    while todo:
        new = (imports(todo.pop()) & MODULES.keys()) - found
        found |= new
        todo += new
    return found


def heavy(names):
    return [name for name in names if name.split(".")[0] in ("torch", "transformers")]


def test_there_are_no_cycles():
    graph = {name: {i for i in imports(name) if i in MODULES} for name in MODULES}
    while free := [name for name, needs in graph.items() if not needs]:
        graph = {name: needs - set(free) for name, needs in graph.items() if name not in free}
    assert not graph


def test_yaml_holds_no_python_paths():
    for path in (ROOT / "conf").rglob("*.yaml"):
        assert "_target_" not in path.read_text(), path


def test_paths_of_users_are_read_in_one_way():
    """`Path.expanduser` fails where a name begins with ~ and is no user's; `storage.user_path` does not."""
    assert not [name for name, path in MODULES.items() if ").expanduser()" in path.read_text()]


KIND_TABLES = {"supernet.options.kinds", "supernet.models.heads"}
"""The tables of the kinds of task."""


def asks_for_kind(node):
    """Whether a part of a module asks what kind of task there is, instead of reading a row of the tables."""
    text = ast.unparse(node) if isinstance(node, ast.expr) else ""
    if isinstance(node, ast.Constant):
        return node.value in KINDS
    if isinstance(node, ast.Compare):
        return bool(re.search(r"\b(CLASSIFICATION|REGRESSION|CHOICE|task\.kind|problem_type|shape\[1\])\b", text))
    if isinstance(node, ast.If | ast.IfExp | ast.BoolOp):
        tests = node.values if isinstance(node, ast.BoolOp) else [node.test]
        return any(re.search(r"\.(choices|label_range)$", ast.unparse(test)) for test in tests)
    return isinstance(node, ast.Attribute) and re.fullmatch("is_(classification|regression|choice)", node.attr)


def test_the_kind_of_a_task_is_asked_in_its_tables_alone():
    asked = {
        (name, ast.unparse(node))
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if name not in KIND_TABLES and asks_for_kind(node)
    }
    assert not asked
    assert any(asks_for_kind(node) for name in KIND_TABLES for node in ast.walk(TREES[name]))


def test_the_tables_of_kinds_have_the_same_rows():
    assert HEADS.keys() == KINDS.keys()


def test_values_are_frozen():
    """`object.__setattr__` in a frozen dataclass gives its fields types that no checker knows."""
    assert not [name for name, path in MODULES.items() if "object.__setattr__" in path.read_text()]

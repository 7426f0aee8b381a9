"""README.md's commands and Python run as they are written, and what the documents name exists.

What the tests change in the commands stands in `SUBSTITUTIONS`: everything becomes small enough for seconds.
"""

import csv
import pkgutil
import re
import shlex
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import torch

import plm_supernet
from search.compress import Plan
from supernet.console.command import Command
from supernet.console.routing import route, routed_jobs
from supernet.export import verify
from supernet.runtime.commands import COMMANDS, schema_of
from tests.models import tiny_model
from tests.test_exporting import forked

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
DOCUMENTS = [ROOT / "README.md", *sorted(file for file in (ROOT / "docs").glob("*.md") if file.name != "upgrading.md")]
SCRIPTS = {row.script: name for name, row in COMMANDS.items() if row.script is not None}


@dataclass(frozen=True)
class Typed:
    """A command of ours as it stands in a document.

    Attributes:
        name: A key of `COMMANDS`.
        arguments: What follows it.
        output: File that its output goes to (`> FILE`), or none.
    """

    name: str
    arguments: tuple[str, ...]
    output: str | None

    @property
    def overrides(self):
        return [argument for argument in self.arguments if not argument.startswith("-")]

    def compose(self):
        """The overrides of each configuration that it asks for, all of them checked."""
        sweep = bool({"-m", "--multirun"} & {*self.arguments})
        return routed_jobs(self.name, self.overrides, sweep=sweep)


def blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def shell_lines(text):
    """The lines of the shell blocks as words, without comments."""
    lines = "".join(blocks(text, "bash")).replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def as_typed(words):
    """A shell line as a command of ours; None if it is another program."""
    output = words[words.index(">") + 1] if ">" in words else None
    words = words[: words.index(">")] if ">" in words else words
    for i, word in enumerate(words):
        if word in SCRIPTS and words[0] in ("accelerate", "python"):
            return Typed(SCRIPTS[word], tuple(words[i + 1 :]), output)
        if word in ("plm-supernet", "supernet") and i + 1 < len(words):
            return Typed(words[i + 1], tuple(words[i + 2 :]), output)
    return None


def typed_in(text):
    return [typed for words in shell_lines(text) if (typed := as_typed(words)) is not None]


@pytest.mark.parametrize("file", DOCUMENTS, ids=lambda file: file.name)
def test_every_command_composes(file):
    assert all(typed.compose() for typed in typed_in(file.read_text("utf-8")))


def test_other_programs_in_readme_are_known():
    others = [words for words in shell_lines(README) if as_typed(words) is None]
    assert {words[0] for words in others} == {"python", "pip"}
    assert [word for words in others for word in words if word.endswith(".txt")] == ["launch/constraints.txt"]
    scripts = set(re.findall(r"bash (launch/\w+\.sh)", README))
    assert scripts >= {"launch/quickstart.sh", "launch/test.sh"}
    assert all((ROOT / script).is_file() for script in scripts)


@pytest.mark.parametrize("more", [r'""\) compress\+=\((.*)\)', r"--short\) compress\+=\((.*)\)"])
def test_the_quickstart_composes(more):
    script = (ROOT / "launch" / "quickstart.sh").read_text()
    first, second = re.search(r"^compress=\((.*)\)", script, re.MULTILINE), re.search(more, script)
    arguments = f"{first[1]} {second[1]}".split()
    plan = Plan.of(route("compress", arguments))
    assert (plan.train.task.name, plan.export.limits, plan.export.name) == (
        "stdlib",
        {"max_params": "0.5"},
        "quickstart",
    )
    assert plan.train.train.epochs <= 2
    assert plan.search.max_evaluations <= 60
    (shown,) = re.findall(r"`plm-supernet compress (task=stdlib [^`]*)`", README)
    assert f"compress=({shown})" in script


SUBSTITUTIONS = {
    "train": ["debug=fast", "train.epochs=1", "model.name_or_path={model}"],  # a tiny model
    "search": ["debug=fast", "max_evaluations=4", "workload.length=16"],
    "export": ["formats=[]", "workload.length=16"],
    "predict": ["model={newest}"],
}
"""What is added to README's commands, by command. Later values win."""
SUBSTITUTIONS["compress"] = [*SUBSTITUTIONS["train"], *SUBSTITUTIONS["search"], "formats=[]", "finetune.epochs=1"]
NEED_THE_HUB = {"task=sst2", "task=mnli"}
"""Commands with one of these arguments are composed only."""


def run(typed, model, monkeypatch, capsys):
    """Runs a command in this process: without a launcher, which test_distributed.py starts."""
    newest = newest_export()
    added = [argument.format(model=model, newest=newest) for argument in SUBSTITUTIONS.get(typed.name, [])]
    keys = {argument.partition("=")[0] for argument in added}
    kept = [argument for argument in typed.arguments if argument.partition("=")[0] not in keys]
    monkeypatch.setattr("sys.argv", [f"plm-supernet {typed.name}", *kept, *added])
    capsys.readouterr()
    pkgutil.resolve_name(COMMANDS[typed.name].main)()
    printed = capsys.readouterr().out
    if typed.output is not None:
        Path(typed.output).write_text(printed)
    return printed


def write_data(folder):
    """The file and the folder that README names, with columns of these names."""
    (folder / "articles").mkdir()
    for file, columns in (("reviews.csv", ["text", "label"]), ("articles/train.csv", ["title", "body", "topic"])):
        with (folder / file).open("w", newline="") as stream:
            rows = [[f"a tree {i}", f"the rain is nice {i % 7}", ("sea", "land")[i % 2]] for i in range(120)]
            csv.writer(stream).writerows([columns, *(row[-len(columns) :] for row in rows)])
    (folder / "texts.csv").write_text("text\na tree in the rain\nfog\n")


@pytest.fixture
def small_enough(tokenizer, tmp_path):
    """A tiny pre-trained model that is just large enough for the search space of experiment=best."""
    folder = tmp_path / "model"
    sizes = {"num_hidden_layers": 4, "num_attention_heads": 3, "hidden_size": 12, "intermediate_size": 512}
    tiny_model("bert", dtype=torch.float32, **sizes, max_position_embeddings=160).base_model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def newest_export():
    """The export folder that README calls runs/export/NAME."""
    return max(Path("runs/export").glob("[!.]*"), key=lambda path: path.stat().st_mtime, default=None)


@pytest.mark.slow
def test_readme_runs_as_written(small_enough, tmp_path, monkeypatch, capsys):
    """In one folder and in README's order: each command finds what those before it have left."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(verify, "run_fresh", forked)
    monkeypatch.setattr(verify, "TURNS", 2)
    write_data(tmp_path)
    printed = {
        typed: run(typed, small_enough, monkeypatch, capsys)
        for typed in typed_in(README)
        if not NEED_THE_HUB & {*typed.arguments}
    }
    fronts = [text for text in printed.values() if "Pareto front of stdlib" in text]
    assert len(fronts) == 1
    counts = {"train/*/supernet/supernet.json": 3, "search/*/front.csv": 3, "export/*/export.json": 2}
    assert {name: len(list(tmp_path.glob(f"runs/{name}"))) for name in counts} == counts
    (predicted,) = (text for typed, text in printed.items() if typed.name == "predict")
    assert {row["label"] for row in csv.DictReader(predicted.splitlines())} <= {"sea", "land"}


@pytest.mark.slow
def test_python_in_readme_runs_as_written(small_enough, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(verify, "run_fresh", forked)
    monkeypatch.setattr(verify, "TURNS", 2)
    few = {"train_epochs": 1, "model_name_or_path": small_enough, "data_cache_dir": tmp_path / "cache"}
    monkeypatch.setattr(plm_supernet, "train", partial(plm_supernet.train, debug="fast", **few))
    monkeypatch.setattr(plm_supernet, "search", partial(plm_supernet.search, max_evaluations=4, workload_length=16))
    write_data(tmp_path)
    pipeline, stages = blocks(README, "python")
    exec(stages, {})
    names = {}
    exec(pipeline.replace("runs/export/NAME", "small"), names)
    (found,) = names["classify"]("a tree in the rain")
    assert found["label"] in ("sea", "land")


COMMAND_TABLES = {name: Command(name, schema_of(name)) for name in COMMANDS}
KEYS = {key for command in COMMAND_TABLES.values() for key in (*command.keys, *command.forms)}
GROUPS = {}
for command in COMMAND_TABLES.values():
    for group, names in command.groups.items():
        GROUPS[group] = GROUPS.get(group, set()) | set(names)
SECTIONS = {key.partition(".")[0] for key in KEYS if "." in key}
NO_OPTIONS = {"key", "sep", "weights"}
"""What looks like an option and is none: the word `key=value`, Excel's first line, an argument in Python."""


def options_in(text):
    """Names of options in code: KEY=VALUE, and SECTION.KEY without a value."""
    code = " ".join(re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)))
    pairs = re.findall(r"(?<![\w.(-])([a-z_]+(?:\.[a-z_]+)*)=([\w.-]*)", code)
    dotted = re.findall(r"(?<![\w./=(-])([a-z_]+\.[a-z_]+)(?![\w./(=])", code)
    return pairs, [key for key in dotted if key.partition(".")[0] in SECTIONS and not key.endswith(FILE_ENDINGS)]


FILE_ENDINGS = (".py", ".md", ".json", ".jsonl", ".csv", ".yaml", ".png", ".sh", ".npz", ".cfg", ".safetensors")


@pytest.mark.parametrize("file", DOCUMENTS, ids=lambda file: file.name)
def test_options_in_the_documents_exist(file):
    pairs, dotted = options_in(file.read_text("utf-8"))
    unknown = {key for key, _ in pairs if key not in KEYS | GROUPS.keys() | NO_OPTIONS} | {
        key for key in dotted if key not in KEYS
    }
    assert not unknown
    wrong = {f"{key}={value}" for key, value in pairs if key in GROUPS and value and value not in GROUPS[key]}
    assert not wrong


def test_all_documents_together_name_every_choice():
    text = "".join(file.read_text("utf-8") for file in DOCUMENTS)
    for group in ("model", "space", "strategy", "searcher", "baseline", "sampling", "evaluator"):
        named = set(re.findall(r"[\w-]+", text))
        assert GROUPS[group] - {"none"} <= named, group


PAGES = [*DOCUMENTS, *(ROOT / f"{name}.md" for name in ("ARCHITECTURE", "CONTRIBUTING", "RELEASING"))]


@pytest.mark.parametrize("file", PAGES, ids=lambda file: file.name)
def test_files_that_the_documents_name_exist(file):
    """Links, and paths in backticks into folders of the project."""
    text = file.read_text("utf-8")
    links = {link.partition("#")[0] for link in re.findall(r"\]\((?!https?:|#)([^)]+)\)", text)}
    folders = "conf|docs|launch|benchmarks|tests|search|supernet"
    paths = {ROOT / path for path in re.findall(rf"`((?:{folders})/[\w./-]*\w\.(?:py|sh|yaml))`", text)}
    assert not [path for path in paths | {file.parent / link for link in links} if not path.exists()]


def test_architecture_names_modules_that_exist():
    text = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    modules = [file for folder in ("supernet", "search", "tests") for file in (ROOT / folder).rglob("*.py")]
    known = {"/".join(file.parts[-i:]) for file in [*modules, *ROOT.glob("*.py")] for i in (1, 2, 3)}
    assert set(re.findall(r"[\w/]+\.py", text)) <= known
    drawn = "".join(blocks(text, "text"))
    folders = {file.name for file in ROOT.glob("*/*/")} | {file.name for file in ROOT.iterdir()}
    assert set(re.findall(r"^ +(\w+)/", drawn, re.MULTILINE)) <= folders


def test_architecture_draws_every_room():
    drawn = "".join(blocks((ROOT / "ARCHITECTURE.md").read_text("utf-8"), "text"))
    rooms = {file.parent.name for file in (ROOT / "supernet").glob("*/__init__.py")}
    rooms |= {file.parent.name for file in (ROOT / "search").glob("*/__init__.py")}
    assert rooms <= set(re.findall(r"(\w+)/", drawn))


def test_tables_that_architecture_names_are_where_it_says():
    text = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    tables = re.findall(r"row of `([A-Z_]+)` in `([\w/]+\.py)`", text)
    assert len(tables) >= 3
    for name, path in tables:
        assert re.search(rf"^{name}\b", (ROOT / path).read_text("utf-8"), re.MULTILINE), name

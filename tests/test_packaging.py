"""What is installed is all that is needed, in versions that were tested together."""

import configparser
import re
import runpy
from pathlib import Path
from urllib.parse import urlparse

import pytest
import setuptools
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

from supernet import __version__

ROOT = Path(__file__).parent.parent


def requirements(text):
    return [Requirement(line.split("#")[0]) for line in text.splitlines() if line.split("#")[0].strip()]


def read_settings():
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    return settings


def test_every_package_is_pinned_once_for_every_python():
    pins = requirements((ROOT / "launch" / "constraints.txt").read_text())
    for version in ("3.10", "3.11", "3.13"):
        environment = {"python_version": version}
        names = [pin.name for pin in pins if pin.marker is None or pin.marker.evaluate(environment)]
        assert len(names) == len(set(names)), version
        settings = read_settings()
        extras = settings["options.extras_require"]
        wanted = settings["options"]["install_requires"] + extras["dev"] + extras["docs"]
        assert {requirement.name for requirement in requirements(wanted)} <= set(names), version


def test_every_yaml_is_installed():
    patterns = re.split(r",\s*", read_settings()["options.package_data"]["conf"].strip())
    installed = {file for pattern in patterns for file in (ROOT / "conf").glob(pattern)}
    assert installed == set((ROOT / "conf").rglob("*.yaml"))


def test_type_hints_are_installed():
    for package in ("supernet", "search", "plm_supernet"):
        assert (ROOT / package / "py.typed").exists()
        assert read_settings()["options.package_data"][package].strip() == "py.typed"


def test_every_folder_that_the_tests_need_is_in_the_source_distribution():
    lines = (ROOT / "MANIFEST.in").read_text().splitlines()
    grafted = {line.split()[1] for line in lines if line.startswith("graft ")}
    assert grafted >= {"benchmarks", "conf", "docs", "launch", "tests", ".ci", ".github"}
    patterns = next(line.split()[1:] for line in lines if line.startswith("include "))
    for name in ("README.md", "train_supernet.py", "search.py", "mkdocs.yml", "CITATION.cff", ".editorconfig"):
        assert any(Path(name).match(pattern) for pattern in patterns), name


def test_readme_on_pypi_links_into_the_repository(monkeypatch):
    """A relative link leads nowhere there, and a relative picture is not shown."""
    monkeypatch.setattr(setuptools, "setup", lambda **given: None)
    description = runpy.run_path(str(ROOT / "setup.py"))["description"]
    links = re.findall(r"\]\(([^)]*)\)", description((ROOT / "README.md").read_text(), "https://host/us"))
    assert links
    assert {urlparse(link).scheme for link in links if not link.startswith("#")} == {"https"}
    text = "![Front](docs/front.png) [data](docs/data.md#quotes) [paper](https://arxiv.org/abs/1) [below](#below)"
    assert description(text, "https://host/us") == (
        "![Front](https://host/us/raw/HEAD/docs/front.png) [data](https://host/us/blob/HEAD/docs/data.md#quotes) "
        "[paper](https://arxiv.org/abs/1) [below](#below)"
    )


def test_the_version_is_the_same_everywhere():
    assert str(Version(__version__)) == __version__
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == __version__


PROJECT_FILES = [".pre-commit-config.yaml", "CITATION.cff", "mkdocs.yml", *(ROOT / ".github").rglob("*.yml")]


@pytest.mark.parametrize("file", PROJECT_FILES, ids=lambda file: Path(file).name)
def test_files_of_the_project_are_yaml(file):
    assert isinstance(yaml.safe_load((ROOT / file).read_text()), dict)


@pytest.mark.parametrize("name", ["ci", "nightly"])
def test_workflows_run_scripts_that_exist_on_the_lowest_python(name):
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / f"{name}.yml").read_text())["jobs"]
    scripts = [step["run"].split()[1] for job in jobs.values() for step in job["steps"] if "run" in step]
    assert scripts
    assert all((ROOT / script).is_file() for script in scripts)
    lowest = read_settings()["options"]["python_requires"].removeprefix(">=")
    pythons = [job["strategy"]["matrix"]["python"] for job in jobs.values() if "strategy" in job]
    assert pythons == [[lowest, "3.13"]]


def test_hooks_run_what_the_checks_run():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    checks = (ROOT / "launch" / "test.sh").read_text()
    assert all(hook["id"].replace("-", " ") in checks for hook in hooks)

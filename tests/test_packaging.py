"""What is installed is all that is needed, in versions that were tested together."""

import configparser
import re
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent


def requirements(text):
    return [Requirement(line.split("#")[0]) for line in text.splitlines() if line.split("#")[0].strip()]


def test_every_package_is_pinned_once_for_every_python():
    pins = requirements((ROOT / "launch" / "constraints.txt").read_text())
    for version in ("3.10", "3.11", "3.13"):
        environment = {"python_version": version}
        names = [pin.name for pin in pins if pin.marker is None or pin.marker.evaluate(environment)]
        assert len(names) == len(set(names)), version
        settings = configparser.ConfigParser()
        settings.read(ROOT / "setup.cfg")
        wanted = settings["options"]["install_requires"] + settings["options.extras_require"]["dev"]
        assert {requirement.name for requirement in requirements(wanted)} <= set(names), version


def test_every_yaml_is_installed():
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    patterns = re.split(r",\s*", settings["options.package_data"]["conf"].strip())
    installed = {file for pattern in patterns for file in (ROOT / "conf").glob(pattern)}
    assert installed == set((ROOT / "conf").rglob("*.yaml"))

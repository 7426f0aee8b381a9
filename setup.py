"""All settings are in setup.cfg. This adds the description: README.md, with links into the repository that it names."""

import configparser
import re
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).parent


def description(readme: str, source: str) -> str:
    """README.md with its relative links and pictures as addresses in the repository `source`."""
    readme = re.sub(r"(!\[[^]]*\]\()(?!https?:|#)", rf"\1{source}/raw/HEAD/", readme)
    return re.sub(r"((?<!!)\[[^]]*\]\()(?!https?:|#)", rf"\1{source}/blob/HEAD/", readme)


settings = configparser.ConfigParser()
settings.read(ROOT / "setup.cfg", encoding="utf-8")
urls = dict(line.split(" = ") for line in settings["metadata"]["project_urls"].strip().splitlines())
text = (ROOT / "README.md").read_text("utf-8")
setup(long_description=description(text, urls["Source"]) if "Source" in urls else text)

"""The report as one HTML page that needs nothing else: no network, no fonts, no libraries."""

from __future__ import annotations

import html
import json
import re
from importlib.resources import files

from search.report.values import Report

_IN_SCRIPT = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}
"""Escapes, so that no text can end the script element around it."""


def render(values: Report) -> str:
    """The page.

    Args:
        values: The report, embedded as JSON.
    """
    data = json.dumps(values, separators=(",", ":"), allow_nan=False).translate(_IN_SCRIPT)
    folder = files("search.report")
    html_text, style, script = (folder.joinpath(f"page.{kind}").read_text("utf-8") for kind in ("html", "css", "js"))
    parts = {"TITLE": html.escape(values["title"]), "STYLE": style, "DATA": data, "SCRIPT": script}
    return re.sub(r"\{\{([A-Z]+)\}\}", lambda match: parts[match[1]], html_text)

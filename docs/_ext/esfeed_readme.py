"""Lets pages include README.rst and CONTRIBUTING.rst: links to files of the repository become links to pages.

`` `quick start <docs/tutorial.rst>`_ `` works where the repository is browsed; here it reads ``:doc:`` with the same
text. Before a space the replacement is filled up with more, so that the columns of tables stay where they are.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

_LINK = re.compile(r"`([^`<]+?)\s+<(?:docs/([\w/-]+)|(CONTRIBUTING|README))\.rst>`_(?=(\s)?)")
_PAGES = {"CONTRIBUTING": "contributing", "README": "index"}


def with_pages(text: str) -> str:
    """The text with each link to a file under ``docs``, and to those two, as a link to its page."""

    def page(found: re.Match[str]) -> str:
        link = f":doc:`{found[1]} </{found[2] or _PAGES[found[3]]}>`"
        return link + " " * (len(found[0]) - len(link) if found[4] else 0)

    return _LINK.sub(page, text)


def _included(app: Sphinx, relative: Path, parent: str, content: list[str]) -> None:
    if relative.name in ("README.rst", "CONTRIBUTING.rst"):
        content[0] = with_pages(content[0])


def setup(app: Sphinx) -> dict[str, Any]:
    """Told to Sphinx."""
    app.connect("include-read", _included)
    return {"version": "1", "parallel_read_safe": True}

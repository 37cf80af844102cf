"""``.. esfeed-notes::``: the release notes, from the files that reno keeps.

reno's own directive reads them out of git, by tags. That fails where there is no history (an unpacked archive, a
shallow clone), and finds no version before the first tag; the files say the same.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from docutils import nodes
from reno.defaults import PRELUDE_SECTION_NAME
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

_TITLES = {
    "features": "New",
    "fixes": "Fixed",
    "security": "Security",
    "upgrade": "Upgrade notes",
    "issues": "Known issues",
}


def notes_in(folder: Path) -> list[str]:
    """The notes of a folder as lines of reStructuredText. Raises ``ValueError`` for a section that nobody would see."""
    found: dict[str, list[str]] = {title: [] for title in _TITLES}
    prelude = ""
    for file in sorted(folder.glob("*.yaml")):
        for name, content in yaml.safe_load(file.read_text(encoding="utf-8")).items():
            if name == PRELUDE_SECTION_NAME:
                prelude = content
            elif name in found:
                found[name] += content
            else:
                raise ValueError(f"{file.name}: give the section {name} a title in {Path(__file__).name}")
    lines = [prelude, ""]
    for name, notes in found.items():
        if notes:
            lines += [f".. rubric:: {_TITLES[name]}", ""]
            for note in notes:
                first, *rest = note.strip().split("\n")
                lines += [f"* {first}", *(f"  {line}" if line else "" for line in rest)]
            lines.append("")
    return lines


class NotesDirective(SphinxDirective):
    """``.. esfeed-notes::``."""

    def run(self) -> list[nodes.Node]:
        folder = Path(self.env.srcdir).parent / "releasenotes" / "notes"
        self.env.note_dependency(str(folder))
        return self.parse_text_to_nodes("\n".join(notes_in(folder)))


def setup(app: Sphinx) -> dict[str, Any]:
    """Told to Sphinx."""
    app.add_directive("esfeed-notes", NotesDirective)
    return {"version": "1", "parallel_read_safe": True}

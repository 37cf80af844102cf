"""How the documentation is built: ``sphinx-build -W -n docs build/docs``. No network is needed."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

from esfeed import __version__

project = "esfeed"
author = "the esfeed developers"
copyright = "the esfeed developers, Apache-2.0"
version = release = __version__

extensions = ["sphinx_click", "esfeed_settings", "esfeed_notes", "esfeed_readme"]
exclude_patterns = ["_*"]
# A literal block is what a terminal or a file shows; only a code-block names a language.
highlight_language = "text"
smartquotes = False
nitpicky = True

html_theme = "furo"
html_title = f"esfeed {__version__}"
html_static_path = ["_static"]
html_css_files = ["esfeed.css"]
html_show_sphinx = False
html_copy_source = False
pygments_style = "tango"
pygments_dark_style = "github-dark"

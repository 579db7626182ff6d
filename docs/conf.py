"""Sphinx: the pages of this folder as a site with search, that loads nothing from elsewhere. `make docs` builds it."""

from ranker import __version__

project = "Ranker"
copyright = "Ranker's authors, Apache License 2.0"
release = __version__

extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns: list[str] = []
nitpicky = True

myst_heading_anchors = 3  # the slugs that GitHub gives, so that a link works in both
highlight_language = "text"  # of blocks that name no language
html_theme = "furo"  # fonts of the system, light and dark, no third party
html_title = f"Ranker {__version__}"
html_static_path = ["_static"]
html_css_files = ["wide.css"]
html_copy_source = False
html_show_sphinx = False

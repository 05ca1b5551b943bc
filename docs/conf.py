"""How the documentation becomes a site: ``make docs`` (Sphinx, MyST, furo). It reads these files alone and asks nobody."""

from outwatch import __version__

project = "outwatch"
project_copyright = "the outwatch founders"
author = "the outwatch founders"
version = release = __version__

extensions = ["myst_parser"]
root_doc = "index"
exclude_patterns = ["README.md"]  # the list of pages for readers of the repository; index.md includes it

# Every link between pages, and to a heading of a page, must lead somewhere.
nitpicky = True
myst_heading_anchors = 4

html_theme = "furo"
html_title = f"outwatch {__version__}"
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False

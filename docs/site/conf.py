"""Sphinx: the guides as they stand in the repository, and the API reference from docstrings.

`make docs` builds them into build/docs. The source folder is the repository itself, so a link that
leads somewhere on a page of this repository leads to the same place in the built pages; one that
leads nowhere, be it a file or a heading, ends the build.
"""

from __future__ import annotations

import posixpath
import re
import sys
from pathlib import Path

from sphinx.application import Sphinx

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT))

from docs.site.docstrings import to_rst  # noqa: E402
from docs.site.messages import as_section  # noqa: E402

project = "DeepLab Edge"
root_doc = "README"
include_patterns = ["*.md", "docs/*.md", "docs/api/*.md", "train/weights/*.md", "*/README.md"]
exclude_patterns = ["docs/site", ".*"]
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]

myst_heading_anchors = 4  # as GitHub numbers them: README.md#measured
myst_links_external_new_tab = True
suppress_warnings = ["myst.header"]  # a card may begin with a second-level heading

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
default_role = "code"  # docstrings write `name`, as Markdown does
maximum_signature_line_length = 88

html_theme = "furo"
html_title = project
html_static_path = [str(HERE / "static")]
html_extra_path = [str(HERE / "root")]
html_css_files = ["house.css"]
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False
pygments_style = "default"
pygments_dark_style = "github-dark"


def read_docstring(
    app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]
) -> None:
    """Docstrings are plain text with a little Markdown; Sphinx wants reStructuredText."""
    lines[:] = to_rst(lines)


def complete(app: Sphinx, page: str, source: list[str]) -> None:
    """What would be a burden to keep in a file: the list of all pages, and of all messages."""
    if page == root_doc:
        source[0] += contents()
    if page == "docs/troubleshooting":
        source[0] += as_section()


def contents() -> str:
    """What docs/README.md lists, under its headings, then the API and the rooms."""
    guides = HERE.parent
    parts = (guides / "README.md").read_text().split("\n## ")[1:]
    listed = {part.splitlines()[0]: re.findall(r"\]\((\S+)\.md\)", part) for part in parts}
    listed["API"] = [f"api/{page.stem}" for page in sorted(guides.glob("api/[a-z]*.md"))]
    rooms = sorted(page.parent.name for page in ROOT.glob("[a-z]*/README.md"))
    listed["Rooms"] = [f"../{room}/README" for room in rooms if room != guides.name]
    listed["Start"].insert(0, "README")
    return "".join(toctree(*part) for part in listed.items())


def toctree(caption: str, pages: list[str]) -> str:
    """One part of the list; pages are named from docs/."""
    names = [posixpath.normpath(f"docs/{page}") for page in pages]
    return "\n".join(["\n```{toctree}", ":hidden:", f":caption: {caption}", "", *names, "```\n"])


def setup(app: Sphinx) -> None:
    """What Sphinx asks of this file."""
    app.connect("autodoc-process-docstring", read_docstring, priority=400)  # before napoleon
    app.connect("source-read", complete)

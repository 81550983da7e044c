"""How Sphinx builds the documentation."""

from importlib.metadata import version as installed_version
from itertools import dropwhile

from docutils.nodes import Element
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sqlalchemy import URL, Engine

from fastapi_taskflow import manager
from fastapi_taskflow.store import chosen

# They import these for type checkers only; signatures are written out with them.
vars(manager).update(URL=URL)
vars(chosen).update(URL=URL, Engine=Engine)

project = "fastapi-taskflow"
author = "The fastapi_taskflow authors"
copyright = f"2026, {author}"
version = release = installed_version(project)

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.doctest", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = project

autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
myst_heading_anchors = 3

nitpick_ignore_regex = [
    # Other projects' names can't be looked up without the network; ours must resolve.
    ("py:.*", r"(?!fastapi_taskflow\b).*"),
    # Type variables have no page.
    ("py:(class|obj)", r".*\.([A-Z]|EventT)"),
    # Private bases have none either.
    ("py:class", r".*\._[A-Z]\w+"),
]


def link_public_name(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, text: Element
) -> Element | None:
    """Link a name to its public home, whatever module an annotation found it in."""
    target = node.get("reftarget", "")
    if node["refdomain"] != "py" or not target.startswith("fastapi_taskflow."):
        return None
    python = env.domains.python_domain
    module, _, last = target.rpartition(".")
    name = ".".join(dropwhile(str.islower, target.split("."))) or last
    homes = [known for known in python.objects if known.endswith(f".{name}")]
    if len(homes) == 1:
        return python.resolve_xref(env, node["refdoc"], app.builder, "obj", homes[0], node, text)
    return None if module in python.modules else text  # internal names stay text


def setup(app: Sphinx) -> None:
    """Connect what no extension does."""
    app.connect("missing-reference", link_public_name)

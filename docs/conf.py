"""How Sphinx builds the documentation; ci/docs calls it."""

from __future__ import annotations

import builtins
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from sphinx.addnodes import pending_xref

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import xsffi.aio
import xsffi.conditions
import xsffi.lowlevel.xs
import xsffi.testing

if TYPE_CHECKING:
    from docutils.nodes import TextElement, document
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

project = "xsffi"
author = "the xsffi authors"
release = version = xsffi.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
myst_heading_anchors = 3  # as on GitHub

html_theme = "furo"
html_title = f"xsffi {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_show_copyright = False

autoclass_content = "both"
autodoc_default_options = {"member-order": "bysource"}
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 88

DROP_IN_CALL = re.compile(r"\w+(\(.*?\)): ")

# Where to find the names that annotations use: first in the module being documented, then in these.
HOMES = {
    "xsffi.aio": {*xsffi.aio.__all__, "Callback"},
    "xsffi": {*xsffi.__all__, "Callback", "PermissionLike"},
    "xsffi.conditions": {*xsffi.conditions.__all__, "Condition", "Wanted"},
    "xsffi.testing": {*xsffi.testing.__all__, "Contents"},
    "xsffi.lowlevel.xs": {*xsffi.lowlevel.xs.__all__},
}
# Other names in annotations: Python's own, and those that nobody needs to know more about.
UNDESCRIBED = {
    *dir(builtins),
    *("Any", "AsyncIterator", "Awaitable", "Callable", "Iterable", "Iterator", "Mapping", "PathLike", "Sequence"),
    *("Backend", "Coroutine", "ItemsView", "ModuleType", "T", "ValuesView"),
}


def qualify(app: Sphinx, doctree: document) -> None:
    """Write names in annotations in full, so that they link to their descriptions."""
    for node in doctree.findall(pending_xref):
        name = node["reftarget"]
        if node.get("refdomain") != "py" or "." in name:
            continue
        for module in (node.get("py:module"), *HOMES):
            if name in HOMES.get(module, ()):
                node["reftarget"] = f"{module}.{name}"
                node["reftype"] = "obj"  # a class, or an alias of a type
                node["refspecific"] = False
                break


def pass_over(app: Sphinx, env: BuildEnvironment, node: pending_xref, text: TextElement) -> TextElement | None:
    """Leave undocumented names as plain text."""
    is_name = node.get("refdomain") == "py" and node["reftarget"].rpartition(".")[2] in UNDESCRIBED
    return text if is_name else None


def tell_signature(
    app: Sphinx, kind: str, name: str, described: object, options: object, signature: str, returned: str
) -> tuple[str, str | None] | None:
    """Hide signatures of fixtures, and of classes that users do not call. The drop-in has them in its docstrings."""
    is_had = kind == "class" and (described.__init__.__doc__ or "").startswith("Created by")
    if is_had or name.startswith("xsffi.pytest_plugin."):
        return "", None
    told = DROP_IN_CALL.match(described.__doc__ or "") if name.startswith("xsffi.lowlevel.xs.xs.") else None
    return (told[1], returned) if told and kind == "method" else None


def tell_once(app: Sphinx, kind: str, name: str, described: object, options: object, lines: list[str]) -> None:
    """Remove from the text what is now the signature."""
    if lines and name.startswith("xsffi.lowlevel.xs.xs."):
        text = DROP_IN_CALL.sub("", lines[0])
        lines[0] = f"{text[:1].upper()}{text[1:]}"


def setup(app: Sphinx) -> None:
    """What Sphinx calls first."""
    app.connect("doctree-read", qualify)
    app.connect("missing-reference", pass_over)
    app.connect("autodoc-process-signature", tell_signature)
    app.connect("autodoc-process-docstring", tell_once)

"""The layers: which module may import which.

The table defines the design. A module may import what is above it in the table, including in its own layer, and the
standard library; nothing imports the package root; there are no cycles. A module that is in no layer is an error.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "xsffi"
ROOT = "xsffi"
# The compiled modules, each with the only module that may import it.
COMPILED = {
    "_xenstore": "backends.libxenstore.extension",
    "_shortcuts": "backends.libxenstore.extension",
    "_wire": "backends.wire.native",
}


class Layer(NamedTuple):
    """A layer: its modules from top to bottom, where a name that ends in a dot stands for a whole package; and the
    layers above that it may use, if not all."""

    name: str
    modules: tuple[str, ...]
    uses: tuple[str, ...] | None = None


LAYERS = (
    Layer(
        "core",
        (
            "static_types",
            "log",
            "errors",
            "forks",
            "options",
            "lazy",
            "paths",
            "domids",
            "permissions",
            "records",
            "dump_files",
            "addresses",
        ),
    ),
    Layer(
        "protocol",
        (
            "protocol",
            "protocol.wire",
            "protocol.requests",
            "protocol.lookups",
            "protocol.session",
            "protocol.batches",
            "protocol.programs",
            "protocol.trees",
            "protocol.transactions",
            "protocol.tracing",
            "protocol.safeguards",
            "protocol.verbs",
            "protocol.queued",
            "protocol.pipelines",
            "protocol.loading",
            "protocol.watch_table",
            "protocol.conditions",
            "protocol.shared_watches",
            "protocol.mirroring",
            "protocol.upkeep",
        ),
    ),
    Layer(
        "backends",
        (
            "backends",
            "backends.base",
            "backends.wire",
            "backends.wire.transports",
            "backends.wire.spin",
            "backends.wire.polling",
            "backends.wire.events",
            "backends.wire.connection",
            "backends.wire.native",
            "backends.wire.batches",
            "backends.wire.opening",
            "backends.wire.several",
            "backends.wire.backend",
            "backends.libxenstore",
            "backends.libxenstore.extension",
            "backends.libxenstore.binding",
            "backends.libxenstore.calls",
            "backends.libxenstore.liveness",
            "backends.libxenstore.opening",
            "backends.libxenstore.reading",
            "backends.libxenstore.lifetime",
            "backends.libxenstore.connection",
            "backends.libxenstore.events",
            "backends.libxenstore.backend",
            "backends.trace",
            "backends.selection",
        ),
    ),
    Layer(
        "sync",
        (
            "sync",
            "sync.operations",
            "sync.nodes",
            "sync.transaction",
            "sync.trees",
            "sync.watching",
            "sync.watches",
            "sync.waiting",
            "sync.mirror_links",
            "sync.mirror",
            "sync.pipeline",
            "sync.client",
        ),
    ),
    Layer("asyncio", ("aio.",), uses=("core", "protocol")),
    Layer("server", ("server.",), uses=("core", "protocol")),
    Layer("entry points", ("conditions", "lowlevel.", "testing", "pytest_plugin", "cli.", "__main__")),
)

# The third-party packages, and the only modules that may import each.
FOREIGN = {
    "pytest": ("testing", "pytest_plugin"),
    "cffi": ("backends.libxenstore.extension",),
    "rich": ("cli.output", "cli.colours"),
    "shtab": ("cli.completion",),
    "argparse_manpage": ("cli.manual",),
    "typing_extensions": ("permissions", "protocol.requests"),  # only for type checkers, which include it
}

# The protocol layer uses no sockets, clocks or threads.
FORBIDDEN = {
    "protocol": ("_thread", "asyncio", "concurrent", "datetime", "fcntl", "multiprocessing", "os", "queue", "select",
                 "selectors", "signal", "socket", "ssl", "subprocess", "threading", "time"),
}  # fmt: skip


class Place(NamedTuple):
    """The place of a module in the table."""

    layer: Layer
    height: int  # the layer's position from the top
    row: int  # the position within the layer


def place_of(module: str) -> Place | None:
    """The place of a module in the table, or None if it is in no layer."""
    for height, layer in enumerate(LAYERS):
        for row, name in enumerate(layer.modules):
            if module == name or (name.endswith(".") and f"{module}.".startswith(name)):
                return Place(layer, height, row)
    return None


def modules_of(package: Path) -> dict[str, Path]:
    """The modules of the package by name, relative to the package; the root's name is empty."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports_of(module: str, path: Path, modules: Mapping[str, Path]) -> Iterator[str]:
    """The full names of the modules that a module imports, anywhere in its code, including for type checkers only."""
    package = [ROOT, *module.split(".")] if module else [ROOT]
    if path.name != "__init__.py":
        package.pop()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name
                if alias.name.startswith(f"{ROOT}.") and alias.asname is None:
                    yield ROOT  # the name that the statement binds
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                name = f"{source}.{alias.name}"
                inside = name[len(ROOT) + 1 :]
                yield name if name.startswith(f"{ROOT}.") and (inside in modules or inside in COMPILED) else source


def edges_of(package: Path) -> dict[str, set[str]]:
    """The full names of what each module imports."""
    modules = modules_of(package)
    return {module: set(imports_of(module, path, modules)) for module, path in modules.items()}


def wrong_edges(package: Path) -> list[str]:
    """The violations of the table, a sentence each."""
    edges = edges_of(package)
    wrong = []
    for module, targets in edges.items():
        if module and place_of(module) is None:
            wrong.append(f"{module} is in no layer")
        wrong += [sentence for target in sorted(targets) if (sentence := why_wrong(module, target))]
    inside = {
        module: {target[len(ROOT) + 1 :] for target in targets if target.startswith(f"{ROOT}.")}
        for module, targets in edges.items()
    }
    try:
        TopologicalSorter(inside).prepare()
    except CycleError as error:
        wrong.append(f"a cycle: {' -> '.join(error.args[1])}")
    return wrong


def why_wrong(module: str, target: str) -> str | None:
    """Why a module may not import the other, or None if it may."""
    if target == ROOT:
        return f"{module} imports the package root"
    place = place_of(module)
    if not target.startswith(f"{ROOT}."):
        return why_wrong_outside(module, place, target.partition(".")[0])
    name = target[len(ROOT) + 1 :]
    if name in COMPILED:
        return None if module == COMPILED[name] else f"{module} imports {name}: {COMPILED[name]} is its importer"
    above = place_of(name)
    if above is None or (place is None and module):
        return f"{module} imports {name}, and one of the two is in no layer"
    if place is None:  # the package root
        return f"the root imports {name}, an entry point" if above.layer.name == "entry points" else None
    if above.height == place.height:
        if above.row < place.row or (above.row == place.row and name != module):
            return None
        return f"{module} imports {name}, which is not above it in its layer"
    if above.height > place.height:
        return f"{module} imports {name}, which is below it"
    if place.layer.uses is not None and above.layer.name not in place.layer.uses:
        return f"{module} imports {name}: {place.layer.name} uses {' and '.join(place.layer.uses)} only"
    return None


def why_wrong_outside(module: str, place: Place | None, name: str) -> str | None:
    """The same for a module outside this package."""
    if place is not None and name in FORBIDDEN.get(place.layer.name, ()):
        return f"{module} imports {name}, which has no business in {place.layer.name}"
    # stdlib_module_names exists since Python 3.10; on 3.9 this check passes everything.
    if name in getattr(sys, "stdlib_module_names", [name]) or module in FOREIGN.get(name, ()):
        return None
    return f"{module} imports {name}, which is not of the standard library"


def test_the_house_stands() -> None:
    assert wrong_edges(PACKAGE) == []


def test_the_edges_are_found() -> None:
    """Otherwise the test above would pass without checking anything."""
    edges = edges_of(PACKAGE)
    for module, target in [
        ("", "xsffi.sync.client"),
        ("sync.client", "xsffi.sync.watches"),
        ("sync.operations", "xsffi.protocol.programs"),
        ("protocol.wire", "xsffi.errors"),
        ("backends.libxenstore.extension", "xsffi._xenstore"),
        ("backends.wire.native", "xsffi._wire"),
        ("backends.wire.backend", "xsffi.protocol.session"),
    ]:
        assert target in edges[module]


# The backend modules without tests of their own, and why.
UNTESTED = {
    "backends.base": "it has protocols for type checkers, and nothing that runs",
}


def test_each_module_of_the_backends_has_its_tests_beside_it() -> None:
    """In a file of the same name, so that anyone who changes the module finds it."""
    tests = Path(__file__).parent
    modules = modules_of(PACKAGE)
    missing = set()
    for name, path in modules.items():
        if name.startswith("backends") and path.name != "__init__.py":
            beside = tests / path.relative_to(PACKAGE).with_name(f"test_{path.name}")
            if not beside.exists():
                missing.add(name)
    assert "backends.wire.native" in modules
    assert missing == set(UNTESTED)


# A package without violations.
SOUND = {
    "__init__.py": "from .sync.client import Client",
    "errors.py": "import errno",
    "paths.py": "from .errors import E",
    "protocol/__init__.py": "",
    "protocol/wire.py": "from ..errors import E",
    "backends/__init__.py": "",
    "backends/base.py": "from ..protocol import wire as w",
    "backends/wire/__init__.py": "",
    "backends/wire/native.py": "from ... import _wire",
    "backends/libxenstore/__init__.py": "",
    "backends/libxenstore/extension.py": "from ..._xenstore import ffi, lib",
    "sync/__init__.py": "",
    "sync/client.py": "from ..backends.base import Backend\nfrom .. import paths\nimport xsffi.errors as e",
    "aio/__init__.py": "from .streams import Stream\nfrom ..protocol.wire import W",
    "aio/streams.py": "import asyncio\nfrom ..paths import P",
    "cli/__init__.py": "",
    "cli/main.py": "from ..sync.client import Client\nfrom ..aio.streams import Stream",
    "pytest_plugin.py": "import pytest",
}


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"errors.py": "from .paths import P"}, "errors imports paths, which is not above it in its layer"),
        ({"errors.py": "from .protocol.wire import W"}, "errors imports protocol.wire, which is below it"),
        ({"errors.py": "from .protocol import wire"}, "errors imports protocol.wire, which is below it"),
        ({"errors.py": "from . import protocol"}, "errors imports protocol, which is below it"),
        ({"paths.py": "from xsffi.sync.client import C"}, "paths imports sync.client, which is below it"),
        ({"paths.py": "import xsffi.sync.client as c"}, "paths imports sync.client, which is below it"),
        ({"paths.py": "def f():\n    from .sync.client import C"}, "paths imports sync.client, which is below it"),
        (
            {"paths.py": "if TYPE_CHECKING:\n    from .sync.client import C"},
            "paths imports sync.client, which is below it",
        ),
        ({"protocol/wire.py": "from ..backends.base import B"}, "protocol.wire imports backends.base, which is below"),
        ({"protocol/__init__.py": "from .wire import W"}, "protocol imports protocol.wire, which is not above it"),
        ({"protocol/wire.py": "import socket"}, "protocol.wire imports socket, which has no business in protocol"),
        ({"protocol/wire.py": "from time import time"}, "protocol.wire imports time, which has no business"),
        ({"sync/client.py": "from .. import Client"}, "sync.client imports the package root"),
        ({"sync/client.py": "from xsffi import Client"}, "sync.client imports the package root"),
        ({"sync/client.py": "import xsffi"}, "sync.client imports the package root"),
        ({"sync/client.py": "import xsffi.errors"}, "sync.client imports the package root"),
        ({"cli/main.py": "from .. import Client"}, "cli.main imports the package root"),
        (
            {"sync/client.py": "from .._xenstore import lib"},
            "sync.client imports _xenstore: backends.libxenstore.extension is its",
        ),
        (
            {"sync/client.py": "from .. import _xenstore"},
            "sync.client imports _xenstore: backends.libxenstore.extension",
        ),
        (
            {"sync/client.py": "from .._wire import open"},
            "sync.client imports _wire: backends.wire.native is its importer",
        ),
        (
            {"backends/wire/native.py": "from ..._xenstore import lib"},
            "backends.wire.native imports _xenstore: backends.libxenstore.extension is its importer",
        ),
        ({"aio/streams.py": "from ..backends.base import B"}, "aio.streams imports backends.base: asyncio uses core"),
        (
            {"aio/streams.py": "from ..sync.client import C"},
            "aio.streams imports sync.client: asyncio uses core and protocol",
        ),
        ({"server/__init__.py": "from ..aio.streams import S"}, "server imports aio.streams: server uses core and"),
        ({"sync/client.py": "from ..cli.main import m"}, "sync.client imports cli.main, which is below it"),
        ({"__init__.py": "from .cli.main import m"}, "the root imports cli.main, an entry point"),
        ({"aio/streams.py": "from . import S"}, "a cycle: aio"),
        ({"cli/main.py": "from .other import o", "cli/other.py": "from .main import m"}, "a cycle: cli."),
        ({"utils.py": ""}, "utils is in no layer"),
        ({"protocol/extra.py": "import errno"}, "protocol.extra is in no layer"),
        (
            {"sync/client.py": "from ..utils import u", "utils.py": ""},
            "sync.client imports utils, and one of the two is in no",
        ),
    ],
    ids=str,
)
def test_a_wrong_edge_is_found(tmp_path: Path, changed: dict[str, str], sentence: str) -> None:
    build(tmp_path, {**SOUND, **changed})
    assert any(wrong.startswith(sentence) for wrong in wrong_edges(tmp_path)), wrong_edges(tmp_path)


@pytest.mark.skipif(sys.version_info < (3, 10), reason="Python 3.9 has no list of what the standard library is")
@pytest.mark.parametrize(
    "text", ["import cffi", "from requests import get", "import pytest", "import xsffi_extra.thing"]
)
def test_a_foreign_module_is_found(tmp_path: Path, text: str) -> None:
    build(tmp_path, {**SOUND, "sync/client.py": text})
    (wrong,) = wrong_edges(tmp_path)
    assert wrong.endswith("which is not of the standard library")


def test_sound_layers_are_found_sound(tmp_path: Path) -> None:
    build(tmp_path, SOUND)
    assert wrong_edges(tmp_path) == []


def build(package: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        path = package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

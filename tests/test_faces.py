"""The methods of the public classes match the verbs."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from xsffi.aio import operations as awaited
from xsffi.protocol import verbs
from xsffi.protocol.queued import QueuedVerbs
from xsffi.sync.operations import DomainVerbs, NodeVerbs

ROOT = Path(__file__).resolve().parents[1]
FACES: list[tuple[type, tuple[str, ...]]] = [
    (NodeVerbs, verbs.OF_NODES),
    (DomainVerbs, verbs.OF_DOMAINS),
    (awaited.NodeVerbs, verbs.OF_NODES),
    (awaited.DomainVerbs, verbs.OF_DOMAINS),
    (QueuedVerbs, verbs.OF_NODES),
]


def test_they_are_as_they_would_be_written() -> None:
    subprocess.run([sys.executable, ROOT / "ci" / "faces", "--check"], check=True)


@pytest.mark.parametrize(("face", "names"), FACES, ids=[face.__module__ + "." + face.__name__ for face, _ in FACES])
def test_each_verb_has_its_method(face: type, names: tuple[str, ...]) -> None:
    """With the same parameters and, except in a pipeline, the same docstring."""
    for name in names:
        verb, method = getattr(verbs, name), getattr(face, name)
        given = [each for each in parameters(verb) if each.name != "any_domain"]
        assert [each for each in parameters(method) if each.name != "self"] == given
        words = inspect.getdoc(method) or ""
        if face is not QueuedVerbs:
            assert words.split() == (inspect.getdoc(verb) or "").split()
        assert words


def test_the_awaited_ones_are_async() -> None:
    for face, names in FACES:
        for name in names:
            assert inspect.iscoroutinefunction(getattr(face, name)) == face.__module__.startswith("xsffi.aio")


def test_every_verb_is_of_a_group() -> None:
    functions = {
        name for name, each in vars(verbs).items() if inspect.isfunction(each) and each.__module__ == verbs.__name__
    }
    assert {name for name in functions if not name.startswith("_")} == {
        *verbs.OF_NODES,
        *verbs.OF_DOMAINS,
        "encode_value",
    }


def parameters(function: Any) -> list[inspect.Parameter]:
    return [each.replace(annotation=str(each.annotation)) for each in inspect.signature(function).parameters.values()]

"""Runs the shell sessions shown in the documentation.

A block of the language ``console`` has commands, each after ``$`` (and ``>`` if the line before ends in a backslash),
and below each what it prints, on stdout and stderr. A block ``console meanwhile`` is run in another shell while the
last command of the preceding block is running: its commands run one after the other, the first as soon as that command
has printed a line, and each must make it print more. Afterwards the running command is ended by Ctrl-C, unless it ends
by itself. Timestamps are not compared.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep
from typing import NamedTuple

from .threads import PATIENCE

__all__ = ["Block", "Shell", "blocks_of"]

_MOMENT = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}|(?<=\"time\": )\d+\.\d+")


class Step(NamedTuple):
    """A command, and what it prints."""

    command: str
    output: str


class Block(NamedTuple):
    """The steps of one block."""

    steps: list[Step]
    is_meanwhile: bool


def blocks_of(text: str) -> Iterator[Block]:
    """The blocks of a document, or of part of one."""
    for info, lines in re.findall(r"^```console *(.*)\n((?:.*\n)*?)```$", text, re.MULTILINE):
        yield Block([_step(step) for step in re.split(r"^\$ ", lines, flags=re.MULTILINE)[1:]], info == "meanwhile")


def _step(text: str) -> Step:
    command, _, output = text.partition("\n")
    while command.endswith("\\"):
        following, _, output = output.partition("\n")
        command += "\n" + following.removeprefix("> ")
    return Step(command, output)


class Shell:
    """A bash in its own folder, in which ``xsffi`` is this project's."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._folder = folder
        programs = folder / "bin"
        programs.mkdir()
        program = programs / "xsffi"
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m xsffi "$@"\n')
        program.chmod(0o755)
        self._work = folder / "work"
        self._work.mkdir()
        self._environment = {**environment, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}

    def check(self, blocks: list[Block]) -> None:
        """Run the blocks; fails if the output differs."""
        status = 0
        for block, following in zip(blocks, [*blocks[1:], None]):
            for step in block.steps:
                if following is not None and following.is_meanwhile and step is block.steps[-1]:
                    self._check_running(step, following)
                elif not block.is_meanwhile:
                    printed, status = self._run(step.command, status)
                    assert _timeless(printed) == _timeless(step.output), f"$ {step.command}"

    def _run(self, command: str, status: int = 0) -> tuple[str, int]:
        """The output of a command, and its exit status. `status`: that of the previous command, for ``$?``."""
        done = subprocess.run(
            ["bash", "-c", f"(exit {status})\n{command}"],
            cwd=self._work,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
        )
        return done.stdout, done.returncode

    def _check_running(self, step: Step, meanwhile: Block) -> None:
        """Run both at once: `meanwhile` as soon as the first line has been printed."""
        output = self._folder / "output"
        with output.open("w") as file:
            running = subprocess.Popen(
                ["bash", "-c", f"exec {step.command}"],
                cwd=self._work,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        try:
            _until_lines(output, 1, running)
            for other in meanwhile.steps:
                lines = output.read_text().count("\n")
                printed, _ = self._run(other.command)
                assert printed == other.output, f"$ {other.command}"
                _until_lines(output, lines + 1, running)
            _until_lines(output, step.output.count("\n"), running)
        finally:
            running.send_signal(signal.SIGINT)
            running.wait(PATIENCE)
        assert _timeless(output.read_text()) == _timeless(step.output), f"$ {step.command}"


def _until_lines(output: Path, number: int, running: subprocess.Popen[bytes]) -> None:
    """Wait until there are so many lines, or the process has ended; or, at the latest, for PATIENCE, so that the lines
    there are can be shown."""
    end = monotonic() + PATIENCE
    while output.read_text().count("\n") < number and running.poll() is None and monotonic() < end:
        sleep(0.01)


def _timeless(text: str) -> str:
    """The text with each timestamp replaced by the same words."""
    return _MOMENT.sub("(a moment)", text)

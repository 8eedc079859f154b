"""``xsffi completion``: shell completion of commands, options and live paths.

shtab generates the completion of commands and options from the parsers. For paths and domains, the shell calls this
command, with what has been typed, in a hidden form.
"""

from __future__ import annotations

from ..errors import XenStoreError
from ..paths import child_path
from .command import DOMAIN, FILE_OR_PATH, Command, command_of
from .homes import absolute
from .opening import Opening
from .parsers import UsageError, global_parser, whole_parser
from .places import domain_names
from .values import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Mapping, Sequence
    from typing import Any

    from ..sync.client import Client
    from .output import Output

__all__ = ["COMMANDS", "completion"]

_SHELLS = ("bash", "zsh", "fish")
_INSTALL = "pip install 'xsffi[shell]'"
_PATIENCE = 2.0  # seconds to wait for the daemon after a key press

# Functions that call this command, for paths, for domains, and for arguments that may also be files.
_BASH = """\
_xsffi_ask() {
  xsffi completion "$@" --line "${COMP_WORDS[@]:1:COMP_CWORD-1}" 2>/dev/null
}
_xsffi_nodes() { _xsffi_ask --nodes="$1"; }
_xsffi_domains() { _xsffi_ask --domains="$1"; }
_xsffi_nodes_or_files() { _xsffi_nodes "$1"; compgen -f -- "$1"; }
"""
_ZSH = """\
_xsffi_ask() {
  local -a found
  found=(${(f)"$(xsffi completion "$@" --line "${_xsffi_line[@]}" 2>/dev/null)"})
  compadd -- $found
}
_xsffi_nodes() { _xsffi_ask --nodes="$PREFIX" }
_xsffi_domains() { _xsffi_ask --domains="$PREFIX" }
_xsffi_nodes_or_files() { _xsffi_nodes; _files }
# The words of the whole line; shtab's function drops those before the command.
functions[_xsffi_complete]=$functions[_shtab_xsffi]
_shtab_xsffi() {
  local -a _xsffi_line
  _xsffi_line=(${words[2,CURRENT-1]})
  _xsffi_complete "$@"
}
"""
_FISH = """\
function _xsffi_ask
  set -l words (commandline -opc)
  xsffi completion $argv --line $words[2..-1] 2>/dev/null
end
function _xsffi_nodes
  _xsffi_ask --nodes=(commandline -ct)
end
function _xsffi_domains
  _xsffi_ask --domains=(commandline -ct)
end
function _xsffi_nodes_or_files
  _xsffi_nodes
  __fish_complete_path (commandline -ct)
end
"""
_FUNCTIONS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}
_FUNCTION_FOR = {DOMAIN: "_xsffi_domains", FILE_OR_PATH: "_xsffi_nodes_or_files"}  # any other kind is a node


def _arguments(parser: ArgumentParser) -> None:
    from argparse import REMAINDER, SUPPRESS

    parser.epilog = (
        "For bash, write it to ~/.local/share/bash-completion/completions/xsffi; for zsh, to a file named _xsffi in a "
        "directory of $fpath; for fish, to ~/.config/fish/completions/xsffi.fish. Paths are completed from the store "
        f"that the options on the line select. Requires shtab ({_INSTALL})."
    )
    parser.add_argument("shell", choices=_SHELLS, nargs="?", metavar="SHELL", help="bash, zsh or fish")
    parser.add_argument("--nodes", help=SUPPRESS)
    parser.add_argument("--domains", help=SUPPRESS)
    parser.add_argument("--line", nargs=REMAINDER, default=[], help=SUPPRESS)


def completion(
    _: Opening,
    out: Output,
    shell: str | None = None,
    nodes: str | None = None,
    domains: str | None = None,
    line: Sequence[str] = (),
) -> int:
    """Print the completion script for a shell; or the possible completions of a word, from the store that `line`
    selects: `nodes` is the start of a path, `domains` that of a domain's number or name."""
    if shell is not None:
        out.line(_script(shell))
        return 0
    if nodes is None and domains is None:
        raise UsageError("no shell given", f"xsffi completion {'|'.join(_SHELLS)}")
    try:
        opening = _opening(line)
        with opening() as xs:
            found = _domains(xs, domains) if nodes is None else _paths(xs, nodes, opening.home(xs))
    except (UsageError, XenStoreError):
        return 1  # silently, so as not to disturb typing
    for candidate in found:
        out.line(candidate)
    return 0


def _script(shell: str) -> str:
    try:
        import shtab
    except ImportError:
        raise UsageError("completion requires shtab, which is not installed", _INSTALL) from None
    parser = whole_parser()
    _mark(parser, shell, {"domain": DOMAIN})
    for name, subparser in _subparsers(parser).items():
        _mark(subparser, shell, command_of(name).kinds)
    script: str = shtab.complete(parser, shell, preamble=_FUNCTIONS[shell])
    return script


def _subparsers(parser: ArgumentParser) -> dict[str, ArgumentParser]:
    [action] = [action for action in parser._actions if action.dest == "command"]
    subparsers: dict[str, ArgumentParser] = dict(action.choices or {})
    return subparsers


def _mark(parser: ArgumentParser, shell: str, kinds: Mapping[str, str]) -> None:
    """Tell shtab what completes each argument: a function of ours if it is one of these kinds; else by its metavar."""
    import shtab

    for action in parser._actions:
        complete: Any = None
        if action.dest in kinds:
            function = _FUNCTION_FOR.get(kinds[action.dest], "_xsffi_nodes")
            complete = {shell: f"({function})" if shell == "fish" else function}
        elif action.metavar in ("PATH", "FILE"):
            complete = shtab.FILE
        elif action.metavar == "DIRECTORY":
            complete = shtab.DIRECTORY
        if complete is not None:
            action.complete = complete  # type: ignore[attr-defined]  # read by shtab


def _opening(line: Sequence[str]) -> Opening:
    """Opens the store that a line selects with the options before its command."""
    words: list[str] = []
    for word in line:
        # To bash, an equals sign is a separate word.
        if words and (word == "=" or words[-1].endswith("=")):
            words[-1] += word
        elif word not in ("-h", "--help"):
            words.append(word)
    try:
        options = vars(global_parser().parse_args(words))
    except UsageError:  # the value of the last option is being typed
        options = vars(global_parser().parse_args(words[:-1]))
    # libxenstore does not support timeouts.
    return Opening({**options, "backend": "wire", "timeout": options["timeout"] or _PATIENCE})


def _paths(xs: Client, word: str, home: str | None) -> list[str]:
    """The paths of nodes that start with `word`. If there is only one, the paths of its children are included, so that
    the shell continues after it instead of ending the word."""
    above, slash, _ = word.rpartition("/")
    top = (above or "/") if slash else None
    if top is None and home is None:
        return ["/"] if not word else []
    found = [
        path for name in xs.ls(absolute(top, home)) if (path := child_path(top, name) if top else name).startswith(word)
    ]
    if len(found) == 1:
        [path] = found
        found += [child_path(path, name) for name in xs.ls(absolute(path, home))]
    return found


def _domains(xs: Client, word: str | None) -> list[str]:
    found = [text for domid, name in domain_names(xs).items() for text in (str(domid), shown(name))]
    return [text for text in found if text.startswith(word or "")]


COMMANDS = {"completion": Command(_arguments, completion, connects_itself=True)}

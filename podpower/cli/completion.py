"""`podpower completion`: what a shell completes."""

import argparse
import re
from collections.abc import Iterator

from podpower.cli.arguments import Commands, add_command

# Values that are files or folders, by the name that help gives them.
_PLACES = re.compile(r"(?P<folder>\b(?:DIR|FOLDER)\b)|FILE|PATH|DIR_OR_URL|OLD NEW")
SHELLS = ("bash", "zsh", "fish", "tcsh")


def add(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "completion",
        run,
        summary="Print the completion of commands and options for a shell.",
        details="""\
  podpower completion bash > /etc/bash_completion.d/podpower
  podpower completion bash > ~/.local/share/bash-completion/completions/podpower
  podpower completion zsh > ~/.zfunc/_podpower    # a folder of $fpath
  podpower completion fish > ~/.config/fish/completions/podpower.fish
  podpower completion tcsh > ~/.podpower.tcsh     # and in ~/.tcshrc: source ~/.podpower.tcsh
""",
    )
    parser.add_argument("shell", choices=SHELLS)


def run(arguments: argparse.Namespace) -> int:
    """Print the script of the shell."""
    import shtab  # this command only  # noqa: PLC0415

    parser = arguments.build_parser()
    for action in _actions(parser):
        if kind := _PLACES.search(str(action.metavar)):
            action.complete = shtab.DIRECTORY if kind["folder"] else shtab.FILE  # type: ignore[attr-defined]
    print(shtab.complete(parser, shell=arguments.shell))
    return 0


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Yield the options and arguments of a parser and of its commands that take a value."""
    for action in parser._actions:  # as shtab reads them
        if isinstance(action, argparse._SubParsersAction):
            for command in set(action.choices.values()):
                yield from _actions(command)
        elif action.nargs != 0:
            yield action

"""`podpower completion`: what a shell completes."""

import argparse

from podpower.cli.arguments import Commands, add_command

SHELLS = ("bash", "zsh", "tcsh")


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
  podpower completion tcsh > ~/.podpower.tcsh     # and in ~/.tcshrc: source ~/.podpower.tcsh
""",
    )
    parser.add_argument("shell", choices=SHELLS)


def run(arguments: argparse.Namespace) -> int:
    """Print the script of the shell."""
    import shtab  # this command only  # noqa: PLC0415

    print(shtab.complete(arguments.build_parser(), shell=arguments.shell))
    return 0

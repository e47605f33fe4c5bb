"""`podpower keys`: API keys of the prediction service."""

import argparse

from podpower.cli import output
from podpower.cli.arguments import Commands, add_command, add_group
from podpower.io.api_keys import line_of, new_key
from podpower.service_settings import API_KEYS_FILE


def add(commands: Commands) -> None:
    """Add the commands."""
    group = add_group(commands, "keys", summary="Make API keys of the prediction service.")
    parser = add_command(
        group,
        "new",
        new,
        summary="Print a new API key, and the line with its hash for the file of keys.",
        details=f"""\
The key is printed once and kept nowhere. The second line goes into the file that {API_KEYS_FILE} or --api-keys-file
names, which a running service reads again by itself; remove the line to revoke the key.

  podpower keys new ci
  curl -H "Authorization: Bearer KEY" http://localhost:8000/model
""",
    )
    parser.add_argument("name", metavar="NAME", help="who uses the key; it is in the log of the service")


def new(arguments: argparse.Namespace) -> int:
    """Print a key and its line."""
    key = new_key()
    line = line_of(arguments.name, key)
    output.note("the key, which is shown only now, and its line for the file of keys:")
    print(key)
    print(line)
    return 0

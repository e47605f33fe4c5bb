"""`podpower comment`: post the Markdown of `podpower diff` on a pull or merge request."""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from podpower.cli import output, streams
from podpower.cli.arguments import Commands, Parser, UsageError, add_command, add_group, positive
from podpower.errors import InvalidInput
from podpower.numbers import whole_number_in

if TYPE_CHECKING:
    from podpower.comments.github import GitHub
    from podpower.comments.gitlab import GitLab

_MOST_BYTES = 4 << 20
_BEHAVIORS = ("update", "new", "delete-and-new")


def add(commands: Commands) -> None:
    """Add the commands."""
    group = add_group(commands, "comment", summary="Post what a change draws on a pull or merge request.")
    _add(
        group,
        "github",
        github,
        where="pull request",
        behaviors=(*_BEHAVIORS, "hide-and-new"),
        details="""\
The token is GITHUB_TOKEN. In a GitHub Action, repository, number and API address are those of the run.

  podpower diff origin/main:deploy/ deploy/ --format markdown > comment.md
  podpower comment github --path comment.md
  GITHUB_TOKEN=... podpower comment github --path comment.md --repo acme/shop --pull-request 12
""",
    )
    _add(
        group,
        "gitlab",
        gitlab,
        where="merge request",
        behaviors=_BEHAVIORS,
        details="""\
The token is GITLAB_TOKEN, of the scope api; a CI_JOB_TOKEN cannot write notes. In a pipeline of a merge request,
project, number and API address are those of the pipeline.

  podpower comment gitlab --path comment.md
""",
    )


def _add(group: Commands, name: str, run: object, *, where: str, behaviors: tuple[str, ...], details: str) -> None:
    parser: Parser = add_command(
        group,
        name,
        run,  # type: ignore[arg-type]
        summary=f"Post a comment on a {where}, or update the one that was posted before.",
        details="""\
An empty file means that nothing changed: an earlier comment is updated, and without one nothing is posted.

"""
        + details,
    )
    parser.add_argument("--path", required=True, metavar="FILE", help="Markdown of `podpower diff`, or -")
    parser.add_argument(
        "--behavior", choices=behaviors, default="update", help="what to do with earlier comments (default %(default)s)"
    )
    parser.add_argument("--tag", default="default", metavar="NAME", help="keeps several comments of one request apart")
    parser.add_argument("--repo", metavar="NAME", help="OWNER/NAME; of GitLab, the path or number of the project")
    parser.add_argument(f"--{where.replace(' ', '-')}", dest="number", type=positive, metavar="N", help=f"the {where}")
    parser.add_argument("--api-url", metavar="URL", help="API of a server of your own")


def github(arguments: argparse.Namespace) -> int:
    """Post on GitHub."""
    from podpower.comments.github import API, GitHub  # noqa: PLC0415

    env: Mapping[str, str] = arguments.settings.environment
    forge = GitHub(
        url=arguments.api_url or env.get("GITHUB_API_URL") or API,
        repository=_given(arguments.repo or env.get("GITHUB_REPOSITORY"), "--repo", "GITHUB_REPOSITORY"),
        number=arguments.number or _of_event(env.get("GITHUB_EVENT_PATH")),
        token=_given(env.get("GITHUB_TOKEN"), "a token in GITHUB_TOKEN", "secrets.GITHUB_TOKEN"),
        note=output.note,
    )
    return _post(arguments, forge)


def gitlab(arguments: argparse.Namespace) -> int:
    """Post on GitLab."""
    from podpower.comments.gitlab import API, GitLab  # noqa: PLC0415

    env: Mapping[str, str] = arguments.settings.environment
    number = arguments.number or env.get("CI_MERGE_REQUEST_IID") or ""
    if whole_number_in(str(number)) is None:
        raise UsageError("no merge request: give --merge-request N, or run in a pipeline of a merge request")
    forge = GitLab(
        url=arguments.api_url or env.get("CI_API_V4_URL") or API,
        project=_given(arguments.repo or env.get("CI_PROJECT_ID"), "--repo", "CI_PROJECT_ID"),
        number=int(number),
        token=_given(env.get("GITLAB_TOKEN"), "a token in GITLAB_TOKEN", "a masked variable of the project"),
        note=output.note,
    )
    return _post(arguments, forge)


def _post(arguments: argparse.Namespace, forge: "GitHub | GitLab") -> int:
    from podpower.comments.posting import post  # noqa: PLC0415

    with forge:
        text = streams.read_bytes(arguments.path)
        if len(text) > _MOST_BYTES:
            raise InvalidInput(f"{streams.display_name(arguments.path)} has more than {_MOST_BYTES >> 20} MiB")
        try:
            decoded = text.decode()
        except UnicodeDecodeError:
            raise InvalidInput(f"{streams.display_name(arguments.path)} is not text in UTF-8") from None
        done = post(forge, decoded, behavior=arguments.behavior, tag=arguments.tag)
    output.note(f"{forge.name}: {done}")
    return 0


def _given(value: str | None, option: str, variable: str) -> str:
    if not value:
        raise UsageError(f"give {option} ({variable})")
    return value


def _of_event(path: str | None) -> int:
    """Return the number of the pull request that the run is about."""
    try:
        event = json.loads(Path(path).read_bytes()) if path else {}
    except (OSError, ValueError):
        event = {}
    for name in ("pull_request", "issue"):
        part = event.get(name) if isinstance(event, dict) else None
        number = part.get("number") if isinstance(part, dict) else None
        if isinstance(number, int) and number is not True and number > 0:
            return number
    raise UsageError("no pull request: give --pull-request N, or run on the event pull_request")

"""Comments of a pull request on GitHub: REST API 2022-11-28, and GraphQL to hide one."""

import re
from typing import Final, Self

from podpower.comments.http import ForgeApi
from podpower.comments.posting import Comment
from podpower.errors import InvalidInput
from podpower.io.http import token_in
from podpower.io.retries import Note, log_note
from podpower.specs.quoting import quoted

API: Final = "https://api.github.com"
MOST_CHARACTERS: Final = 65_536
_REPOSITORY = re.compile(r"[A-Za-z0-9._-]{1,100}/[A-Za-z0-9._-]{1,100}")
_HIDE: Final = (
    "mutation($id: ID!) { minimizeComment(input: {subjectId: $id, classifier: OUTDATED}) "
    "{ minimizedComment { isMinimized } } }"
)
_REFUSED: Final = {
    401: "GITHUB_TOKEN is missing, wrong or expired",
    403: "the token may not write comments: give the job `permissions: pull-requests: write`. A pull request of a fork "
    "gets a token that only reads: post from a workflow on workflow_run, or print the comment into the job's summary",
    404: "no such repository or pull request, or the token may not see it: check --repo and --pull-request",
}


class GitHub:
    """The comments of a pull request. `repository` is OWNER/NAME."""

    name = "GitHub"
    most_characters = MOST_CHARACTERS

    def __init__(self, *, url: str, repository: str, number: int, token: str, note: Note = log_note) -> None:
        if not _REPOSITORY.fullmatch(repository):
            raise InvalidInput(f"{quoted(repository)!r} is not a repository: write OWNER/NAME")
        headers = {
            "Authorization": f"Bearer {token_in(token, what='GITHUB_TOKEN')}",
            "Accept": "application/vnd.github+json",
            "X-GitHub-Api-Version": "2022-11-28",
        }
        self._api = ForgeApi(url, headers=headers, refused=_REFUSED.__getitem__, note=note)
        self._repository, self._of_request = f"/repos/{repository}", f"/repos/{repository}/issues/{number}/comments"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._api.__exit__(None, None, None)

    def comments(self) -> list[Comment]:
        """Return all comments, the oldest first."""
        rows = self._api.pages(f"{self._of_request}?per_page=100")
        return [Comment(id=int(row["id"]), body=row.get("body") or "", node=row.get("node_id") or "") for row in rows]

    def create(self, body: str) -> None:
        """Post a comment."""
        self._api.create(self._of_request, {"body": body}, exists=lambda: body in [c.body for c in self.comments()])

    def update(self, comment: Comment, body: str) -> None:
        """Replace the text of a comment."""
        self._api.request("PATCH", f"{self._repository}/issues/comments/{comment.id}", {"body": body})

    def delete(self, comment: Comment) -> None:
        """Remove a comment."""
        self._api.request("DELETE", f"{self._repository}/issues/comments/{comment.id}")

    def hide(self, comment: Comment) -> None:
        """Fold a comment as outdated."""
        base = self._api.url.removesuffix("/v3")  # a GitHub of one's own has /api/v3 and /api/graphql
        answer = self._api.request("POST", "/graphql", {"query": _HIDE, "variables": {"id": comment.node}}, base=base)
        if isinstance(answer, dict) and answer.get("errors"):
            message = quoted(str(answer["errors"][0].get("message")), most=200)
            raise InvalidInput(f"GitHub does not hide the comment ({message}): use --behavior update")

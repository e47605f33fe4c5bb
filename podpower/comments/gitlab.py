"""Notes of a merge request on GitLab: REST API v4."""

from typing import Final, Self
from urllib.parse import quote

from podpower.comments.http import ForgeApi
from podpower.comments.posting import Comment
from podpower.errors import InvalidInput
from podpower.io.http import token_in
from podpower.io.retries import Note, log_note

API: Final = "https://gitlab.com/api/v4"
MOST_CHARACTERS: Final = 1_000_000
_REFUSED: Final = {
    401: "GITLAB_TOKEN is missing, wrong or expired",
    403: "the token may not write notes: it needs the scope api and the role Reporter (a CI_JOB_TOKEN cannot). A merge "
    "request from a fork does not see the variables of the project: run the job in the parent project",
    404: "no such project or merge request, or the token may not see it: check --repo and --merge-request",
}


class GitLab:
    """The notes of a merge request. `project` is its number or its path."""

    name = "GitLab"
    most_characters = MOST_CHARACTERS

    def __init__(self, *, url: str, project: str, number: int, token: str, note: Note = log_note) -> None:
        self._api = ForgeApi(
            url,
            headers={"PRIVATE-TOKEN": token_in(token, what="GITLAB_TOKEN")},
            refused=_REFUSED.__getitem__,
            note=note,
        )
        self._notes = f"/projects/{quote(project, safe='')}/merge_requests/{number}/notes"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._api.__exit__(None, None, None)

    def comments(self) -> list[Comment]:
        """Return all notes that people or jobs wrote, the oldest first."""
        rows = self._api.pages(f"{self._notes}?per_page=100&sort=asc&order_by=created_at")
        return [Comment(id=int(row["id"]), body=row.get("body") or "") for row in rows if not row.get("system")]

    def create(self, body: str) -> None:
        """Post a note."""
        self._api.create(self._notes, {"body": body}, exists=lambda: body in [c.body for c in self.comments()])

    def update(self, comment: Comment, body: str) -> None:
        """Replace the text of a note."""
        self._api.request("PUT", f"{self._notes}/{comment.id}", {"body": body})

    def delete(self, comment: Comment) -> None:
        """Remove a note."""
        self._api.request("DELETE", f"{self._notes}/{comment.id}")

    def hide(self, comment: Comment) -> None:  # noqa: ARG002  # GitLab cannot
        """Raise InvalidInput: GitLab hides no notes."""
        raise InvalidInput("GitLab hides no notes: use --behavior update, new or delete-and-new")

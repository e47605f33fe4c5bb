"""The fate of earlier comments when a new one is posted. Comments of one tag are found by an invisible mark."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from podpower.errors import InvalidInput

Behavior = Literal["update", "new", "delete-and-new", "hide-and-new"]
NOTHING: Final = "No workload changes what it draws (any more)."
_POSTED: Final = "a comment was posted"
_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,99}")
_CUT: Final = "\n\n(The comment was longer than a comment can be; the rest is cut.)\n"


@dataclass(frozen=True, kw_only=True)
class Comment:
    """A comment of a pull request. `node` is its id in GraphQL ("": none)."""

    id: int
    body: str
    node: str = ""


class Forge(Protocol):
    """The comments of one pull or merge request."""

    name: str
    most_characters: int

    def comments(self) -> list[Comment]:
        """Return all comments, the oldest first."""

    def create(self, body: str) -> None:
        """Post a comment."""

    def update(self, comment: Comment, body: str) -> None:
        """Replace the text of a comment."""

    def delete(self, comment: Comment) -> None:
        """Remove a comment."""

    def hide(self, comment: Comment) -> None:
        """Fold a comment as outdated. InvalidInput where that cannot be done."""


def mark_of(tag: str) -> str:
    """Return the invisible mark of a tag. InvalidInput when it is no tag."""
    if not _TAG.fullmatch(tag):
        raise InvalidInput("--tag: write letters, digits, dots, slashes and dashes, e.g. prod")
    return f"<!-- podpower comment: {tag} -->"


def post(forge: Forge, text: str, *, behavior: Behavior, tag: str) -> str:
    """Post `text` and return what was done. Empty text: nothing changed, so the last comment is updated to say so, and
    without one nothing is posted.
    """
    mark = mark_of(tag)
    if text.strip() and behavior == "new":
        forge.create(_body(text, mark, forge.most_characters))
        return _POSTED
    earlier = [comment for comment in forge.comments() if mark in comment.body]
    if not text.strip():
        if not earlier:
            return "nothing changed: no comment"
        body = _body(NOTHING, mark, forge.most_characters)
        if earlier[-1].body.strip() != body.strip():
            forge.update(earlier[-1], body)
        return "nothing changed: the comment was updated"
    body = _body(text, mark, forge.most_characters)
    if behavior == "update" and earlier:
        if earlier[-1].body.strip() != body.strip():
            forge.update(earlier[-1], body)
        return "the comment was updated"
    return _replace(forge, body, earlier, behavior)


def _replace(forge: Forge, body: str, earlier: Sequence[Comment], behavior: Behavior) -> str:
    """Post a new comment, then remove or hide the earlier ones, so that no failure leaves the request without one."""
    forge.create(body)
    done: dict[str, tuple[Callable[[Comment], None], str]] = {
        "delete-and-new": (forge.delete, "deleted"),
        "hide-and-new": (forge.hide, "hidden"),
    }
    if behavior in done and earlier:
        act, verb = done[behavior]
        for comment in earlier:
            act(comment)
        return f"a comment was posted, {len(earlier)} earlier {verb}"
    return _POSTED


def _body(text: str, mark: str, most: int) -> str:
    room = most - len(mark) - 2
    if len(text) > room:
        kept = text[: room - len(_CUT)]
        text = kept[: kept.rfind("\n")] + _CUT if "\n" in kept else kept + _CUT
    return f"{mark}\n{text}"

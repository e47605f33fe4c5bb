"""Fakes of GitHub's and GitLab's comments over a real socket."""

import json
import re
from urllib.parse import parse_qs, urlsplit

from tests.http_servers import Response, serving

TOKEN = "secret-token-of-a-test"
PAGE = 3  # comments of a page, whatever a client wishes


class Forge:
    """One request's comments, with the answers that a test wants once: `fail_next` is a list of (status, headers)."""

    def __init__(self):
        self.comments, self.hidden, self.requests, self.fail_next = [], [], [], []
        self.may_write, self.most, self._next = True, 65_536, 100

    def __enter__(self):
        self._listening = serving(self._respond)
        self.url = self._listening.__enter__()
        return self

    def __exit__(self, *error):
        self._listening.__exit__(*error)

    def add(self, body, **more):
        self._next += 1
        self.comments.append({"id": self._next, "node_id": f"IC_{self._next}", "body": body, **more})
        return self._next

    def bodies(self):
        return [comment["body"] for comment in self.comments]

    def answer(self, method, url, body, headers):
        """Return (status, value, headers) of a request."""
        self.requests.append((method, url))
        path, query = urlsplit(url).path, parse_qs(urlsplit(url).query)
        if TOKEN not in (headers.get("PRIVATE-TOKEN", ""), headers.get("Authorization", "").removeprefix("Bearer ")):
            return 401, {"message": "Bad credentials"}, {}
        if self.fail_next:
            return *self.fail_next.pop(0)[:1], {"message": "slow down"}, self.last_headers
        if path.endswith("/graphql"):
            self.hidden.append(json.loads(body)["variables"]["id"])
            return 200, {"data": {"minimizeComment": {"minimizedComment": {"isMinimized": True}}}}, {}
        found = re.fullmatch(
            r"(?:/repos/acme/shop/issues/(?P<n>7)/comments|/repos/acme/shop/issues/comments/(?P<id>\d+)"
            r"|/projects/acme%2Fshop/merge_requests/(?P<m>7)/notes(?:/(?P<note>\d+))?)",
            path,
        )
        if not found:
            return 404, {"message": "Not Found"}, {}
        number = found["id"] or found["note"]
        if method == "GET":
            return self._page(path, int(query.get("page", ["1"])[0]))
        if not self.may_write:
            return 403, {"message": "Resource not accessible by integration"}, {}
        return self._written(method, number, json.loads(body) if body else {})

    def _page(self, path, page):
        rows = self.comments[(page - 1) * PAGE : page * PAGE]
        more = page * PAGE < len(self.comments)
        headers = {"Link": f'<{self.url}{path}?page={page + 1}>; rel="next"'} if more else {}
        return 200, rows, headers

    def _written(self, method, number, body):
        if len(body.get("body", "")) > self.most:
            return 422, {"message": "Body is too long"}, {}
        if method == "POST":
            self.add(body["body"])
            return 201, self.comments[-1], {}
        (comment,) = [one for one in self.comments if one["id"] == int(number)]
        if method == "DELETE":
            self.comments.remove(comment)
            return 204, None, {}
        comment["body"] = body["body"]
        return 200, comment, {}

    last_headers: dict = {"Retry-After": "1"}  # noqa: RUF012

    def _respond(self, request):
        status, value, headers = self.answer(request.method, request.target, request.body, request.headers)
        return Response(b"" if value is None else json.dumps(value).encode(), status, headers)

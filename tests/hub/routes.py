"""What the hub answers: which request means what, and the response to each when nothing is wrong.

Requests are of these kinds: info, tree, refs, paths-info, commits, whoami (together: api),
resolve, resolve-cache and cdn (together the ones that carry content), other.

Sources: huggingface_hub ``file_download.py`` (hf_hub_url, get_hf_file_metadata, http_get),
``hf_api.py`` (list_repo_tree, list_repo_refs, get_paths_info, whoami), ``utils/_http.py``
(hf_raise_for_status, parse_ratelimit_headers), ``utils/_pagination.py``; huggingface_hub issue
4815 for which files are served without a redirect; the hub's "Rate limits" page.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import hashlib
import hmac
import json
import math
import re
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, unquote, urlencode

from .repos import COMMIT_RE, Commit, Entry, Repo
from .wire import Request, Response, Span

if TYPE_CHECKING:
    from .hub import Hub, Token

API_TYPES = {"models": "model", "datasets": "dataset", "spaces": "space"}
VERBS = frozenset({"revision", "tree", "refs", "paths-info", "commits"})
EXPOSED = (
    "X-Repo-Commit,X-Request-Id,X-Error-Code,X-Error-Message,X-Total-Count,ETag,Link,"
    "Accept-Ranges,Content-Range,X-Linked-Size,X-Linked-ETag,X-Xet-Hash"
)
XML_DENIED = (
    b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>AccessDenied</Code><Message>%s</Message></Error>'
)


@dataclass(slots=True)
class Route:
    """A parsed path. Revision and path are unquoted; each was one segment, or the rest, of the raw path."""

    kind: str
    type: str = ""
    id: str = ""
    revision: str = "main"
    path: str = ""


def parse(raw: str) -> Route:
    """Parse a raw path. A revision is one raw segment: refs/pr/1 must come as refs%2Fpr%2F1."""
    segments = raw.split("/")[1:]
    while segments and not segments[-1]:
        segments.pop()
    if segments[:1] == ["api"]:
        return _parse_api(segments[1:])
    type_ = "model"
    if segments and segments[0] in ("datasets", "spaces"):
        type_ = API_TYPES[segments.pop(0)]
    for at in (2, 1):
        if len(segments) > at + 2 and segments[at] == "resolve":
            path = unquote("/".join(segments[at + 2 :]))
            return Route("resolve", type_, unquote("/".join(segments[:at])), unquote(segments[at + 1]), path)
    return Route("other")


def _parse_api(segments: list[str]) -> Route:
    if segments == ["whoami-v2"]:
        return Route("whoami")
    if len(segments) > 4 and segments[0] == "resolve-cache" and segments[1] in API_TYPES:
        for at in (4, 3):
            if len(segments) > at + 1 and COMMIT_RE.fullmatch(segments[at]):
                id_ = unquote("/".join(segments[2:at]))
                return Route(
                    "resolve-cache",
                    API_TYPES[segments[1]],
                    id_,
                    segments[at],
                    unquote("/".join(segments[at + 1 :])),
                )
    if len(segments) < 2 or segments[0] not in API_TYPES:
        return Route("other")
    type_, rest = API_TYPES[segments[0]], segments[1:]
    at = 1 if len(rest) == 1 or rest[1] in VERBS else 2
    route = Route("info", type_, unquote("/".join(rest[:at])))
    if len(rest) == at:
        return route
    verb, args = rest[at], rest[at + 1 :]
    if verb == "refs" and not args:
        route.kind = "refs"
    elif verb == "revision" and len(args) == 1:
        route.revision = unquote(args[0])
    elif verb == "tree" and args:
        route.kind, route.revision, route.path = "tree", unquote(args[0]), unquote("/".join(args[1:]))
    elif verb in ("paths-info", "commits") and len(args) == 1:
        route.kind, route.revision = verb, unquote(args[0])
    else:
        route.kind = "other"
    return route


class Failure(Exception):
    """An answer other than success."""

    def __init__(
        self, status: int, code: str | None, message: str, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = headers or {}


class Redirect(Exception):
    """The repository has another name now."""

    def __init__(self, location: str) -> None:
        super().__init__(location)
        self.location = location


def ranged(request: Request, entry: Entry, headers: dict[str, str]) -> Response:
    """200, 206 or 416 for the bytes of `entry`."""
    headers = headers | {"Accept-Ranges": "bytes"}
    size, asked = entry.size, request.byte_range()
    condition = request.headers.get("if-range")
    if asked is None or (condition and condition != headers.get("ETag")):
        return Response(200, headers, [Span(entry.content, 0, size)] if size else [], head_length=size)
    first, last = asked
    if first is None:
        first, last = max(0, size - (last or 0)), size - 1
    last = size - 1 if last is None else min(last, size - 1)
    if first > last or first >= size:
        return Response(416, headers | {"Content-Range": f"bytes */{size}"})
    headers["Content-Range"] = f"bytes {first}-{last}/{size}"
    return Response(206, headers, [Span(entry.content, first, last + 1)], head_length=last + 1 - first)


class Routes:
    """Answers requests from the repositories of a Hub."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub

    # -- entry points ----------------------------------------------------------------------

    def classify(self, request: Request) -> Route:
        """Fill in path, query, kind, repo and file of `request`."""
        request.path, _, request.query = request.target.partition("?")
        prefix = self.hub.prefix
        if prefix:
            if not request.path.startswith(prefix + "/"):
                return Route("other")
            request.path = request.path[len(prefix) :]
        route = parse(request.path)
        request.kind, request.file = route.kind, route.path
        repo = self.hub.find(route.type, route.id) if route.id else None
        request.repo = f"{route.type}:{repo.id if repo else route.id}" if route.id else ""
        return route

    def answer(self, request: Request, route: Route) -> Response:
        """The response of the hub's own port."""
        token = self.hub.token_of(request)
        bucket = "api" if request.kind not in ("resolve", "other") else "resolvers"
        # "Resolvers" are "all the URLs that contain a /resolve/ segment in their path" (the hub's page
        # "Rate limits"); the answers of resolve-cache tell no limit.
        limit = None if request.kind == "resolve-cache" else self.hub.rate_limit(bucket, token)
        try:
            if limit and limit.refused:
                raise Failure(429, None, "We had to rate limit you, please retry later")
            response = self._dispatch(request, route, token)
        except Redirect as moved:
            response = Response(
                307,
                {"Location": moved.location},
                [f"Temporary Redirect. Redirecting to {moved.location}".encode()],
            )
        except Failure as failure:
            response = self._failure(request, failure)
        common = {
            "X-Powered-By": "huggingface-moon",
            "X-Request-Id": f"Root=1-{int(time.time()):08x}-{secrets.token_hex(12)}",
            "Access-Control-Expose-Headers": EXPOSED,
            "Vary": "Origin, Accept" if request.kind == "resolve" else "Origin",
        }
        if limit:
            common |= limit.headers()
        if response.status in (302, 307):
            common["Content-Type"] = "text/plain; charset=utf-8"
        response.headers = common | response.headers
        self._not_modified(request, response)
        self._compress(request, response)
        return response

    def classify_cdn(self, request: Request) -> None:
        """The same for a request to the CDN."""
        request.path, _, request.query = request.target.partition("?")
        request.kind = "cdn"
        if found := self.hub.signed.get(request.path):
            repo, entry = found
            request.repo = f"{repo.type}:{repo.id}"
            request.file = request.params.get("Path", [entry.path])[-1]

    def answer_cdn(self, request: Request) -> Response:
        """The response of the CDN's port: a blob, where the signature is good."""
        found = self.hub.signed.get(request.path)
        denied = {"Content-Type": "application/xml", "X-Cache": "Error from cloudfront"}
        signed, _, signature = request.query.rpartition("&Signature=")
        expires = request.params.get("Expires", ["0"])[-1]
        epoch = request.params.get("Epoch", [""])[-1]
        wanted = self._sign(f"{request.path}?{signed}")
        if not found or not hmac.compare_digest(wanted, signature.partition("&")[0]):
            return Response(403, denied, [XML_DENIED % b"Access denied"])
        entry = found[1]
        if int(expires) <= time.time() or epoch != str(self.hub.url_epoch):
            return Response(403, denied, [XML_DENIED % b"Request has expired"])
        if request.method not in ("GET", "HEAD"):
            return Response(405, denied, [XML_DENIED % b"Method not allowed"])
        headers = {
            "Content-Type": "binary/octet-stream",
            # Of the bytes as the CDN knows them, which is not the hub's etag.
            "ETag": f'"{entry.xet or hashlib.sha256(b"cdn" + entry.etag.encode()).hexdigest()}"',
            "Content-Disposition": _disposition(entry.path),
            "Cache-Control": "public, max-age=31536000",
            "X-Cache": "Hit from cloudfront",
        }
        return ranged(request, entry, headers)

    # -- common parts ----------------------------------------------------------------------

    def _failure(self, request: Request, failure: Failure) -> Response:
        headers = {"X-Error-Message": failure.message, **failure.headers}
        if failure.code:
            headers["X-Error-Code"] = failure.code
        if failure.status == 401:
            headers["WWW-Authenticate"] = 'Bearer realm="Authentication required", charset="UTF-8"'
        if request.kind in ("resolve", "resolve-cache"):
            return Response(
                failure.status,
                headers | {"Content-Type": "text/plain; charset=utf-8"},
                [failure.message.encode()],
            )
        headers["Content-Type"] = "application/json; charset=utf-8"
        return Response(failure.status, headers, [json.dumps({"error": failure.message}).encode()])

    def _json(self, value: Any, headers: dict[str, str] | None = None) -> Response:
        data = json.dumps(value, separators=(",", ":")).encode()
        etag = f'W/"{len(data):x}-{base64.b64encode(hashlib.sha1(data).digest()).decode()[:27]}"'
        return Response(
            200, {"Content-Type": "application/json; charset=utf-8", "ETag": etag, **(headers or {})}, [data]
        )

    def _not_modified(self, request: Request, response: Response) -> None:
        wanted = request.headers.get("if-none-match")
        etag = response.headers.get("ETag")
        if (
            wanted
            and etag
            and response.status == 200
            and (wanted == "*" or etag in [w.strip() for w in wanted.split(",")])
        ):
            response.status, response.body, response.head_length = 304, [], None

    def _compress(self, request: Request, response: Response) -> None:
        """The hub sends JSON and text as gzip, in chunks, to clients that take it."""
        text = response.headers.get("Content-Type", "").startswith(("application/json", "text/"))
        if not self.hub.gzip or response.status != 200 or not text or request.method == "HEAD":
            return
        if "gzip" not in request.headers.get("accept-encoding", ""):
            return
        whole = b"".join(p.content.read(p.start, p.end) if isinstance(p, Span) else p for p in response.body)
        response.body = [gzip.compress(whole, 1)]
        response.headers["Content-Encoding"] = "gzip"
        response.chunked = True

    def _repo(self, request: Request, route: Route, token: Token | None) -> Repo:
        """The repository, or how the hub says that there is none."""
        repo = self.hub.find(route.type, route.id)
        if repo is None or (repo.private and not (token and token.reads(repo))):
            if token:
                raise Failure(404, "RepoNotFound", "Repository not found")
            if request.headers.get("authorization"):
                raise Failure(401, None, "Invalid credentials in Authorization header")
            raise Failure(401, self.hub.unknown_code, "Invalid username or password.")
        if repo.id != route.id:
            old = "/".join(quote(part) for part in route.id.split("/"))
            moved = request.path.replace(f"/{old}", f"/{quote(repo.id)}", 1)
            raise Redirect(self.hub.prefix + moved + (f"?{request.query}" if request.query else ""))
        return repo

    def _commit(self, repo: Repo, revision: str) -> Commit:
        commit = repo.resolve(revision)
        if commit is None:
            raise Failure(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return commit

    def _dispatch(self, request: Request, route: Route, token: Token | None) -> Response:
        if route.kind == "other":
            raise Failure(404, None, "Sorry, we can't find the page you are looking for.")
        wanted = "POST" if route.kind == "paths-info" else "GET"
        if request.method != wanted and not (wanted == "GET" and request.method == "HEAD"):
            raise Failure(405, None, "Method not allowed")
        if route.kind == "whoami":
            return self._whoami(request, token)
        repo = self._repo(request, route, token)
        if repo.disabled and route.kind != "info":
            raise Failure(403, None, "Access to this resource is disabled.")
        if route.kind == "refs":
            return self._json(repo.refs_json(bool(request.params.get("include_prs"))))
        commit = self._commit(repo, route.revision)
        match route.kind:
            case "info":
                return self._info(request, repo, commit)
            case "tree":
                return self._tree(request, route, repo, commit)
            case "paths-info":
                return self._paths_info(request, commit)
            case "commits":
                return self._json(repo.history(commit), {"X-Total-Count": str(len(repo.history(commit)))})
            case "resolve":
                return self._resolve(request, route, repo, commit, token)
        return self._resolve_cache(request, route, repo, commit)

    # -- the API ---------------------------------------------------------------------------

    def _whoami(self, request: Request, token: Token | None) -> Response:
        if token is None:
            given = request.headers.get("authorization")
            raise Failure(
                401,
                None,
                "Invalid credentials in Authorization header" if given else "Invalid username or password.",
            )
        auth = {"type": "access_token", "accessToken": {"displayName": "test", "role": "read"}}
        return self._json(
            {
                "type": "user",
                "id": "0" * 24,
                "name": token.user,
                "fullname": token.user,
                "orgs": [],
                "auth": auth,
            }
        )

    def _info(self, request: Request, repo: Repo, commit: Commit) -> Response:
        info = repo.info_json(commit, blobs=request.flag("blobs"))
        fields = request.params.get("expand", []) + request.params.get("expand[]", [])
        if fields:
            info = {k: v for k, v in info.items() if k in ("_id", "id", *fields)}
        return self._json(info, {"X-Repo-Commit": commit.oid})

    def _tree(self, request: Request, route: Route, repo: Repo, commit: Commit) -> Response:
        recursive, expand = request.flag("recursive"), request.flag("expand")
        rows = commit.below(route.path, recursive)
        if rows is None:
            raise Failure(404, "EntryNotFound", f'{route.path} does not exist on "{route.revision}"')
        most = self.hub.expand_page_size if expand else self.hub.page_size
        asked = request.params.get("limit", [""])[-1]
        limit = min(int(asked), most) if asked.isdigit() and int(asked) else most
        start = 0
        if cursor := request.params.get("cursor", [""])[-1]:
            try:
                last = json.loads(base64.b64decode(base64.b64decode(cursor).rpartition(b":")[0]))["file_name"]
                start = next(i for i, row in enumerate(rows) if row["path"] == last) + 1
            except (ValueError, KeyError, TypeError, StopIteration, binascii.Error):
                raise Failure(400, None, "Invalid cursor") from None
        page = rows[start : start + limit]
        headers = {"X-Repo-Commit": commit.oid}
        if start + limit < len(rows):
            place = json.dumps({"file_name": page[-1]["path"], "tree_oid": page[-1]["oid"]}).encode()
            cursor = base64.b64encode(base64.b64encode(place) + b":%d" % limit).decode()
            query = {
                "expand": str(expand).lower(),
                "recursive": str(recursive).lower(),
                "limit": limit,
                "cursor": cursor,
            }
            url = self.hub.base_url(request) + request.path + "?" + urlencode(query)
            headers["Link"] = f'<{url}>; rel="next"'
        return self._json([commit.expanded(r) for r in page] if expand else page, headers)

    def _paths_info(self, request: Request, commit: Commit) -> Response:
        try:
            if "json" in request.headers.get("content-type", ""):
                asked = json.loads(request.body)
                paths, expand = asked["paths"], bool(asked.get("expand"))
            else:
                form = parse_qs(request.body.decode(), keep_blank_values=True)
                paths = form.get("paths", []) + form.get("paths[]", [])
                expand = form.get("expand", [""])[-1].lower() in ("1", "true")
            paths = [paths] if isinstance(paths, str) else list(paths)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise Failure(400, None, "Invalid body") from None
        rows = [row for row in (commit.entry_json(str(p).strip("/")) for p in paths) if row is not None]
        return self._json([commit.expanded(r) for r in rows] if expand else rows)

    # -- files -----------------------------------------------------------------------------

    def _resolve(
        self, request: Request, route: Route, repo: Repo, commit: Commit, token: Token | None
    ) -> Response:
        if repo.gated and not (token and token.granted(repo)):
            place = f"Access to {repo.type} {repo.id} is restricted"
            if token is None:
                raise Failure(
                    401,
                    "GatedRepo",
                    f"{place}. You must have access to it and be authenticated to access it. Please log in.",
                )
            ask = f"Visit {self.hub.base_url(request)}/{repo.url_id} to ask for access."
            raise Failure(403, "GatedRepo", f"{place} and you are not in the authorized list. {ask}")
        headers = {"X-Repo-Commit": commit.oid, "Accept-Ranges": "bytes"}
        entry = commit.files.get(route.path)
        if entry is None:
            raise Failure(404, "EntryNotFound", "Entry not found", headers)
        headers["Content-Disposition"] = _disposition(entry.path)
        if entry.lfs:
            return self._to_cdn(request, repo, entry, headers)
        headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
        if repo.private or repo.gated or "/" not in repo.id or not entry.size or not self.hub.redirect_small:
            return ranged(
                request,
                entry,
                headers | {"ETag": f'"{entry.oid}"', "Content-Type": "text/plain; charset=utf-8"},
            )
        query = f"{quote(request.target, safe='')}=&etag={quote(chr(34) + entry.oid + chr(34), safe='')}"
        location = f"{self.hub.prefix}/api/resolve-cache/{repo.kind}/{quote(repo.id)}/{commit.oid}/{quote(entry.path)}?{query}"
        headers |= {"Location": location, "X-Linked-ETag": f'"{entry.oid}"'}
        return Response(307, headers, [f"Temporary Redirect. Redirecting to {location}".encode()])

    def _resolve_cache(self, request: Request, route: Route, repo: Repo, commit: Commit) -> Response:
        entry = commit.files.get(route.path)
        headers = {"X-Repo-Commit": commit.oid}
        if entry is None or repo.private or repo.gated or entry.lfs:
            raise Failure(404, "EntryNotFound", "Entry not found", headers)
        if self.hub.strict_query and request.params.get("etag") != [f'"{entry.oid}"']:
            raise Failure(400, None, "The query of the redirect was not kept")
        headers |= {
            "ETag": f'"{entry.oid}"',
            "Content-Type": "text/plain; charset=utf-8",
            "Content-Disposition": _disposition(entry.path),
        }
        return ranged(request, entry, headers)

    def _sign(self, text: str) -> str:
        return hmac.new(self.hub.secret, text.encode(), hashlib.sha256).hexdigest()

    def _to_cdn(self, request: Request, repo: Repo, entry: Entry, headers: dict[str, str]) -> Response:
        name = hashlib.sha1(f"{repo.type}:{repo.id}".encode()).hexdigest()[:24]
        path = f"/repos/{name}/{entry.lfs}"
        self.hub.signed[path] = (repo, entry)
        query = {
            "response-content-disposition": _disposition(entry.path),
            "Path": entry.path,
            "Expires": math.ceil(time.time() + self.hub.url_ttl),
            "Key-Pair-Id": "K2L8F4GPSG1IFC",
            "Epoch": self.hub.url_epoch,
        }
        target = f"{path}?{urlencode(query)}"
        location = f"{self.hub.cdn_url(request)}{target}&Signature={self._sign(target)}"
        headers |= {
            "Location": location,
            "X-Linked-Size": str(entry.size),
            "X-Linked-ETag": f'"{entry.lfs}"',
            "Cache-Control": "no-store",
        }
        if entry.xet and self.hub.xet_headers:
            headers["X-Xet-Hash"] = entry.xet
        return Response(302, headers, [f"Found. Redirecting to {location}".encode()])


def _disposition(path: str) -> str:
    name = path.rpartition("/")[2]
    plain = re.sub(r'[^\x20-\x7e]|["\\]', "?", name)
    return f"inline; filename*=UTF-8''{quote(name, safe='')}; filename=\"{plain}\";"

"""Who may ask for what: the guard in front of all routes of the workbench.

A request is answered where its Host is ours, it bears the token (as a cookie that our address set, or as a header),
and, where it changes something, comes from our page or from a program that names the token itself. Its body is bounded.
"""

import ipaddress
import json
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SHORTEST_TOKEN = 16  # characters
FOR_CLIENTS = "/slicer/"  # and the token, before the routes of MONAI Label: for clients that cannot send a header
ROUTES_FOR_CLIENTS = ("info", "infer", "datastore", "session", "train", "activelearning", "auth", "logs")
OPEN = {("GET", "/auth/"), ("POST", "/auth/token")}  # routes by which other clients come to the token
BY_PATH = "densemp.token_in_path"  # in the scope of a request
SAFE = ("GET", "HEAD")
POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


@dataclass(frozen=True)
class Access:
    """What lets a request in.

    Attributes:
        token: that it must bear.
        hosts: values of its Host header, such as 127.0.0.1:8008.
        any_address: a Host that is an address of numbers will do too, where the server listens on all of them: a
            foreign page can give us a name of its own, but not a number.
        secure: the server speaks TLS.
        port: that it listens on.
    """

    token: str = field(repr=False)
    hosts: frozenset[str]
    any_address: bool = False
    secure: bool = False
    port: int = 0

    @property
    def cookie(self) -> str:
        """Name of the cookie; cookies are shared by all ports of a host, so the port is in it."""
        return f"densemp-{self.port}"

    def knows_host(self, host: str) -> bool:
        if host.lower() in self.hosts:
            return True
        name, _, port = host.rpartition(":")
        if not self.any_address or port != str(self.port):
            return False
        try:
            ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return False
        return True

    def knows_origin(self, origin: str, host: str) -> bool:
        """Whether a page of this origin is ours, which is on the host that it asks."""
        return origin.lower() == f"{'https' if self.secure else 'http'}://{host.lower()}"

    def fits(self, given: str | None) -> bool:
        return given is not None and secrets.compare_digest(given.encode(), self.token.encode())


def token_in(path: Path) -> str:
    """The token in a file.

    Raises:
        OSError, ValueError: there is no such file, or no such token in it.
    """
    token = path.read_text(encoding="ascii", errors="replace").strip()
    if len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isalnum():
        raise ValueError(f"{path} must hold a token of {SHORTEST_TOKEN} or more characters, letters and digits only.")
    return token


def hosts_of(names: Iterable[str], port: int) -> frozenset[str]:
    """Values that the Host header may have: these names at a port, and without it where the port is a usual one."""
    shown = [f"[{name}]" if ":" in name else name for name in names]
    bare = shown if port in (80, 443) else []
    return frozenset(name.lower() for name in [*(f"{name}:{port}" for name in shown), *bare])


class Guard:
    """The guard, an ASGI application around another one.

    Args:
        app: what is guarded.
        access: what lets a request in.
        limit_of: bound on the bytes of a body, by method and path.
        read_only: nothing may be changed.
    """

    def __init__(
        self, app: ASGIApp, access: Access, limit_of: Callable[[str, str], int], read_only: bool = False
    ):  # fmt: skip
        self.app, self.access, self.limit_of, self.read_only = app, access, limit_of, read_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        scope = self._without_token(scope)
        refused = self._refusal(scope)
        if refused is not None:
            await _answer(send, *refused)
            return
        method, path = scope["method"], scope["path"]
        token = _in_address(scope)
        if token is not None:
            await self._let_in(send, token)
            return
        bounded = _Bounded(receive, self.limit_of(method, path))
        length = Headers(scope=scope).get("content-length", "0")
        if not length.isdecimal() or int(length) > bounded.left:
            await _answer(send, 413, f"the request has {length} bytes; up to {bounded.left} are taken.")
            return
        await self.app(scope, bounded, _with_headers(send))

    def _without_token(self, scope: Scope) -> Scope:
        """A request whose path begins with the token as one for the path behind it, which bears the token."""
        if not scope["path"].startswith(FOR_CLIENTS):
            return scope
        token, _, rest = scope["path"].removeprefix(FOR_CLIENTS).partition("/")
        if not self.access.fits(token) or rest.split("/")[0] not in ROUTES_FOR_CLIENTS:
            return scope
        return {**scope, "path": f"/{rest}", "raw_path": f"/{rest}".encode(), BY_PATH: True}

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Status and reason of a request that is not let in."""
        headers, method, path = Headers(scope=scope), scope["method"], scope["path"]
        host = headers.get("host", "")
        if len(headers.getlist("host")) != 1 or not self.access.knows_host(host):
            return 421, "this address is not the workbench's; open the address that it printed."
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        if origin is not None and not self.access.knows_origin(origin, host):
            return 403, "a page of another origin asked; open the workbench itself."
        if (method, path) in OPEN or _in_address(scope) is not None:
            return None
        by_header = self.access.fits(_bearer(headers)) or BY_PATH in scope
        if not by_header and not self.access.fits(_cookie(headers, self.access.cookie)):
            return 401, "the token is missing or wrong; open the address that the workbench printed."
        if site not in (None, "same-origin", "none") and not by_header:
            return 403, "a page of another site asked; open the workbench itself."
        if method in SAFE:
            return None
        if origin is None and not by_header:
            return 403, "a change without an Origin header, or the token in a header; use the page."
        if self.read_only:
            return 403, "this workbench is read-only; start it without --read-only to change something."
        return None

    async def _let_in(self, send: Send, token: str) -> None:
        """Turn the token in the address into a cookie, so that it stays in no history and no link."""
        if not self.access.fits(token):
            await _answer(send, 401, "the token in the address is wrong; copy the whole address that was printed.")
            return
        secure = "; Secure" if self.access.secure else ""
        cookie = f"{self.access.cookie}={self.access.token}; HttpOnly; SameSite=Strict; Path=/{secure}"
        await _answer(send, 303, "", {"location": "/", "set-cookie": cookie})


class _Bounded:
    """A body that ends with an error where it becomes longer than it may be."""

    def __init__(self, receive: Receive, limit: int):
        self.receive, self.left = receive, limit

    async def __call__(self) -> Message:
        message = await self.receive()
        self.left -= len(message.get("body", b""))
        if self.left < 0:
            raise TooLong
        return message


class TooLong(Exception):
    """A body is longer than it may be."""


def _with_headers(send: Send) -> Send:
    async def add(message: Message) -> None:
        if message["type"] == "http.response.start":
            given = {name.lower() for name, _ in message["headers"]}
            own = {"cache-control": "no-cache", **HEADERS}
            more = [(name.encode(), value.encode()) for name, value in own.items() if name.encode() not in given]
            message = {**message, "headers": [*message["headers"], *more]}
        await send(message)

    return add


async def _answer(send: Send, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
    body = json.dumps({"error": text}).encode() if text else b""
    named = {"content-type": "application/json", "content-length": str(len(body)), "cache-control": "no-store"}
    named |= {**HEADERS, **(headers or {})}
    raw = [(name.encode(), value.encode("latin-1")) for name, value in named.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


def _in_address(scope: Scope) -> str | None:
    """The token that the address of the page has; None where there is none, or another page is asked for."""
    if scope["method"] != "GET" or scope["path"] != "/":
        return None
    return next(iter(parse_qs(scope["query_string"].decode("latin-1")).get("token", ())), None)


def _bearer(headers: Headers) -> str | None:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _cookie(headers: Headers, name: str) -> str | None:
    try:
        own = SimpleCookie(headers.get("cookie", "")).get(name)
    except CookieError:
        return None
    return None if own is None else own.value

# SPDX-License-Identifier: Apache-2.0
"""Who may use the server: this machine's browser, or whoever has the token; no other page on their behalf.

A page of somebody else could send requests through the user's browser. So the name that the browser asks for must be
ours (against rebinding of names), requests that another site started are refused, and a write must carry a header
that no form can send and, where the browser says it, our own origin.
"""

import hmac
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from avkit.pages.asgi import Application, Message, Receive, Scope, Send, answer, with_headers

#: Header that every write carries.
WRITE_HEADER = "x-avkit-annotate"
#: Bytes of the largest request.
MAX_BODY = 32 * 2**20
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "media-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "x-frame-options": "DENY",
}


class Guard:
    """Lets requests through to an application that may be.

    Args:
        application: The application.
        host: Address that the server listens at.
        port: Its port.
        token: What must be known; None where this machine's users may all come in.
    """

    def __init__(self, application: Application, host: str, port: int, token: str | None) -> None:
        self.application = application
        self.host = host
        self.token = token
        self.cookie = f"avkit_annotate_{port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or hand it on."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.application(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        refusal = self._refusal(scope["method"], headers, given)
        if refusal:
            await answer(send, 403, refusal, _HEADERS)
        elif given and self.token is not None and scope["path"] == "/":
            cookie = f"{self.cookie}={self.token}; HttpOnly; SameSite=Strict; Path=/"
            await answer(send, 303, "", {**_HEADERS, "location": "/", "set-cookie": cookie})
        elif _stated_length(headers) > MAX_BODY:
            await answer(send, 413, f"A request is up to {MAX_BODY} bytes long.", _HEADERS)
        else:
            await self.application(scope, _limited(receive), with_headers(send, _HEADERS))

    def _refusal(self, method: str, headers: dict[str, str], given: str) -> str:
        """Why a request is refused; empty where it is not."""
        host = headers.get("host", "")
        name = _host_name(host)
        if self.token is None and name not in (*_LOOPBACK, self.host):
            return f"This server is not called {name!r}. Use the address that avkit annotate printed."
        if headers.get("sec-fetch-site") in ("cross-site", "same-site") and not given:
            return "Another site asked for this. Open the address that avkit annotate printed."
        if self.token is not None and not self._knows_token(headers, given):
            return "Open the address with the token that avkit annotate printed."
        if method in ("GET", "HEAD"):
            return ""
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2] != host:
            return "Another site sent this. Nothing was changed."
        if headers.get(WRITE_HEADER) != "1" or not headers.get("content-type", "").startswith("application/json"):
            return "A change is sent by the page alone. Nothing was changed."
        return ""

    def _knows_token(self, headers: dict[str, str], given: str) -> bool:
        assert self.token is not None
        try:
            cookies = SimpleCookie(headers.get("cookie", ""))
        except CookieError:
            cookies = SimpleCookie()
        stored = cookies[self.cookie].value if self.cookie in cookies else ""
        candidates = [text.encode() for text in (given, stored)]
        return any(hmac.compare_digest(text, self.token.encode()) for text in candidates)


def _stated_length(headers: dict[str, str]) -> int:
    """Bytes that a request says it has; more than are read where that is no number."""
    text = headers.get("content-length") or "0"
    return int(text) if text.isascii() and text.isdigit() else MAX_BODY + 1


def _host_name(host: str) -> str:
    """The name in a `Host` header, without its port; empty where it is none."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:  # such as an opening bracket without a closing one
        return ""


class TooLarge(Exception):
    """A request is longer than it said, or than is read."""


def _limited(receive: Receive) -> Receive:
    """The parts of a request, up to `MAX_BODY` bytes."""
    total = 0

    async def limited() -> Message:
        nonlocal total
        message = await receive()
        total += len(message.get("body", b""))
        if total > MAX_BODY:
            raise TooLarge
        return message

    return limited

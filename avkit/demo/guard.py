# SPDX-License-Identifier: Apache-2.0
"""What the server answers at all: this machine's browser, asking for the page, its parts, and files of its own.

Gradio serves files by their path and addresses by request; here only uploads are served so, and nothing is fetched
from elsewhere. Browsers are told to load nothing from other places.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

_NAMES = ("127.0.0.1", "localhost")
_HEADERS = {
    "content-security-policy": "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src "
    "'self' 'unsafe-inline'; img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; "
    "connect-src 'self' data: blob:; worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
}
_FILE = "/gradio_api/file="
#: Routes of Gradio that reach files or addresses by what a request names, and are not needed here.
_CLOSED = ("/gradio_api/proxy=", "/proxy=", "/file=", "/file/", "/gradio_api/file/", "/gradio_api/deep_link")


class Guard:
    """Lets requests through to an application that may be.

    Args:
        application: The application.
        port: Where it listens.
        uploads: The folder whose files may be asked for by path.
    """

    def __init__(self, application: Application, port: int, uploads: Path) -> None:
        self.application = application
        self.hosts = {f"{name}:{port}" for name in _NAMES}
        self.uploads = uploads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            await self.application(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal:
            await _answer(send, 403, refusal)
            return
        await self.application(scope, receive, _with_headers(send))

    def _refusal(self, scope: Scope) -> str:
        """Why a request is not answered; empty if it is."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        if headers.get("host", "") not in self.hosts:
            return "This server is not called so. Use the address that avkit demo printed."
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc not in self.hosts:
            return "Another site sent this."
        if headers.get("sec-fetch-site") == "cross-site" and scope["method"] not in ("GET", "HEAD"):
            return "Another site sent this."
        path = unquote(scope["path"])
        if path.startswith(_CLOSED):
            return "There is nothing here."
        if path.startswith(_FILE) and not self._is_upload(path.removeprefix(_FILE)):
            return "Only videos that were dropped here are served."
        return ""

    def _is_upload(self, name: str) -> bool:
        """Whether a path is that of an upload, with and without what links and dots stand for."""
        path = Path(name)
        if "\x00" in name or not path.is_absolute() or ".." in path.parts:
            return False
        return path.is_relative_to(self.uploads) and path.resolve().is_relative_to(self.uploads)


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            present = {name.lower() for name, _ in message["headers"]}
            added = [
                (name.encode(), value.encode()) for name, value in _HEADERS.items() if name.encode() not in present
            ]
            message = {**message, "headers": [*message["headers"], *added]}
        await send(message)

    return sending


async def _answer(send: Send, status: int, text: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})

# SPDX-License-Identifier: Apache-2.0
"""What the server answers at all: this machine's browser, asking for the page, its parts, and files of its own.

Gradio serves and reads files by the path that a request names, and fetches addresses; here a request may name uploads
alone. Browsers are told to load nothing from other places.
"""

import json
from pathlib import Path
from urllib.parse import unquote, urlsplit

from avkit.pages.asgi import Application, Message, Receive, Scope, Send, answer, with_headers

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
_UPLOAD = "/gradio_api/upload"
#: Bytes of a request that is no upload.
_MAX_BODY = 10**6
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
            await answer(send, 403, refusal, {})
            return
        if scope["method"] not in ("GET", "HEAD") and not scope["path"].startswith(_UPLOAD):
            body = await _read_body(receive)
            if body is None or not self._names_uploads_alone(body):
                await answer(send, 403, "Videos that were dropped here are answered about, and no other files.", {})
                return
            receive = _replay(body, receive)
        await self.application(scope, receive, with_headers(send, _HEADERS))

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

    def _names_uploads_alone(self, body: bytes) -> bool:
        """Whether a request is JSON, and every path in it is that of an upload."""
        try:
            values = [json.loads(body)] if body else []
        except (ValueError, RecursionError):
            return False
        while values:
            value = values.pop()
            if isinstance(value, dict):
                path = value.get("path")
                if path is not None and not (isinstance(path, str) and self._is_upload(path)):
                    return False
                values += value.values()
            elif isinstance(value, list):
                values += value
        return True

    def _is_upload(self, name: str) -> bool:
        """Whether a path is that of an upload, with and without what links and dots stand for."""
        path = Path(name)
        if "\x00" in name or not path.is_absolute() or ".." in path.parts:
            return False
        return path.is_relative_to(self.uploads) and path.resolve().is_relative_to(self.uploads)


async def _read_body(receive: Receive) -> bytes | None:
    """The body of a request; None if it is too long or its sender is gone."""
    parts: list[bytes] = []
    total = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        parts.append(message.get("body", b""))
        total += len(parts[-1])
        if total > _MAX_BODY:
            return None
        if not message.get("more_body", False):
            return b"".join(parts)


def _replay(body: bytes, receive: Receive) -> Receive:
    """What gives a body that has been read, and then whatever comes."""
    waiting = [body]

    async def replaying() -> Message:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(), "more_body": False}
        return await receive()

    return replaying

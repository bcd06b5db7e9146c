# SPDX-License-Identifier: Apache-2.0
"""The parts of ASGI that guards of local pages share."""

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


def with_headers(send: Send, headers: Mapping[str, str]) -> Send:
    """What sends an answer with these headers too, but for those that it has."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            present = {name.lower() for name, _ in message["headers"]}
            added = [(name.encode(), value.encode()) for name, value in headers.items() if name.encode() not in present]
            message = {**message, "headers": [*message["headers"], *added]}
        await send(message)

    return sending


async def answer(send: Send, status: int, text: str, headers: Mapping[str, str]) -> None:
    """Answer a request with plain text, which browsers do not keep."""
    lines = {"content-type": "text/plain; charset=utf-8", "cache-control": "no-store", **headers}
    encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in lines.items()]
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": text.encode()})

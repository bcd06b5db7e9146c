# SPDX-License-Identifier: Apache-2.0
"""The server of the page: Gradio's application behind a guard, and the files of answers."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from avkit.demo.answering import ANSWERS, Answerer
from avkit.demo.clip_check import MEGABYTE
from avkit.demo.guard import Guard
from avkit.demo.page_parts import Describe, build_page, head_html

_TYPES = {"mp4": "video/mp4", "png": "image/png", "json": "application/json", "html": "text/html; charset=utf-8"}
#: Seconds between two looks for what may be deleted.
_SWEEP_SECONDS = 60.0


def set_environment(uploads: str) -> None:
    """Tell Gradio where uploads are put, and that it reports to nobody; before it is imported."""
    os.environ["GRADIO_TEMP_DIR"] = uploads
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_RUN_HISTORY"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"


def make_application(answerer: Answerer, title: str, port: int, waiting: int, describe: Describe) -> Guard:
    """The application that a server runs.

    Args:
        answerer: What answers.
        title: Name of the run.
        port: Where the server listens.
        waiting: Inquiries that may wait.
        describe: Puts an error of which nobody thought into words.
    """
    set_environment(str(answerer.work.uploads))
    import gradio as gr
    from fastapi import FastAPI
    from starlette.responses import FileResponse, Response

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        task = asyncio.create_task(_sweep(answerer))
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)

    async def answer_file(token: str, name: str) -> Response:
        path = answerer.work.answer_file(token, name)
        kind = _TYPES.get(name.rpartition(".")[2])
        if path is None or kind is None:
            return Response("This answer is not here any more.", 404, media_type="text/plain")
        return FileResponse(path, media_type=kind, headers={"cache-control": "private, no-store"})

    app.add_api_route(f"/{ANSWERS}/{{token}}/{{name}}", answer_file, methods=["GET", "HEAD"], response_model=None)
    page = build_page(answerer, title, waiting, describe)
    fonts = ["system-ui", "Segoe UI", "Roboto", "Helvetica Neue", "Arial", "sans-serif"]
    theme = gr.themes.Default(primary_hue="cyan", font=fonts, font_mono=["ui-monospace", "Consolas", "monospace"])
    gr.mount_gradio_app(
        app,
        page,
        path="",
        server_name="127.0.0.1",
        server_port=port,
        footer_links=[],
        allowed_paths=[],
        max_file_size=round(answerer.limits.megabytes * MEGABYTE),
        show_error=False,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        theme=theme,
        head=head_html(),
    )
    return Guard(app, port, answerer.work.uploads)


async def _sweep(answerer: Answerer) -> None:
    """Delete what has lain too long, now and then."""
    while True:
        await asyncio.sleep(_SWEEP_SECONDS)
        await asyncio.to_thread(answerer.work.sweep)


def serve(application: Guard, listener: socket.socket) -> None:
    """Serve until a signal ends it."""
    import uvicorn

    config = uvicorn.Config(
        application,
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=2,
    )
    uvicorn.Server(config).run(sockets=[listener])

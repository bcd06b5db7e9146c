# SPDX-License-Identifier: Apache-2.0
"""The web application: the page, media of clips, edits, jobs and exports, as JSON over HTTP."""

import threading
from collections.abc import Awaitable, Callable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from avkit.annotation.clip_media import read_sound, spectrogram_picture, step_picture, waveform_peaks
from avkit.annotation.copies import Copies
from avkit.annotation.export import FORMATS, ExportOptions, export_labels
from avkit.annotation.folder import Folder, LabelledClip, open_video
from avkit.annotation.helpers import HelperChoice, HelperError
from avkit.annotation.jobs import ProposalJobs
from avkit.annotation.labels import read_labels
from avkit.annotation.requests import author_of, changes_of, json_of, whole_of
from avkit.annotation.rows import Item
from avkit.annotation.security import Guard, TooLarge
from avkit.annotation.store import StaleEdit, StoreError
from avkit.annotation.values import LabelError
from avkit.errors import AvkitError

#: Files of the page, and their types.
_PAGE = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_MAX_COLUMNS = 4000


class Application:
    """Answers requests about one folder; `guarded` is what a server runs.

    Args:
        folder: The folder.
        choices: The helper of each task.
    """

    def __init__(self, folder: Folder, choices: Mapping[str, HelperChoice]) -> None:
        self.folder = folder
        self.jobs = ProposalJobs(folder, choices)
        self.copies = Copies(folder)
        self._states: dict[int, tuple[int, dict[str, Any]]] = {}
        self._exporting = threading.Lock()

    def guarded(self, host: str, port: int, token: str | None) -> Guard:
        """The application behind its guard."""
        clip = "/api/clips/{number:int}"
        routes = [
            Route("/", _page_file),
            Route("/page/{name}", _page_file),
            Route("/api/folder", _blocking(self._show_folder)),
            Route(clip, _blocking(self._show_clip)),
            Route(f"{clip}/news", _blocking(self._show_news)),
            Route(f"{clip}/video", _blocking(self._send_video)),
            Route(f"{clip}/frames/{{step:int}}", _blocking(self._send_frame)),
            Route(f"{clip}/peaks", _blocking(self._send_peaks)),
            Route(f"{clip}/spectrogram", _blocking(self._send_spectrogram)),
            Route(f"{clip}/edit", _writing(self._edit), methods=["POST"]),
            Route(f"{clip}/undo", _writing(self._undo), methods=["POST"]),
            Route(f"{clip}/redo", _writing(self._redo), methods=["POST"]),
            Route(f"{clip}/copy", _writing(self._make_copy), methods=["POST"]),
            Route(f"{clip}/jobs", _writing(self._start_job), methods=["POST"]),
            Route("/api/jobs/{job:int}/cancel", _writing(self._cancel_job), methods=["POST"]),
            Route("/api/export", _writing(self._export), methods=["POST"]),
        ]
        return Guard(Starlette(routes=routes), host, port, token)

    def close(self) -> None:
        """End the jobs and copies."""
        self.jobs.jobs.close()
        self.copies.close()

    def _clip(self, request: Request) -> LabelledClip:
        return self.folder.clip(request.path_params["number"])

    def _show_folder(self, request: Request) -> Response:
        """What the folder holds, and how far each clip is."""
        newest = self.folder.store.newest_of()
        clips = [self._state(clip, newest.get(clip.number, 0)) for clip in self.folder.clips.values()]
        facts = {
            "name": self.folder.root.name,
            "hop": self.folder.hop,
            "classes": self.folder.corpus.classes if self.folder.corpus else [],
            "helpers": {task: choice.name for task, choice in self.jobs.choices.items()},
            "formats": {name: text for name, (text, _) in FORMATS.items()},
            "clips": clips,
        }
        return JSONResponse(facts)

    def _state(self, clip: LabelledClip, newest: int) -> dict[str, Any]:
        """How far a clip is: worked out again only after an edit of it."""
        stored = self._states.get(clip.number)
        if stored is not None and stored[0] == newest:
            return stored[1]
        state: dict[str, Any] = {"number": clip.number, "name": clip.name, "split": clip.split}
        state |= {"match": None, "objects": [], "gaps": [], "state": "new"}
        if newest:
            try:
                labels = read_labels(self.folder, clip, brief=True)
                gaps = labels.gaps()
                state |= {"match": labels.match, "objects": [entry.name for entry in labels.objects], "gaps": gaps}
                if not labels.is_untouched or labels.proposals:
                    state["state"] = "half" if gaps and labels.match != "no" else "done"
            except AvkitError as error:
                return state | {"state": "broken", "gaps": [str(error)]}  # not kept: the video may come back
        self._states[clip.number] = (newest, state)
        return state

    def _show_clip(self, request: Request) -> Response:
        """Facts and items of a clip."""
        clip = self._clip(request)
        shape = self.folder.shape(clip)
        info = open_video(clip.path).info
        newest = self.folder.store.newest()
        facts = {
            "number": clip.number,
            "name": clip.name,
            "steps": shape.steps,
            "hop": self.folder.hop,
            "duration": shape.duration,
            "size": list(shape.size),
            "fps": info.fps,
            "has_audio": info.has_audio,
            "video": self.copies.state(clip),
            "items": _as_lists(self.folder.store.items(clip.number)),
            "newest": newest,
        }
        return JSONResponse(facts)

    def _show_news(self, request: Request) -> Response:
        """Items that were changed since an edit, jobs of the clip, and how far it is."""
        clip = self._clip(request)
        since = whole_of(request.query_params.get("since", "0"), "since")
        newest = self.folder.store.newest()
        items = self.folder.store.items(clip.number, max(since, 0)) if newest > since else []
        jobs = [job.as_dict() for job in list(self.jobs.jobs.jobs.values()) if job.clip == clip.number]
        state = self._state(clip, self.folder.store.newest_of().get(clip.number, 0))
        news = {"items": _as_lists(items), "newest": newest, "jobs": jobs, "state": state}
        return JSONResponse(news | {"video": self.copies.state(clip)})

    def _send_video(self, request: Request) -> Response:
        path = self.copies.path(self._clip(request))
        path.stat()  # a file that is gone is said in words
        kind = "video/webm" if path.suffix.lower() == ".webm" else "video/mp4"
        return FileResponse(path, media_type=kind, headers={"cache-control": "no-cache"})

    def _send_frame(self, request: Request) -> Response:
        clip = self._clip(request)
        shape = self.folder.shape(clip)
        step = request.path_params["step"]
        if step >= shape.steps:
            raise LabelError(f"The clip has {shape.steps} steps; there is no step {step + 1}.")
        picture = step_picture(clip.path, step, self.folder.hop, shape.size, shape.steps)
        return Response(picture, media_type="image/jpeg", headers={"cache-control": "private, max-age=600"})

    def _send_peaks(self, request: Request) -> Response:
        columns = whole_of(request.query_params.get("columns", "1000"), "columns")
        peaks = waveform_peaks(read_sound(self._clip(request).path), min(max(columns, 1), _MAX_COLUMNS))
        return JSONResponse(peaks)

    def _send_spectrogram(self, request: Request) -> Response:
        picture = spectrogram_picture(read_sound(self._clip(request).path))
        return Response(picture, media_type="image/png", headers={"cache-control": "private, max-age=600"})

    def _edit(self, request: Request, body: Mapping[str, Any]) -> Response:
        clip = self._clip(request)
        shape = self.folder.shape(clip)
        items = self.folder.store.edit(clip.number, author_of(body), changes_of(body), shape)
        return JSONResponse({"items": _as_lists(items)})

    def _undo(self, request: Request, body: Mapping[str, Any]) -> Response:
        items = self.folder.store.undo(self._clip(request).number, author_of(body))
        return JSONResponse({"items": _as_lists(items)})

    def _redo(self, request: Request, body: Mapping[str, Any]) -> Response:
        items = self.folder.store.redo(self._clip(request).number, author_of(body))
        return JSONResponse({"items": _as_lists(items)})

    def _make_copy(self, request: Request, body: Mapping[str, Any]) -> Response:
        return JSONResponse({"video": self.copies.state(self._clip(request), wanted=True)})

    def _start_job(self, request: Request, body: Mapping[str, Any]) -> Response:
        job = self.jobs.start(self._clip(request).number, str(body.get("task")), author_of(body), body)
        return JSONResponse(job.as_dict())

    def _cancel_job(self, request: Request, body: Mapping[str, Any]) -> Response:
        job = self.jobs.jobs.cancel(request.path_params["job"])
        if job is None:
            raise LabelError("There is no such job any more.")
        return JSONResponse(job.as_dict())

    def _export(self, request: Request, body: Mapping[str, Any]) -> Response:
        options = ExportOptions(partial=body.get("partial") is True, overwrite=body.get("overwrite") is True)
        with self._exporting:
            exported = export_labels(self.folder, str(body.get("format")), options)
        return JSONResponse({"out": str(exported.out), "clips": exported.clips, "notes": exported.notes})


def _as_lists(items: list[Item]) -> list[list[Any]]:
    """Items as the page takes them: kind, object, step, value, revision, author."""
    return [[*item.key, item.value, item.revision, item.author] for item in items]


Handler = Callable[[Request], Awaitable[Response]]


def _blocking(answer: Callable[[Request], Response]) -> Handler:
    """A handler that runs beside others."""

    async def handler(request: Request) -> Response:
        return await run_in_threadpool(_answer, lambda: answer(request))

    return handler


def _writing(answer: Callable[[Request, Mapping[str, Any]], Response]) -> Handler:
    """A handler of a request with a body of JSON."""

    async def handler(request: Request) -> Response:
        try:
            content = await request.body()
        except TooLarge:
            return JSONResponse({"error": "The request is too long. Nothing was changed."}, 413)
        except ClientDisconnect:
            return Response(status_code=400)
        return await run_in_threadpool(_answer, lambda: answer(request, json_of(content)))

    return handler


def _answer(answer: Callable[[], Response]) -> Response:
    """An answer, or what is wrong in words."""
    try:
        return answer()
    except StaleEdit as error:
        return JSONResponse({"error": str(error), "items": _as_lists(error.items)}, 409)
    except StoreError as error:  # the page keeps the edit and sends it again
        return JSONResponse({"error": str(error)}, 507)
    except (LabelError, HelperError) as error:
        return JSONResponse({"error": str(error)}, 422)
    except (AvkitError, ValueError) as error:
        return JSONResponse({"error": str(error)}, 400)
    except OSError as error:
        return JSONResponse({"error": f"{error.filename or ''} cannot be read: {error.strerror or error}."}, 400)


async def _page_file(request: Request) -> Response:
    """A file of the page, of those that there are."""
    name = request.path_params.get("name", "index.html")
    pages = {entry.name: entry for entry in files("avkit.annotation").joinpath("page").iterdir()}
    kind = _PAGE.get(Path(name).suffix)
    if kind is None or name not in pages:
        return Response("There is no such page.", 404, media_type="text/plain")
    return Response(pages[name].read_bytes(), media_type=kind, headers={"cache-control": "no-cache"})

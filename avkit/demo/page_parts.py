# SPDX-License-Identifier: Apache-2.0
"""The page in Gradio: what is dropped and chosen on the left, the answer on the right."""

import html
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.resources import files
from typing import Any

from avkit.demo.answering import Answered, Answerer, Inquiry, Progress
from avkit.demo.clip_check import shown_name
from avkit.errors import AvkitError

#: Sentences of an error of which nobody thought.
Describe = Callable[[Exception], str]

_EMPTY = (
    '<p class="avkit-hint">The answer appears here: the video with what was found, a time line that follows it, and '
    "the same without its sound.</p>"
)


def head_html() -> str:
    """Style and script of the page, for its head."""
    folder = files("avkit.demo").joinpath("page")
    report = files("avkit.report").joinpath("templates").joinpath("style.css").read_text(encoding="utf-8")
    style = folder.joinpath("page.css").read_text(encoding="utf-8")
    script = folder.joinpath("page.js").read_text(encoding="utf-8")
    return f"<style>.avkit-answer {{\n{report}}}\n{style}</style>\n<script>\n{script}</script>"


def build_page(answerer: Answerer, title: str, waiting: int, describe: Describe) -> Any:
    """The page, as Gradio's blocks.

    Args:
        answerer: What answers.
        title: Name of the run.
        waiting: Inquiries that may wait.
        describe: Puts an error of which nobody thought into words.
    """
    import gradio as gr

    limits = answerer.limits

    def ask(  # without types: Gradio reads them to fill in the request
        video: Any, tasks: Any, questions: Any, in_silence: Any, silent_ok: Any, dark: Any, request: gr.Request
    ) -> Iterator[tuple[Any, Any]]:
        session = str(request.session_hash)
        try:
            inquiry = read_inquiry(video, tasks, questions, in_silence, silent_ok, dark)
            for stage in answerer.answer(inquiry, session):
                if isinstance(stage, Progress):
                    yield status_html(stage.text), first_html(stage.lines) if stage.lines else gr.skip()
                elif isinstance(stage, Answered):
                    yield "", stage.html
        except (AvkitError, ValueError) as error:
            yield error_html(str(error)), _EMPTY
        except Exception as error:
            print(f"avkit demo: {describe(error)}", file=sys.stderr, flush=True)
            yield error_html("Something went wrong here; the terminal says what. Try another video."), _EMPTY

    def leave(request: gr.Request) -> None:
        answerer.work.end_session(str(request.session_hash))

    with gr.Blocks(title=f"avkit demo: {title}", analytics_enabled=False, fill_width=True) as page:
        gr.HTML(_head_line(answerer, title), elem_id="avkit-head")
        with gr.Row(elem_id="avkit-columns"):
            with gr.Column(scale=4, min_width=300):
                video = gr.Video(
                    label=f"Video, up to {limits.megabytes:g} MB and {limits.seconds:g} s",
                    sources=["upload", "webcam"],
                    elem_id="avkit-clip",
                )
                tasks = gr.CheckboxGroup(
                    choices=[(_task_label(answerer, name), name) for name in answerer.tasks],
                    value=answerer.tasks,
                    label="Tasks",
                    elem_id="avkit-tasks",
                )
                answers_questions = any(answerer.needs_question(name) for name in answerer.tasks)
                questions = gr.Textbox(
                    label="Questions, one per line",
                    placeholder="how many things make a sound",
                    lines=2,
                    max_lines=6,
                    visible=answers_questions,
                    elem_id="avkit-questions",
                )
                in_silence = gr.Checkbox(value=True, label="in silence beside it", elem_id="avkit-silence")
                silent_ok = gr.Checkbox(value=False, label="a video may lack sound", elem_id="avkit-silent-ok")
                dark = gr.Checkbox(visible=False)
                button = gr.Button("Answer", variant="primary", elem_id="avkit-ask")
            with gr.Column(scale=8, min_width=300):
                status = gr.HTML("", elem_id="avkit-status")
                answer = gr.HTML(_EMPTY, elem_id="avkit-result")
        video.change(None, [video], None, js="(video) => { avkitKeep(video); }")
        button.click(
            ask,
            [video, tasks, questions, in_silence, silent_ok, dark],
            [status, answer],
            js="async (video, ...rest) => [await avkitSend(video), ...rest.slice(0, -1), avkitDark()]",
            preprocess=False,  # what a request names is checked in `read_inquiry`; Gradio would fetch addresses
            show_progress="minimal",
            api_name=False,
        )
        page.unload(leave)
    page.queue(max_size=waiting, default_concurrency_limit=1, api_open=False)
    return page


def read_inquiry(video: Any, tasks: Any, questions: Any, in_silence: Any, silent_ok: Any, dark: Any) -> Inquiry:
    """What the browser asks, out of what it sent, which may be anything.

    Raises:
        ValueError: If there is no video.
    """
    if isinstance(video, dict) and isinstance(video.get("video"), dict):
        video = video["video"]
    path = video.get("path") if isinstance(video, dict) else None
    if not isinstance(path, str) or not path:
        raise ValueError("There is no video yet. Drop one on the left, or record one.")
    name = video.get("orig_name")
    names = [task for task in tasks if isinstance(task, str)] if isinstance(tasks, list) else []
    lines = questions.splitlines() if isinstance(questions, str) else []
    return Inquiry(
        upload=path,
        name=shown_name(name if isinstance(name, str) and name else path),
        tasks=names,
        questions=[line.strip() for line in lines if line.strip()],
        in_silence=in_silence is True,
        silent_ok=silent_ok is True,
        dark=dark is True,
    )


def status_html(text: str) -> str:
    """A line about what is being done."""
    return f'<p class="avkit-status" role="status">{html.escape(text)}</p>'


def first_html(lines: Sequence[str]) -> str:
    """The answer in plain words, until it is drawn."""
    return f'<pre class="avkit-first">{html.escape(chr(10).join(lines))}</pre>'


def error_html(text: str) -> str:
    """A line about what is wrong."""
    return f'<p class="avkit-error" role="alert">{html.escape(text)}</p>'


def _head_line(answerer: Answerer, title: str) -> str:
    """The name of the run, and what a reader of its answers must know."""
    warning = answerer.predictor.warning(answerer.tasks)
    note = f'<p class="avkit-warning" role="note">{html.escape(warning)}</p>' if warning else ""
    return (
        f'<div class="avkit-head"><h1>avkit demo</h1><p>answers of <strong>{html.escape(title)}</strong>; videos stay '
        f"on this machine and are deleted after their answer</p>{note}</div>"
    )


def _task_label(answerer: Answerer, name: str) -> str:
    """The name of a task and what it answers with."""
    kinds = [kind.kind.replace("_", " ") for kind in answerer.predictor.model.tasks[name].answers]
    return f"{name} ({', '.join(kinds)})"

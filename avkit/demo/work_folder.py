# SPDX-License-Identifier: Apache-2.0
"""The only folder that the page writes to: uploads until they are answered about, and answers until they are left."""

import os
import re
import secrets
import shutil
import tempfile
import threading
import time
from pathlib import Path

from avkit.errors import MediaError
from avkit.files import is_running

_PREFIX = "avkit-demo-"
_NAME = re.compile(rf"{_PREFIX}(\d+)-\w+")
_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,5}")
#: Seconds after which uploads that nobody asked about, and answers, are deleted.
KEPT_SECONDS = 1800.0


class WorkFolder:
    """A temporary folder that no other user can read, deleted by `close`.

    Args:
        parent: Where to make it; the system's folder of temporary files where None.
    """

    def __init__(self, parent: Path | None = None) -> None:
        place = Path(tempfile.gettempdir() if parent is None else parent)
        remove_abandoned(place)
        self.root = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=place)).resolve()
        #: What the browser has sent.
        self.uploads = self.root / "uploads"
        #: A folder per answer, by a name that cannot be guessed.
        self.answers = self.root / "answers"
        self.uploads.mkdir()
        self.answers.mkdir()
        self._of_session: dict[str, Path] = {}
        self._lock = threading.Lock()

    def new_answer(self, session: str) -> Path:
        """An empty folder for the answer of a tab of a browser, whose earlier answer is deleted."""
        folder = self.answers / secrets.token_urlsafe(16)
        folder.mkdir()
        with self._lock:
            earlier = self._of_session.get(session)
            self._of_session[session] = folder
        if earlier is not None:
            shutil.rmtree(earlier, ignore_errors=True)
        return folder

    def end_session(self, session: str) -> None:
        """Delete the answer of a tab that was closed."""
        with self._lock:
            folder = self._of_session.pop(session, None)
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)

    def take_upload(self, path: str, name: str, folder: Path) -> Path:
        """Move an upload into the folder of its answer, so that it is used once.

        Args:
            path: What the browser says that it has sent.
            name: What its owner calls it, for errors.
            folder: As `new_answer` returned it.

        Raises:
            MediaError: If it is no upload, or is not here any more.
        """
        upload = Path(path)
        inside = upload.is_absolute() and ".." not in upload.parts and upload.is_relative_to(self.uploads)
        taken = folder / f"clip{upload.suffix if _SUFFIX.fullmatch(upload.suffix) else ''}"
        try:
            if not inside or upload.is_symlink() or not upload.is_file():
                raise FileNotFoundError
            upload.rename(taken)
        except (OSError, ValueError):  # ValueError: a name with a zero byte
            raise MediaError(
                f"{name} is not here any more: videos are deleted after their answer. Drop it again."
            ) from None
        if upload.parent != self.uploads:
            shutil.rmtree(upload.parent, ignore_errors=True)
        return taken

    def answer_file(self, token: str, name: str) -> Path | None:
        """A file of an answer; None if there is none of these names."""
        if not re.fullmatch(r"[\w-]{16,64}", token) or not re.fullmatch(r"[a-z-]+\.[a-z0-9]+", name):
            return None
        path = self.answers / token / name
        return path if path.is_file() and not path.is_symlink() else None

    def sweep(self, older_than: float = KEPT_SECONDS) -> None:
        """Delete uploads and answers that have lain for some seconds."""
        limit = time.time() - older_than
        for folder in (self.uploads, self.answers):
            for entry in folder.iterdir():
                if _changed(entry) < limit:
                    _remove(entry)

    def close(self) -> None:
        """Delete everything."""
        shutil.rmtree(self.root, ignore_errors=True)


def remove_abandoned(place: Path) -> None:
    """Delete the folders of pages whose processes were killed."""
    for entry in place.glob(f"{_PREFIX}*"):
        match = _NAME.fullmatch(entry.name)
        if match is not None and entry.is_dir() and not entry.is_symlink() and not is_running(int(match[1])):
            shutil.rmtree(entry, ignore_errors=True)


def _changed(entry: Path) -> float:
    """When something was changed last; never where it is gone."""
    try:
        return entry.lstat().st_mtime
    except OSError:
        return float("inf")


def _remove(entry: Path) -> None:
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry, ignore_errors=True)
    else:
        entry.unlink(missing_ok=True)

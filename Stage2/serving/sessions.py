"""Scans that a client sends for one sitting: segmented as others, kept apart from the folder, gone after hours."""

import re
import secrets
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from Stage2.io.dicom import holds_dicom
from Stage2.io.nifti import NIFTI_SUFFIXES, check_voxels
from Stage2.io.scans import ScanFile
from Stage2.serving.predictions import Prediction, latest_prediction
from Stage2.serving.refusals import Refusal, not_there
from Stage2.serving.store import Store
from Stage2.serving.uploads import plain_name, save_file

EXPIRY = 2 * 3600.0  # seconds after the last use
MOST = 20  # sessions at one time
MOST_FILES = 2000  # of a series
_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Session:
    """A session.

    Attributes:
        id: that the client names.
        folder: with the scan and its masks.
    """

    id: str
    folder: Path

    @property
    def scan(self) -> ScanFile:
        """The scan: a NIfTI file, or the folder of a series."""
        inside = self.folder / "scan"
        volume = next((path for path in inside.iterdir() if path.name.endswith(NIFTI_SUFFIXES)), None)
        return ScanFile(volume or inside)

    def describe(self) -> dict[str, Any]:
        """As clients of MONAI Label see it."""
        now = int(time.time())
        return {"name": self.id, "image": self.scan.path.name, "expiry": int(EXPIRY), "create_ts": now, "last_ts": now}

    def mask(self) -> Prediction | None:
        """The latest prediction; None where there is none."""
        return latest_prediction(self.folder, self.scan)


class Sessions:
    """The sessions of a workbench."""

    def __init__(self, store: Store):
        self.store, self.folder = store, store.state / "sessions"

    def get(self, session_id: str) -> Session:
        """One of them, used now; raises Refusal where there is none, or no more."""
        folder = self.folder / session_id
        if not _ID.fullmatch(session_id) or not folder.is_dir():
            raise not_there("This session")
        (folder / "used").touch()
        return Session(session_id, folder)

    def add(self, files: Sequence[tuple[str, BinaryIO]]) -> Session:
        """A session with a scan: one NIfTI file, or the files of a DICOM series.

        Raises:
            Refusal: it is neither, it is damaged, or there are too many sessions.
        """
        self._remove_old()
        if self.folder.is_dir() and len(list(self.folder.iterdir())) >= MOST:
            raise Refusal(429, f"there are {MOST} sessions already; end one, or wait until one expires.")
        session_id = secrets.token_hex(16)
        session = Session(session_id, self.folder / session_id)
        inside = session.folder / "scan"
        inside.mkdir(parents=True)
        try:
            (session.folder / "used").touch()
            if len(files) == 1:
                path = inside / plain_name(files[0][0])
                save_file(self.store, files[0][1], path)
                check_voxels(path)
            else:
                for place, (_, content) in enumerate(files):
                    save_file(self.store, content, inside / f"{place:05d}.dcm")
                if not holds_dicom(inside):
                    raise Refusal(415, f"{len(files)} files are no DICOM series; send one, or one NIfTI file.")
        except (ValueError, FileNotFoundError) as error:
            shutil.rmtree(session.folder)
            raise Refusal(422, str(error).replace(f"{inside}/", "")) from None
        except BaseException:
            shutil.rmtree(session.folder)
            raise
        return session

    def remove(self, session_id: str) -> dict[str, Any]:
        """End a session; returns its description. Raises Refusal where there is none."""
        session = self.get(session_id)
        described = session.describe()
        shutil.rmtree(session.folder)
        return described

    def _remove_old(self) -> None:
        for folder in self.folder.iterdir() if self.folder.is_dir() else ():
            used = folder / "used"
            if not used.exists() or used.stat().st_mtime < time.time() - EXPIRY:
                shutil.rmtree(folder, ignore_errors=True)

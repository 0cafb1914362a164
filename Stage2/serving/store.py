"""What a workbench keeps beside the scans: drawings, examples, labels and masks, as files that outlive the server.

Everything lies in FOLDER/.workbench, but for the saved masks: these are FOLDER/<scan>_mask.nii.gz. What stood there
before, and every earlier drawing, is kept in .workbench/versions.
"""

import shutil
import tempfile
import threading
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from Stage1.files import PARTIAL, hash_file, locked, remove_partial
from Stage2.inference.masks import find_truth
from Stage2.io.volumes import write_volume
from Stage2.serving.drawings import checked_drawing, keep_version, organs_in, same_voxels, sent_voxels, to_scan
from Stage2.serving.folder import Scan, is_inside, last_changes, scans_of
from Stage2.serving.labels import Label, read_labels, renumbered
from Stage2.serving.memory import Memory
from Stage2.serving.pictures import Made, copy_whole
from Stage2.serving.predictions import Prediction, final_of, latest_prediction
from Stage2.serving.refusals import Refusal, not_there, refusing
from Stage2.serving.settings import STATE, ServeSettings


class Store:
    """The folder of a workbench.

    Args:
        settings: of the workbench.

    Raises:
        FileNotFoundError, ValueError, OSError: no such folder, one whose state lies elsewhere or is of another version,
            or which another workbench serves, or nothing can be written.

    Attributes:
        root: the folder.
        state: of what is kept.
        cache: folder of what can be made again.
        memory: what is remembered of labels and scans.
    """

    def __init__(self, settings: ServeSettings):
        if not settings.data.is_dir():
            raise FileNotFoundError(f"--data {settings.data} is no folder; give one that holds scans.")
        self.settings, self.root = settings, settings.data.resolve()
        self.state = self.root / STATE
        if not is_inside(self.root, self.state):
            raise ValueError(f"{self.state} is a link out of the folder; remove it.")
        self.lock = threading.RLock()
        self._making, self._listing = threading.Lock(), threading.Lock()
        self._scans: tuple[object, list[Scan]] = (None, [])
        with ExitStack() as held:
            if settings.read_only:
                scratch = tempfile.TemporaryDirectory(prefix="densemp-workbench-", ignore_cleanup_errors=True)
                self.cache = Path(held.enter_context(scratch)) / "cache"
            else:
                held.enter_context(locked(self.state))
                self.cache = self.state / "cache"
                remove_partial(self.state / "drawings")
                for path in self.root.glob(f".*_mask.*{PARTIAL}.nii.gz"):  # in the user's own folder: masks alone
                    path.unlink(missing_ok=True)
                shutil.rmtree(self.uploads, ignore_errors=True)
            self.memory = Memory(self.state / "workbench.json", settings.limits.labels)
            self._held = held.pop_all()

    @property
    def uploads(self) -> Path:
        """Folder of what is being sent."""
        return self.state / "uploads"

    def close(self) -> None:
        """Let another workbench have the folder, and remove what one that changes nothing made for itself."""
        with self._making:
            self._held.close()

    # Scans

    def scans(self) -> list[Scan]:
        """Of the folder, by name; looked for again when the folder has changed."""
        with self._listing:
            changed = last_changes(self.root)
            if self._scans[0] != changed:
                self._scans = (changed, scans_of(self.root))
            return self._scans[1]

    def look_again(self) -> None:
        """Look for scans anew, whatever the folder says of its last change."""
        with self._listing:
            self._scans = (None, [])

    def scan(self, scan_id: str) -> Scan:
        """One of them that can be used.

        Raises:
            Refusal: there is none of this id, or it has an error.
        """
        scan = next((own for own in self.scans() if own.id == scan_id), None)
        if scan is None:
            raise not_there("This scan")
        if scan.error is not None:
            raise Refusal(409, f"{scan.name}: {scan.error}")
        return scan

    def made(self, scan: Scan) -> Made:
        """What is made of a scan, made now if it is not there yet.

        Raises:
            Refusal: the scan cannot be read.
        """
        made = Made(self.cache, scan)
        noted = made.note()
        if noted is None:
            with self._making:
                noted = made.make()
        if "error" in noted:
            raise Refusal(422, noted["error"])
        return made

    # Drawings

    def drawing(self, scan: Scan) -> Path | None:
        """The file of what a person drew: here, or beside the scan from before; None where there is none."""
        own = self.state / "drawings" / f"{scan.id}.nii.gz"
        if own.is_file():
            return own
        with suppress(FileNotFoundError):
            found = find_truth(self.root, scan.file)
            is_ours = found == self.published(scan) and "published" in self.noted(scan)
            return found if is_inside(self.root, found) and not is_ours else None
        return None

    def drawing_on_scan(self, scan: Scan) -> Path | None:
        """The file of a drawing as uint8 on the scan's own grid, made now if it is not there yet; None where there is
        no drawing.

        Raises:
            Refusal: it does not fit the scan.
        """
        path = self.drawing(scan)
        if path is None:
            return None
        made = self.made(scan)
        with self._making, refusing(path, f"the drawing {path.name}"):
            return to_scan(path, made.volume, scan.name, made.folder)

    def save_drawing(self, scan: Scan, sent: Path, slices: Sequence[int] | None = None, label_info: Any = None) -> None:
        """Keep a drawing; the one before becomes a version. One without any organ takes it away, see `remove_drawing`.

        Args:
            scan: that it belongs to.
            sent: the file; it is removed.
            slices: in which every organ is drawn, from 0 up along the slice axis of the file; None: in all.
            label_info: what the values in it are called, where they are not those of the labels, see `renumbered`.

        Raises:
            Refusal: it does not fit the scan.
            OSError: it cannot be written.
        """
        try:
            volume = self.made(scan).volume
            voxels = sent_voxels(sent, volume, scan.name, slices)
        finally:
            sent.unlink(missing_ok=True)
        with self.lock:
            if not voxels.any():
                self.remove_drawing(scan)
                return
            with refusing(sent, "the drawing"):
                voxels, labels = renumbered(voxels, label_info, self.labels())
            path = self.state / "drawings" / f"{scan.id}.nii.gz"
            if not same_voxels(path, voxels):
                keep_version(path, self.versions(scan))
                write_volume(path, voxels, volume)
            places = None if slices is None else sorted(set(slices))
            self.memory.note(scan.id, slices=places, corrected=self.mask(scan) is not None)
            self.memory.set_labels(labels)
            self.memory.learn_labels(organs_in(voxels))
            self.publish(scan)

    def remove_drawing(self, scan: Scan) -> None:
        """Put a drawing away among the versions; a mask of the user's own beside the scan stays. Raises OSError."""
        with self.lock:
            path = self.state / "drawings" / f"{scan.id}.nii.gz"
            if keep_version(path, self.versions(scan)) is not None:
                path.unlink(missing_ok=True)
            self.memory.forget(scan.id, but=("published", "failure", "predicted"))
            self.publish(scan)

    def set_example(self, scan: Scan, example: bool) -> None:
        """Take a scan with its drawing as an example, or no longer; organs in it that have no label get one.

        Raises:
            Refusal: nothing is drawn in it, or the drawing does not fit the scan.
        """
        organs = []
        if example:
            drawing = self.drawing(scan)
            if drawing is not None:
                with refusing(drawing, f"the drawing {drawing.name}"):
                    organs = organs_in(checked_drawing(drawing, self.made(scan).volume, scan.name))
            if not organs:
                raise Refusal(409, f"nothing is drawn in {scan.name}; draw an organ first.")
        with self.lock:
            self.memory.note(scan.id, example=example)
            self.memory.learn_labels(organs)

    def examples(self) -> list[Scan]:
        """Scans whose drawings a network learns from, by name."""
        return [scan for scan in self.scans() if scan.error is None and self.is_example(scan)]

    def is_example(self, scan: Scan) -> bool:
        return bool(self.noted(scan).get("example")) and self.drawing(scan) is not None

    def drawn_slices(self, scan: Scan) -> list[int] | None:
        """In which every organ is drawn; None: all."""
        return self.noted(scan).get("slices")

    # Masks

    def mask(self, scan: Scan) -> Prediction | None:
        """The latest prediction of a scan; None where there is none, or the scan has been replaced since."""
        made_of = self.noted(scan).get("predicted")
        with suppress(OSError):
            if made_of is None or made_of == scan.fingerprint():
                return latest_prediction(self.state, scan.file)
        return None

    def take_prediction(self, scan: Scan, fingerprint: str | None, failure: str | None) -> None:
        """Take over what a job has found in a scan: its mask is saved, and its organs that have no label get one.

        Args:
            scan: that was segmented.
            fingerprint: of the scan as it was then; None: that is not known.
            failure: why it could not be segmented; None: it could.

        Raises:
            OSError: something cannot be written.
        """
        with self.lock:
            self.memory.note(scan.id, failure=failure, **({} if failure is not None else {"predicted": fingerprint}))
            found = self.mask(scan)
            self.memory.learn_labels([] if found is None else [int(label) for label in found.record["labels"]])
            self.publish(scan)

    def final_mask(self, scan: Scan) -> Path | None:
        """What counts as the mask of a scan: what is drawn throughout, else predicted; None where there is none."""
        return final_of(self.drawing(scan), self.drawn_slices(scan), self.mask(scan))

    def publish(self, scan: Scan) -> None:
        """Write the mask of a scan beside it, where it is not there yet; what stood there becomes a version.

        Raises:
            OSError: it cannot be written.
        """
        with self.lock:
            source, target = self.final_mask(scan), self.published(scan)
            if source is None or source.parent == self.root:  # a mask of the user's own is where it belongs
                return
            digest = hash_file(source)
            is_own_link = target.is_symlink() or (target.exists() and not target.is_file())
            if is_own_link or not target.exists() or hash_file(target) != digest:
                keep_version(target, self.versions(scan))
                copy_whole(source, target)
            self.memory.note(scan.id, published=digest)

    def published(self, scan: Scan) -> Path:
        """The file of the saved mask, beside the scan."""
        return self.root / f"{scan.file.name}_mask.nii.gz"

    def versions(self, scan: Scan) -> Path:
        """Folder of what was there before."""
        return self.state / "versions" / scan.id

    # Labels

    def labels(self) -> list[Label]:
        """By value."""
        return self.memory.labels()

    def set_labels(self, content: Any) -> None:
        """Name the labels anew; raises Refusal where they are none."""
        try:
            labels = read_labels(content, self.settings.limits.labels)
        except ValueError as error:
            raise Refusal(422, str(error)) from None
        with self.lock:
            self.memory.set_labels(labels)

    def noted(self, scan: Scan) -> dict[str, Any]:
        """What is remembered of a scan."""
        return self.memory.noted(scan.id)

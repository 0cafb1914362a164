"""What a workbench keeps beside the scans: drawings, examples, labels and masks, as files that outlive the server.

Everything lies in FOLDER/.workbench, but for the saved masks: these are FOLDER/<scan>_mask.nii.gz. What stood there
before, and every earlier drawing, is kept in .workbench/versions.
"""

import json
import shutil
import tempfile
import threading
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from Stage1.files import PARTIAL, hash_file, locked, remove_partial, write_json
from Stage2.inference.masks import UNKNOWN, find_truth
from Stage2.io.volumes import write_volume
from Stage2.serving.drawings import as_sent, checked_drawing, keep_version, same_voxels, values_of
from Stage2.serving.folder import Scan, is_inside, scans_of
from Stage2.serving.labels import Label, read_labels, renumbered, with_values
from Stage2.serving.pictures import Made, copy_whole, facts_of
from Stage2.serving.predictions import Prediction, latest_prediction
from Stage2.serving.refusals import Refusal, not_there
from Stage2.serving.settings import STATE, ServeSettings

VERSION = 1


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
        own: what is remembered, as plain values.
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
        self._scans: tuple[int, list[Scan]] = (-1, [])
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
            self.own = self._read_state()
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
            changed = self.root.stat().st_mtime_ns
            if self._scans[0] != changed:
                self._scans = (changed, scans_of(self.root))
            return self._scans[1]

    def look_again(self) -> None:
        """Look for scans anew, whatever the folder says of its last change."""
        with self._listing:
            self._scans = (-1, [])

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

    def save_drawing(
        self, scan: Scan, sent: Path, slices: Sequence[int] | None = None, label_info: Any = None
    ) -> None:
        """Keep a drawing; the one before becomes a version.

        Args:
            scan: that it belongs to.
            sent: the file; it is removed.
            slices: in which every organ is drawn, from 0 up along the slice axis of the file; None: in all.
            label_info: what the values in it are called, where they are not those of the labels, see `renumbered`.

        Raises:
            Refusal: it does not fit the scan.
            OSError: it cannot be written.
        """
        named = sent
        try:
            volume = self.made(scan).volume
            named = as_sent(sent)
            facts = facts_of(volume)
            depth = facts.shape[facts.slice_axis]
            wrong = [place for place in slices or () if not 0 <= place < depth]
            if wrong:
                raise ValueError(f"slice {wrong[0]} is named as drawn; {scan.name} has slices 0 to {depth - 1}.")
            voxels, labels = renumbered(checked_drawing(named, volume, scan.name), label_info, self.labels())
        except (ValueError, FileNotFoundError) as error:
            raise Refusal(422, str(error).replace(str(named), "the drawing")) from None
        finally:
            named.unlink(missing_ok=True)
        with self.lock:
            path = self.state / "drawings" / f"{scan.id}.nii.gz"
            if not same_voxels(path, voxels):
                keep_version(path, self.versions(scan))
                write_volume(path, voxels, volume)
            places = None if slices is None else sorted(set(slices))
            values = [value for value in values_of(voxels) if value not in (0, UNKNOWN)]
            self._note(scan, slices=places, values=values, corrected=self.mask(scan) is not None)
            self.own["labels"] = [own.plain() for own in with_values(labels, values)]
            self._write_state()
            self.publish(scan)

    def remove_drawing(self, scan: Scan) -> None:
        """Put a drawing away among the versions; a mask of the user's own beside the scan stays. Raises OSError."""
        with self.lock:
            path = self.state / "drawings" / f"{scan.id}.nii.gz"
            if keep_version(path, self.versions(scan)) is not None:
                path.unlink(missing_ok=True)
            kept = {key: value for key, value in self.noted(scan).items() if key in ("published", "failure")}
            self.own["scans"][scan.id] = kept
            self._write_state()
            self.publish(scan)

    def set_example(self, scan: Scan, example: bool) -> None:
        """Take a scan with its drawing as an example, or no longer.

        Raises:
            Refusal: nothing is drawn in it.
        """
        if example:
            drawing = self.drawing(scan)
            if drawing is None or self.noted(scan).get("values") == []:
                raise Refusal(409, f"nothing is drawn in {scan.name}; draw an organ first.")
        with self.lock:
            self._note(scan, example=example)
            self._write_state()

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
        """The latest prediction of a scan; None where there is none."""
        return latest_prediction(self.state, scan.file)

    def final_mask(self, scan: Scan) -> Path | None:
        """What counts as the mask of a scan: what is drawn throughout, else predicted; None where there is none."""
        drawing = self.drawing(scan)
        if drawing is not None and self.drawn_slices(scan) is None:
            return drawing
        found = self.mask(scan)
        return None if found is None else found.mask

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
            if self.noted(scan).get("published") != digest:
                self._note(scan, published=digest)
                self._write_state()

    def published(self, scan: Scan) -> Path:
        """The file of the saved mask, beside the scan."""
        return self.root / f"{scan.file.name}_mask.nii.gz"

    def versions(self, scan: Scan) -> Path:
        """Folder of what was there before."""
        return self.state / "versions" / scan.id

    # Labels

    def labels(self) -> list[Label]:
        """By value."""
        return [Label(**own) for own in self.own["labels"]]

    def set_labels(self, content: Any) -> None:
        """Name the labels anew; raises Refusal where they are none."""
        try:
            labels = read_labels(content, self.settings.limits.labels)
        except ValueError as error:
            raise Refusal(422, str(error)) from None
        with self.lock:
            self.own["labels"] = [own.plain() for own in labels]
            self._write_state()

    def note_failure(self, scan: Scan, reason: str | None) -> None:
        """Remember why a scan could not be segmented, until it could."""
        with self.lock:
            if self.noted(scan).get("failure") != reason:
                self._note(scan, failure=reason)
                self._write_state()

    def noted(self, scan: Scan) -> dict[str, Any]:
        """What is remembered of a scan."""
        return self.own["scans"].get(scan.id, {})

    def _note(self, scan: Scan, **values: Any) -> None:
        self.own["scans"][scan.id] = {**self.noted(scan), **values}

    def _read_state(self) -> dict[str, Any]:
        path = self.state / "workbench.json"
        if not path.exists():
            return {"version": VERSION, "labels": [], "scans": {}}
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["version"] != VERSION:
                raise ValueError(f"version {content['version']}")
            read_labels(content["labels"], self.settings.limits.labels)
            return {"version": VERSION, "labels": content["labels"], "scans": dict(content["scans"])}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is damaged or of another version ({error}); move it away.") from None

    def _write_state(self) -> None:
        write_json(self.state / "workbench.json", self.own)

"""A job of a workbench, as clients see it."""

from dataclasses import dataclass, field

QUEUED, RUNNING, DONE, FAILED, CANCELLED = "queued", "running", "done", "failed", "cancelled"
PREVIEW, SEGMENT = KINDS = ("preview", "segment")


@dataclass
class Job:
    """What was asked for, and how far it is.

    Attributes:
        id: of the job; later ones sort later.
        kind: "preview" or "segment".
        scans: ids of the scans to segment.
        minutes: of processor time that were asked for; None: as the workbench is set.
        state: queued, running, done, failed or cancelled.
        stage: "prototypes" (what there is at once), "adapting", "segmenting".
        share: of the stage that is done.
        seconds_left: of the stage; None where that is not known.
        error: in one line.
        done: ids of the scans whose last masks are there.
        session: whose scan is segmented, in place of those of the folder.
    """

    id: str
    kind: str
    scans: list[str]
    minutes: float | None = None
    state: str = QUEUED
    stage: str | None = None
    share: float = 0.0
    seconds_left: float | None = None
    error: str | None = None
    done: list[str] = field(default_factory=list)
    session: str | None = None

    @property
    def has_ended(self) -> bool:
        return self.state in (DONE, FAILED, CANCELLED)

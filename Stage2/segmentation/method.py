"""How a query is segmented: the settings of the method, which need no network to be named."""

from dataclasses import dataclass

MATCHINGS = ("similarity", "position")  # of slices, see `Stage2.segmentation.matching.place_slices`
SLICES_AT_ONCE = 8


@dataclass(frozen=True)
class Method:
    """How a query is segmented.

    Attributes:
        matching: how slices find their support, "similarity" or "position".
        parts: support slices of an organ in a support scan.
        window: pooling window of local prototypes, in feature pixels.
        margin: slices beyond the organ's range in the support in which it is looked for; None: it is looked for in
            all slices.
        slices_at_once: bound on the slices that the encoder, and the scores, hold in memory.
        least_pixels: of an organ in a slice that may be its support slice.
        query_prototypes: of each class that confident cells of the query may add, see
            `Stage2.segmentation.scans.segment_with_query`; 0: none.

    Raises:
        ValueError: the matching is unknown, or there are fewer than no prototypes of the query.
    """

    matching: str = "similarity"
    parts: int = 3
    window: int = 2
    margin: int | None = 0
    slices_at_once: int = SLICES_AT_ONCE
    least_pixels: int = 1
    query_prototypes: int = 0

    def __post_init__(self):
        if self.matching not in MATCHINGS:
            raise ValueError(f"matching {self.matching!r} is unknown; choose one of {', '.join(MATCHINGS)}.")
        if self.query_prototypes < 0:
            raise ValueError(f"query_prototypes={self.query_prototypes} is too small; choose 0 (none) or more.")

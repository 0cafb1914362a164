"""What to test in a cohort: classes with their support slices, and what the class maps say of the queries."""

from collections.abc import Sequence

from Stage2.datasets.cohort import Cohort
from Stage2.evaluation.protocol import ClassTask


def list_tasks(
    cohort: Cohort,
    labels: Sequence[int],
    support_ids: Sequence[str],
    query_ids: Sequence[str],
    n_parts: int,
    min_pixels: int,
) -> list[ClassTask]:
    """A task for every class.

    Args:
        cohort: where the scans are.
        labels: the classes.
        support_ids: the support scans.
        query_ids: the scans to test.
        n_parts: support slices of a class in a support scan.
        min_pixels: fewest pixels of the class in a slice that may be a support.

    Raises:
        ValueError: a support scan does not show a class.
    """
    return [
        ClassTask(
            name=cohort.data_set.class_name(label),
            label=label,
            support_slices={
                scan_id: cohort.support_slices(label, scan_id, n_parts, min_pixels) for scan_id in support_ids
            },
            ranges=cohort.ranges(label, query_ids),
        )
        for label in labels
    ]

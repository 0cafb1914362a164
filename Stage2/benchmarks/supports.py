"""What it costs to try every support of a fold, against one test of that fold, on drawn scans of CHAOS's fold size."""

from collections.abc import Sequence
from functools import partial

import torch

from Stage1.timing import seconds
from Stage2.benchmarks.stage2 import TEST_WINDOW, drawn_scan, drawn_tasks, segmenter
from Stage2.datasets.volumes import Scan
from Stage2.evaluation.protocol import (
    Encode,
    evaluate_scan,
    parts_by_chunks,
    parts_by_range,
    support_prototypes,
)
from Stage2.inference.feature_cache import FeatureMemory
from Stage2.models.few_shot import FewShotSegmenter
from Stage2.runs.testing import SupportTest, run_tests
from Stage2.segmentation.scans import encode_slices

CANDIDATES = 5  # scans of a fold of CHAOS that can be the support
SPACING = (1.0, 1.0, 1.0)


def measure_supports(modelname: str, n_slices: int, repeats: int) -> list[tuple[str, str, str, str]]:
    """Rows of a table: protocol, seconds with one support, seconds with every support, and the ratio.

    Args:
        modelname: encoder.
        n_slices: of every drawn scan.
        repeats: of either.
    """
    model = segmenter(modelname, "fp32", channels_last=False).eval()
    scans = {str(number): drawn_scan(str(number), n_slices, seed=number) for number in range(CANDIDATES)}
    ids = list(scans)
    rows = []
    for protocol, queried, support in (("paper", ids[:-1], ids[-1]), ("adnet", ids, ids[2])):
        one = seconds(partial(score_fold, model, scans, protocol, queried, [support]), repeats)
        every = seconds(partial(score_fold, model, scans, protocol, queried, ids), repeats)
        rows.append((f"{protocol} protocol", f"{one:.2f}", f"{every:.2f}", f"{every / one:.2f}"))
    return rows


def score_fold(
    model: FewShotSegmenter, scans: dict[str, Scan], protocol: str, queried: Sequence[str], supports: Sequence[str]
) -> dict:
    """Results of a fold with each of some supports, as tests take them; several share what is encoded."""
    several = len(supports) > 1
    memory = FeatureMemory(partial(encode_slices, model, layout=torch.contiguous_format)) if several else None
    tests = [_test_of(model, scans, protocol, queried, support, memory) for support in supports]
    return run_tests(tests, queried, lambda scan_id: (scans[scan_id], SPACING), lambda *_: None)


def _test_of(
    model: FewShotSegmenter, scans: dict[str, Scan], protocol: str, queried: Sequence[str], support: str,
    encode: Encode | None,
) -> SupportTest:  # fmt: skip
    tasks = drawn_tasks(len(scans[support].image), support, queried)
    whole = encode if support in queried else None
    prototypes = {task.name: support_prototypes(model, [scans[support]], task, TEST_WINDOW, whole) for task in tasks}
    parts_of = parts_by_chunks if protocol == "adnet" else parts_by_range
    evaluate = partial(evaluate_scan, model, tasks=tasks, prototypes=prototypes, parts_of=parts_of, encode=encode)
    return SupportTest(support, [scan_id for scan_id in queried if scan_id != support], evaluate)

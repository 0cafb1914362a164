"""What results must share to stand in one table, and how tables say it."""

from collections.abc import Mapping
from dataclasses import dataclass

from Stage2.datasets.catalog import TRAINING, VOLUME
from Stage2.datasets.folds import ANY, DISJOINT, EVERY_SUPPORT, OVERLAPPING
from Stage2.reporting.runs import TestedRun
from Stage2.run_folders.layout import ADNET, PROTOTYPES, method_of
from Stage2.run_folders.unusual import has_published_support, unusual_settings


@dataclass(frozen=True)
class TestSetting:
    """What results must share to stand in one table.

    Attributes:
        protocol: "paper", "clean" or "adnet".
        slice_matching: of the clean protocol; None in the other.
        dataset: its short name.
        label_set: number of the label set.
        excluded: labels whose slices were left out of training.
        method: "prototypes", or "adapted": a network was adapted to the supports.
        exclude_rule: which slices were left out of training, where classes are excluded.
        fold_scheme: how the folds were cut.
        ct_statistics: what normalised CT.
        supports: "all": scores are means over each support in turn; in ADNet's protocol, which place in the test fold
            the support has, as in "[2]", and in the others too where it is not the published one; empty: that one.
        query_prototypes: of each class that the query itself could add; 0: none.
        unusual: other settings of the test that are not the published ones, as in ``val_wsize=4, z_margin=1``.
    """

    __test__ = False  # no test class, whatever its name

    protocol: str
    slice_matching: str | None
    dataset: str
    label_set: int
    excluded: tuple[int, ...]
    method: str = PROTOTYPES
    exclude_rule: str = ANY
    fold_scheme: str = DISJOINT
    ct_statistics: str = TRAINING
    supports: str = ""
    query_prototypes: int = 0
    unusual: str = ""

    @property
    def way(self) -> str:
        """Protocol and what else says how a test was made, in short words; the usual is left out."""
        return ", ".join([f"{self.protocol} protocol", *self._unusual()])

    def _unusual(self) -> list[str]:
        usual = OVERLAPPING if self.protocol == ADNET else DISJOINT
        named = {"all": "every support in turn", "": ""}.get(self.supports, f"support {self.supports} of the fold")
        parts = [f"{self.fold_scheme} folds"] * (self.fold_scheme != usual)
        if self.ct_statistics != (VOLUME if self.protocol == ADNET else TRAINING):
            parts.append(f"CT by statistics of the {self.ct_statistics}")
        if self.query_prototypes:
            parts.append(f"up to {self.query_prototypes} prototypes of the query")
        return [*parts, *filter(None, (self.unusual, named))]

    def words(self, fold: int | None = None) -> str:
        """The setting as a sentence, with the fold where the tests share one."""
        excluded = ", ".join(map(str, self.excluded)) or "none"
        matching = f", slices matched by `{self.slice_matching}`" if self.slice_matching else ""
        adapted = "" if self.method == PROTOTYPES else f", method `{self.method}`"
        unusual = "".join(f", {part}" for part in self._unusual())
        if self.excluded and self.exclude_rule != ANY:
            excluded += f" (slices that show {self.exclude_rule} of them)"
        return (
            f"Protocol `{self.protocol}`{adapted}{matching}{unusual}; {self.dataset}, label set {self.label_set}"
            f"{'' if fold is None else f', fold {fold}'}; classes excluded from training slices: {excluded}."
        )


def setting_of(run: TestedRun) -> TestSetting:
    """The setting of a tested run."""
    results = run.results
    return TestSetting(
        protocol=results["protocol"], slice_matching=results.get("slice_matching"),
        dataset=results["dataset"].removesuffix("_Superpix"), label_set=results["label_set"],
        excluded=tuple(sorted(results["exclude_classes"])), method=method_of(results),
        exclude_rule=(results.get("exclude_rule") or ANY) if results["exclude_classes"] else ANY,
        fold_scheme=results.get("fold_scheme") or DISJOINT, ct_statistics=_ct_statistics(results),
        supports=_supports(run), query_prototypes=results.get("query_prototypes") or 0,
        unusual=", ".join(unusual_settings(results)),
    )  # fmt: skip


def _ct_statistics(results: Mapping) -> str:
    """What normalised CT; of MR, for which it means nothing, what the protocol usually has."""
    return results.get("ct_statistics") or (VOLUME if results["protocol"] == ADNET else TRAINING)


def _supports(run: TestedRun) -> str:
    chosen = run.results.get("support_idx")
    if chosen is None or chosen == EVERY_SUPPORT:
        return chosen or ""
    data_set = run.data_set()
    published = has_published_support(run.results, None if data_set is None else data_set.fold_boundaries)
    return "" if published and run.results["protocol"] != ADNET else str(list(chosen))

"""Tables that set experiments side by side: single tests of the same scans, and paired tests over folds."""

from collections.abc import Mapping

from Stage2.evaluation.metrics import METRICS, digits, heading
from Stage2.reporting.checks import metrics_of
from Stage2.reporting.experiments import TestedExperiment
from Stage2.reporting.runs import IN_RANGE, MEAN, TestedRun, region_of
from Stage2.reporting.setting import setting_of
from Stage2.reporting.statistics import paired_test
from Stage2.reporting.summaries import SCORED_OVER, undefined_notes
from Stage2.reporting.tables import UNDEFINED, Table, number
from Stage2.run_folders.layout import FULL_VOLUME


def comparison_tables(columns: Mapping[str, TestedRun]) -> list[Table]:
    """Tables organ x column for tests of the same scans by the same protocol and method.

    One of the mean Dice; where all tests have them, further ones of surface distances, other metrics, and of the full
    volume.

    Args:
        columns: heading -> test; an organ's cell is its mean over scans.

    Raises:
        ValueError: the tests differ in protocol, method, slice matching, data set, fold, label set or excluded classes.
    """
    settings = {name: setting_of(run).words(run.results["fold"]) for name, run in columns.items()}
    if len(set(settings.values())) != 1:
        listed = "; ".join(f"{name}: {text}" for name, text in settings.items())
        raise ValueError(f"tests of different settings cannot share a table ({listed}); compare like with like")
    setting = next(iter(settings.values()))
    classes = list(next(iter(columns.values())).results["class_means"])
    whole = all(FULL_VOLUME in run.results[MEAN] for run in columns.values())
    tables = []
    for region in (IN_RANGE, FULL_VOLUME) if whole else (IN_RANGE,):
        views = {name: region_of(run.results, region) for name, run in columns.items()}
        means = [view[MEAN] for view in views.values()]
        shared = [name for name in metrics_of(means[0]) if all(name in mean for mean in means)]
        # Precision and recall, which Dice sums up, are left to the tables of folds.
        metrics = [name for name in shared if name == shared[0] or name not in METRICS or not METRICS[name].published]
        for metric in metrics:
            entries = {name: [view["class_means"].get(name, {}) for view in views.values()] for name in classes}
            rows = [
                [name, *(number(entry.get(metric), digits=digits(metric)) for entry in of_class)]
                for name, of_class in (entries | {MEAN: means}).items()
            ]
            notes = undefined_notes(views.items()) if metric == metrics[-1] else []
            words = setting + (SCORED_OVER[region] if whole else "")
            tables.append(Table("", words, [heading(metric), *views], rows, notes, frozenset({len(rows) - 1})))
    return tables


def paired_table(first: TestedExperiment, second: TestedExperiment) -> Table:
    """Wilcoxon's signed-rank test over scans for every organ that both tested, and over scans' means.

    Raises:
        ValueError: the experiments differ in what their settings may not differ, or share no scan.
    """
    if first.setting != second.setting:
        raise ValueError(
            f"tests of different settings cannot be paired ({first.title}: {first.setting.words()} {second.title}: "
            f"{second.setting.words()}); compare like with like"
        )
    rows = []
    for name in [*(name for name in first.classes if name in second.classes), None]:
        test = paired_test(first.scan_scores(name), second.scan_scores(name))
        if test.pairs == 0:
            raise ValueError(f"{first.title} and {second.title} have no scan with Dice in common; test the same folds")
        rows.append(
            [
                name or "all, averaged per scan", str(test.pairs), str(test.left_out), number(test.first),
                number(test.second), f"{test.median_difference:+.3f}", _p_value(test.p_value),
                _p_value(test.least_p_value),
            ]
        )  # fmt: skip
    header = ["Dice", "scans", "left out", "first", "second", "median difference", "p", "least p possible"]
    return Table(
        f"{second.title} against {first.title}",
        first.setting.words(),
        header,
        rows,
        [
            "Wilcoxon signed-rank test, two-sided, paired by scan (mean over seeds); p is not corrected for several "
            "tests. Left out: scans that only one of them tested, or where a Dice is undefined. The last column is "
            "the smallest p that so few scans could give."
        ],
        frozenset({len(rows) - 1}),
    )


def _p_value(value: float | None) -> str:
    if value is None:
        return UNDEFINED
    return f"{value:.4f}" if value >= 1e-4 else f"{value:.1e}"

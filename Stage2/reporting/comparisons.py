"""Tables that set experiments side by side: single tests of the same scans, and paired tests over folds."""

from collections.abc import Mapping

from Stage2.reporting.experiments import Experiment
from Stage2.reporting.runs import IN_RANGE, MEAN, region_of
from Stage2.reporting.statistics import paired_test
from Stage2.reporting.summaries import DISTANCES, HEADINGS, SCORED_OVER, undefined_notes
from Stage2.reporting.tables import UNDEFINED, Table, number
from Stage2.run_folders.layout import FULL_VOLUME


def comparison_tables(columns: Mapping[str, Mapping]) -> list[Table]:
    """Tables organ x column for tests of the same scans by the same protocol.

    One of the mean Dice; where all tests have them, further ones of surface distances and of the full volume.

    Args:
        columns: heading -> results; an organ's cell is its mean over scans.

    Raises:
        ValueError: the tests differ in protocol, slice matching, data set, fold, label set or excluded classes.
    """
    settings = {heading: _describe(results) for heading, results in columns.items()}
    if len(set(settings.values())) != 1:
        listed = "; ".join(f"{heading}: {text}" for heading, text in settings.items())
        raise ValueError(f"tests of different settings cannot share a table ({listed}); compare like with like")
    setting = next(iter(settings.values()))
    whole = all(FULL_VOLUME in results[MEAN] for results in columns.values())
    tables = []
    for region in (IN_RANGE, FULL_VOLUME) if whole else (IN_RANGE,):
        views = {heading: region_of(results, region) for heading, results in columns.items()}
        distances = [name for name in DISTANCES if all(name in view[MEAN] for view in views.values())]
        classes = list(next(iter(views.values()))["class_means"])
        for metric in ("dice", *distances):
            body = [[name, *(number(view["class_means"][name][metric]) for view in views.values())] for name in classes]
            body.append([MEAN, *(number(view[MEAN][metric]) for view in views.values())])
            notes = undefined_notes(views.items()) if metric == ("dice", *distances)[-1] else []
            words = setting + (SCORED_OVER[region] if whole else "")
            tables.append(Table("", words, [HEADINGS[metric], *views], body, notes, frozenset({len(body) - 1})))
    return tables


def paired_table(first: Experiment, second: Experiment) -> Table:
    """Wilcoxon's test over scans of the second experiment against the first, for every class and all together.

    Raises:
        ValueError: they differ in what may not differ, or share no scan.
    """
    if first.setting != second.setting:
        raise ValueError(
            f"tests of different settings cannot be paired ({first.title}: {first.setting.words} {second.title}: "
            f"{second.setting.words}); compare like with like"
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
        first.setting.words,
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


def _describe(results: Mapping) -> str:
    excluded = ", ".join(map(str, results["exclude_classes"])) or "none"
    matching = f", slices matched by `{results['slice_matching']}`" if results.get("slice_matching") else ""
    dataset = results["dataset"].removesuffix("_Superpix")
    return (
        f"Protocol `{results['protocol']}`{matching}; {dataset}, label set {results['label_set']}, "
        f"fold {results['fold']}; classes excluded from training slices: {excluded}."
    )

"""Tables of tests that tried each support in turn: how far the choice of the support moves a score."""

from collections.abc import Iterable, Mapping, Sequence

from Stage2.datasets.folds import EVERY_SUPPORT
from Stage2.evaluation.metrics import METRICS, digits, heading
from Stage2.evaluation.over_supports import DRAWS, OverSupports, Rows, over_supports
from Stage2.reporting.experiments import TestedExperiment
from Stage2.reporting.runs import IN_RANGE, MEAN
from Stage2.reporting.tables import UNDEFINED, Table, number
from Stage2.run_folders.layout import FULL_VOLUME

HEADER = ("mean", "sd over supports", "worst", "best", "95 % over scans", "supports", "scans")
NOTE = (
    "The mean is that over supports; worst and best are supports, with their scans in brackets; of several folds, all "
    f"are means over folds. The interval is the bootstrap's over test scans, {DRAWS} draws with a fixed seed."
)


def support_tables(experiments: Iterable[TestedExperiment]) -> list[Table]:
    """A table class x fold of every experiment whose tests tried each support; a second one of the full volume."""
    every = [one for one in experiments if one.setting.supports == EVERY_SUPPORT]
    return [_support_table(one, region) for one in every for region in one.regions]


def rows_of_supports(results: Mapping, region: str = IN_RANGE) -> dict[str, Rows]:
    """Support scan -> scores of its test scans, in the class ranges or over the full volume."""
    return {
        own["scan"]: own["scans"] if region == IN_RANGE else [row | row.get(FULL_VOLUME, {}) for row in own["scans"]]
        for own in results["supports"]
    }


def cells(over: OverSupports, shown: str = "dice") -> list[str]:
    """The cells of `HEADER`."""
    places = digits(shown)

    def extreme(value: float, support: str | None) -> str:
        return number(value, digits=places) + (f" ({support})" if support is not None else "")

    low, high = (number(end, digits=places) for end in (over.low, over.high))
    return [
        number(over.mean, digits=places), number(over.sd, digits=places),
        extreme(over.worst, over.worst_support), extreme(over.best, over.best_support),
        UNDEFINED if UNDEFINED in (low, high) else f"{low} to {high}", str(over.supports), str(over.scans),
    ]  # fmt: skip


def _support_table(one: TestedExperiment, region: str) -> Table:
    shown = one.metrics(region)[0]
    better = METRICS[shown].better if shown in METRICS else "higher"
    folds = {key.text(len(one.seeds) > 1): rows_of_supports(one.runs[key].results, region) for key in one.done}
    parts: list[tuple[str, Sequence[Mapping[str, Rows]]]] = [(name, [fold]) for name, fold in folds.items()]
    parts += [("all folds", list(folds.values()))] if len(folds) > 1 else []
    rows, strong = [], set()
    for name, of_part in parts:
        for class_name in (*one.classes, None):
            over = over_supports(of_part, class_name, shown, better)
            strong |= {len(rows)} if class_name is None else set()
            rows.append([f"{name}, {class_name or MEAN}", *cells(over, shown)])
    setting = one.setting.words() + (" Scored in the full volume." if region != IN_RANGE else "")
    return Table(one.title, setting, [heading(shown), *HEADER], rows, [NOTE], frozenset(strong))

"""Tables of the comparison "one annotated scan": Dice and HD95 of every approach, and what its confidence is worth."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from scipy.stats import pearsonr, rankdata

from Stage2.benchmarks.one_scan_records import Record
from Stage2.evaluation.metrics import METRICS, digits, heading
from Stage2.reporting.tables import Table, as_markdown, number
from Stage2.run_folders.layout import PROTOTYPES

POOR = 0.6  # Dice below which a mask is to be found out by its confidence
SECTION = ["dataset", "labels", "slices", "unlabelled"]  # values of different sections are not compared
APPROACH = ["start", "start_hash", "minutes", "steps"]  # a row; its seeds are different tries of it
HASH_SHOWN = 8
OF_FOLDS = "a file for each fold"


def as_text(records: Sequence[Record]) -> str:
    """All tables in Markdown.

    Raises:
        ValueError: there is no record.
    """
    return "\n\n".join(as_markdown(table) for table in one_scan_tables(records)) + "\n"


def one_scan_tables(records: Sequence[Record]) -> list[Table]:
    """For every data set, set of labels and kind of annotation: Dice, HD95 and confidence.

    Baselines stand in the tables of adapting with unlabelled scans too, though they do not use them.

    Raises:
        ValueError: there is no record.
    """
    if not records:
        raise ValueError("there is no value yet, so there are no tables; let the comparison run first.")
    frame = pd.DataFrame(records)
    for name in ("dice", "hd95_mm", "confidence", "minutes", "steps"):
        frame[name] = frame[name].astype(float)
    frame["labels"] = [" ".join(map(str, labels)) for labels in frame["labels"]]
    frame["slices"] = frame["slices"].fillna(0).astype(int)
    tables = []
    for _, own in frame.groupby(SECTION[:3], sort=False):
        for unlabelled in sorted(own["unlabelled"].unique()) if _adapted(own).any() else [False]:
            chosen = own[(own["unlabelled"] == unlabelled) | ~_adapted(own)]
            if not _adapted(own).any() or _adapted(chosen).any():
                tables += _section(chosen, unlabelled)
    return tables


def fold_means(values: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Mean of a metric over scans and seeds of every fold, for every organ, and over organs, under "mean".

    Args:
        values: of one approach.
        metric: its name; NaN values are left out.

    Returns:
        a row for each fold, a column for each organ and one for their mean.
    """
    means = values.groupby(["fold", "organ"])[metric].mean().unstack("organ")
    means["mean"] = means.mean(axis=1)
    return means


def roc_area(scores: np.ndarray, good: np.ndarray) -> float:
    """Probability that a good case has a higher score than another, equal ones counting half; NaN without both kinds.

    Args:
        scores: (N,).
        good: (N,) bool.

    Source: Mann and Whitney, 1947: the area under the ROC curve by ranks.
    """
    first, second = int(good.sum()), int((~good).sum())
    if not first or not second:
        return math.nan
    return float((rankdata(scores)[good].sum() - first * (first + 1) / 2) / (first * second))


def correlation(scores: np.ndarray, values: np.ndarray) -> float:
    """Pearson's r of (N,) and (N,); NaN where either does not vary."""
    if len(scores) < 2 or np.ptp(scores) == 0 or np.ptp(values) == 0:
        return math.nan
    return float(pearsonr(scores, values).statistic)


def _adapted(frame: pd.DataFrame) -> pd.Series:
    return frame["minutes"].notna() | frame["steps"].notna()


def _section(frame: pd.DataFrame, unlabelled: bool) -> Iterator[Table]:
    first = frame.iloc[0]
    slices = f"{first['slices']} slices of every organ" if first["slices"] else "all slices"
    setting = f"{first['dataset']}, one support scan annotated in {slices}"
    setting += ", unlabelled images of the queries are learned from." if unlabelled else "."
    rows = list(_rows(frame))
    organs = list(frame.sort_values("label")["organ"].unique())
    for metric in ("dice", "hd95_mm"):
        yield _metric_table(rows, organs, metric, setting)
    yield _confidence_table(rows, setting)


def _rows(frame: pd.DataFrame) -> Iterator[tuple[list[str], pd.DataFrame]]:
    """Names of every approach, start and budget, with its values: in order of appearance, then by budget.

    Files of one name are a row each, but for those of which every fold has its own: networks trained without its scans.
    """
    for start, own in frame.groupby("start", sort=False):
        several = own["start_hash"].nunique() > 1
        if several and own.groupby("fold")["start_hash"].nunique().max() == 1:
            own = own.assign(start_hash=OF_FOLDS)
        for key, values in own.groupby(APPROACH[1:], sort=True, dropna=False):
            identity, minutes, steps = key
            shown = identity if identity == OF_FOLDS else identity[:HASH_SHOWN]
            name = f"{start} ({shown})" if several or start == PROTOTYPES else start
            budget = f"{minutes:g} min" if not math.isnan(minutes) else "" if math.isnan(steps) else f"{steps:g} steps"
            yield [name, budget], values


def _metric_table(rows: Sequence, organs: Sequence[str], metric: str, setting: str) -> Table:
    cells = []
    for names, values in rows:
        means = fold_means(values, metric).reindex(columns=[*organs, "mean"])
        spread = means.std(ddof=1)
        found = [number(means[own].mean(), spread[own], digits(metric)) for own in means]
        counts = [len(means), values["seed"].nunique() or "", len(values), int(values[metric].isna().sum())]
        spent = [values.drop_duplicates(["fold", "seed", "scan"])[f"{part}_cpu_seconds"].mean()
                 for part in ("adaptation", "query")]  # fmt: skip
        cells.append([*names, *found, *map(str, counts), *(f"{seconds:.0f}" for seconds in spent)])
    header = ["start", "budget", *organs, "mean", "folds", "seeds", "values", "undefined"]
    header += ["CPU s of adapting", "CPU s of a query"]
    notes = ["Mean over folds ± standard deviation between folds; a fold's value is its mean over scans and seeds."]
    if metric == "hd95_mm":
        notes += ["Where nothing is found, the distance is undefined and left out: a start that misses organs looks "
                  "better here than it is."]  # fmt: skip
    prototypes = next((names[0] for names, _ in rows if names[0].startswith(PROTOTYPES)), None)
    if prototypes:
        notes += [f"{prototypes}: by the snapshot whose SHA-256 begins so, masks cleaned up."]
    return Table(f"{heading(metric)}, {METRICS[metric].better} is better", setting, header, cells, notes)


def _confidence_table(rows: Sequence, setting: str) -> Table:
    cells = []
    for names, values in rows:
        known = values.dropna(subset=["dice", "confidence"])
        confidence, dice = known["confidence"].to_numpy(), known["dice"].to_numpy()
        measured = [correlation(confidence, dice), roc_area(confidence, dice >= POOR)]
        counts = [len(known), int((dice < POOR).sum())]
        means = [known["confidence"].mean(), known["dice"].mean()]
        cells.append([*names, *map(str, counts), *map(number, measured), *map(number, means)])
    header = ["start", "budget", "values", f"Dice < {POOR}", "Pearson r", "ROC area", "mean confidence", "mean Dice"]
    notes = [f"Over all scans and organs. ROC area: how well confidence finds the masks of Dice below {POOR}."]
    return Table("Confidence", setting, header, cells, notes)

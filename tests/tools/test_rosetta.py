"""The page of every protocol and support, from snapshots of two folds, and what is refused."""

import csv
import json
from pathlib import Path

import pytest
from stage2.conftest import make_cohort
from stage2.toy_encoder import PLACE
from tool_modules import load_tool

from Stage2 import training, validation
from Stage2.models.registry import ENCODERS
from Stage2.run_folders.layout import list_runs, list_snapshots, read_results

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def rosetta():
    module = load_tool("rosetta")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ENCODERS, "toy_page", PLACE)
        yield lambda *arguments: module.main([*map(str, arguments)])


@pytest.fixture(scope="module")
def trained(rosetta, tmp_path_factory):
    """The last snapshots of two folds, and a test of fold 0 by ADNet's protocol."""
    cohort, log_dir = make_cohort(tmp_path_factory.mktemp("cohort")), tmp_path_factory.mktemp("exps")
    shared = {
        "modelname": "toy_page", "path": {"data_dir": str(cohort), "log_dir": str(log_dir)},
        "num_workers": 0, "device": "cpu", "n_steps": 1, "picture_every": 0,
    }  # fmt: skip
    snapshots = []
    for fold in (0, 1):
        training.experiment.run(config_updates={**shared, "exp_prefix": f"train_vfold{fold}", "eval_fold": fold})
        (run,) = list_runs(log_dir / f"mySSL_train_vfold{fold}_CHAOST2_Superpix_sets_0_1shot")
        snapshots.append(list_snapshots(run)[-1][1])
    start = {"exp_prefix": "test_vfold0", "reload_model_path": str(snapshots[0]), "protocol": "adnet"}
    validation.experiment.run(config_updates={**shared, **start})
    return snapshots, read_results(log_dir / "mySSL_test_vfold0_CHAOST2_Superpix_sets_0_1shot" / "1")


@pytest.fixture(scope="module")
def made(rosetta, trained, tmp_path_factory):
    out = tmp_path_factory.mktemp("made") / "new"
    assert rosetta(trained[0][0], trained[0][1].parent.parent, "--out", out, "--with", "seed=5") == 0
    return out


def test_one_table_has_a_row_for_each_protocol(made, trained):
    assert sorted(path.name for path in made.iterdir()) == ["rosetta.csv", "rosetta.html", "rosetta.md"]
    text = (made / "rosetta.md").read_text()
    summary = text.split("## Every support")[0]
    rows = [line.split("|") for line in summary.splitlines() if "step 1 |" in line]
    assert sorted(row[3].strip() for row in rows) == ["adnet protocol", "clean protocol", "paper protocol"]
    assert {row[4].strip() for row in rows} == {"0, 1"}
    assert "published support" in summary and "95 % over scans" in summary
    assert text.count("Protocol `adnet`, every support in turn") == 1
    page = (made / "rosetta.html").read_text()
    assert page.count("<table>") == 1 + 4 and "adnet protocol" in page and "http" not in page.replace("http-equiv", "")


def test_the_values_are_those_of_the_tests(made, trained):
    rows = list(csv.DictReader((made / "rosetta.csv").open()))
    assert len(rows) == 3 * 2 * 3  # protocols, folds, two classes and the mean
    (row,) = [own for own in rows if (own["protocol"], own["fold"], own["class"]) == ("adnet", "0", "mean")]
    assert (row["published_support"], row["fold_scheme"], row["supports"], row["scans"]) == (
        "2",
        "overlapping",
        "5",
        "5",
    )
    assert float(row["published_dice"]) == pytest.approx(trained[1]["mean"]["dice"], abs=1e-3)
    assert float(row["worst"]) <= float(row["mean"]) <= float(row["best"])
    assert float(row["low"]) <= float(row["mean"]) <= float(row["high"])


def test_a_protocol_that_would_test_trained_scans_is_left_out_and_told(rosetta, trained, tmp_path, capsys):
    folder = tmp_path / "exps" / "tuned_vfold0" / "1"
    (folder / "snapshots").mkdir(parents=True)
    snapshot = folder / "snapshots" / "1.pth"
    snapshot.write_bytes(trained[0][0].read_bytes())
    config = json.loads((trained[0][0].parent.parent / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "run.json").write_text(json.dumps({"experiment": {"name": "finetuning"}}))
    assert rosetta(snapshot, "--out", tmp_path / "out") == 0
    text = (tmp_path / "out" / "rosetta.md").read_text()
    assert "No `adnet` protocol for" in text and "scans to be tested (4)" in text
    assert "adnet protocol" not in text.replace("No `adnet` protocol", "")
    assert rosetta(snapshot, "--out", tmp_path / "none", "--with", "eval_fold=2") == 1
    assert "no protocol can test these snapshots" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["gone.pth"], "gone.pth does not exist; name a snapshot, or the folder of a run that has some."),
        (["{alone}"], "alone.pth lies in no run folder that tells its data set and network; give them, as in --with"),
        (
            ["{snapshot}", "--with", "protocol=paper"],
            "protocol is no choice here: every protocol and support",
        ),
        (["{snapshot}", "--with", "eval_fold=9"], "eval_fold=9 is not a fold; choose 0 to 4."),
        (["{snapshot}", "--with", "evalfold=1"], "evalfold is not a setting; the nearest one is eval_fold."),
    ],
)
def test_bad_input_is_one_sentence(rosetta, trained, tmp_path, capsys, arguments, sentence):
    alone = tmp_path / "alone.pth"
    alone.touch()
    words = [word.format(alone=alone, snapshot=trained[0][0]) for word in arguments]
    first, *rest = words
    assert rosetta(first, "--out", tmp_path / "out", *rest) == 1
    error = capsys.readouterr().err.strip()
    assert error.startswith("rosetta.py: ") and sentence in error and "\n" not in error
    assert not (tmp_path / "out").exists()

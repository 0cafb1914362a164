"""ADNet's heads and prototypes of the query on the whole road: trained, resumed, tested by every protocol, refused."""

import json
from pathlib import Path

import pytest
import torch
from stage2.toy_encoder import PLACE

from Stage1.weights.checkpoints import read_checkpoint
from Stage2 import finetuning, training, validation
from Stage2.models.few_shot import FewShotSegmenter
from Stage2.models.registry import ENCODERS
from Stage2.models.snapshots import SnapshotKind, describe_snapshot, load_snapshot
from Stage2.run_folders.layout import RESULTS, list_runs, snapshot_path
from Stage2.run_folders.selection import dice_of_tests

HEADS = ("anomaly", "anomaly_query")


@pytest.fixture(scope="module")
def settings(cohort_folder, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ENCODERS, "toy_query", PLACE)
        yield {
            "modelname": "toy_query", "num_workers": 0, "device": "cpu", "n_steps": 2, "picture_every": 0,
            "path": {"data_dir": str(cohort_folder), "log_dir": str(tmp_path_factory.mktemp("exps"))},
        }  # fmt: skip


def run(settings, prefix, experiment=training.experiment, **changes):
    experiment.run(config_updates={**settings, "exp_prefix": prefix, **changes})
    folder = Path(settings["path"]["log_dir"]) / f"mySSL_{prefix}_CHAOST2_Superpix_sets_0_1shot"
    return list_runs(folder)[-1]


@pytest.fixture(scope="module", params=HEADS)
def trained(request, settings):
    return request.param, run(settings, request.param, clsname=request.param)


def test_a_resumed_training_ends_as_an_uninterrupted_one(trained, settings):
    name, whole = trained
    run(settings, f"cut_{name}", clsname=name, n_steps=1)
    resumed = run(settings, f"cut_{name}", clsname=name, resume=True)
    ends = [read_checkpoint(snapshot_path(folder, 2)) for folder in (whole, resumed)]
    assert list(ends[0]) == list(ends[1])
    assert all(torch.equal(value, ends[1][key]) for key, value in ends[0].items())


def test_a_snapshot_tells_its_head_even_where_it_says_nothing(trained, tmp_path):
    name, folder = trained
    content = read_checkpoint(snapshot_path(folder, 2))
    assert describe_snapshot(content) == describe_snapshot(dict(content)) == SnapshotKind("toy_query", name)
    torch.save(dict(content), tmp_path / "2.pth")
    sentence = f"is a snapshot of {name} and this network is grid_proto; set clsname={name}"
    with pytest.raises(ValueError, match=sentence):
        load_snapshot(FewShotSegmenter("toy_query"), tmp_path / "2.pth")


@pytest.mark.parametrize(("name", "wanted"), [("anomaly", "t"), ("anomaly_query", "threshold.weight, threshold.bias")])
def test_a_head_that_a_snapshot_does_not_have_is_named(settings, tmp_path, name, wanted):
    torch.save(FewShotSegmenter("toy_query").state_dict(), tmp_path / "2.pth")
    with pytest.raises(ValueError) as error:
        load_snapshot(FewShotSegmenter("toy_query", name), tmp_path / "2.pth")
    assert str(error.value).endswith(
        f"is a snapshot of grid_proto and this network is {name} with parameters of its own ({wanted}); set "
        "clsname=grid_proto."
    )


@pytest.mark.parametrize("protocol", ["paper", "clean", "adnet"])
def test_every_protocol_takes_prototypes_of_the_query_and_says_so(trained, settings, protocol):
    name, folder = trained
    given = {"clsname": name, "reload_model_path": str(snapshot_path(folder, 2)), "protocol": protocol}
    if protocol == "adnet":
        given |= {"fold_scheme": "disjoint"}
    tested = run(settings, f"test_{name}_{protocol}", validation.experiment, query_prototypes=4, **given)
    results = json.loads((tested / RESULTS).read_text())
    assert (results["query_prototypes"], results["protocol"]) == (4, protocol)
    assert json.loads((tested / "config.json").read_text())["query_prototypes"] == 4
    assert all(scalar.startswith("query_prototypes_") for scalar in json.loads((tested / "metrics.json").read_text()))
    assert dice_of_tests(folder) == {}  # select=test compares published tests alone


@pytest.mark.parametrize("experiment", [training.experiment, finetuning.experiment], ids=lambda one: one.path)
def test_training_refuses_prototypes_of_the_query(settings, experiment, capsys):
    with pytest.raises(SystemExit):
        run(settings, "refused", experiment, query_prototypes=4)
    assert "error: query_prototypes=4 is of tests, which have a whole query volume" in capsys.readouterr().err
    assert not list_runs(Path(settings["path"]["log_dir"]) / "mySSL_refused_CHAOST2_Superpix_sets_0_1shot")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"query_prototypes": -1}, "query_prototypes=-1 is too small; choose 0 or more."),
        ({"query_prototypes": 4, "method": "adapted"}, "query_prototypes=4 adds prototypes, and method=adapted has"),
    ],
)
def test_wrong_numbers_and_methods_are_refused(settings, change, sentence, capsys):
    with pytest.raises(SystemExit):
        run(settings, "refused", validation.experiment, **change)
    assert sentence in capsys.readouterr().err

"""The copy in a MongoDB: asked for by the environment, refused in one sentence, its ids apart from those of folders."""

import sys

import pytest

from Stage2.runs.experiment import Stage2Experiment, run_folder
from Stage2.runs.mongo import URL_VARIABLE, MongoMirror, configured_mirror
from Stage2.runs.observer import RunFolderObserver


@pytest.fixture
def observer(tmp_path) -> RunFolderObserver:
    return RunFolderObserver(str(tmp_path))


def test_nothing_is_asked_for(observer, monkeypatch):
    monkeypatch.delenv(URL_VARIABLE, raising=False)
    assert configured_mirror(observer) is None


def test_without_pymongo_it_is_one_sentence(observer, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv(URL_VARIABLE, "mongodb://localhost")
    monkeypatch.setitem(sys.modules, "pymongo", None)
    experiment = Stage2Experiment("training")
    experiment.main(lambda: None)
    with pytest.raises(SystemExit):
        experiment.run(config_updates={"path": {"log_dir": str(tmp_path)}})
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith(f"error: {URL_VARIABLE} is set, but pymongo is not installed; pip install pymongo")
    assert not list(tmp_path.iterdir())  # nothing has begun


@pytest.mark.parametrize("url", ["mongodb://127.0.0.1:1", "mongodb://", "127.0.0.1"])
def test_an_address_that_does_not_answer_is_one_sentence(observer, monkeypatch, url):
    pytest.importorskip("pymongo")
    monkeypatch.setattr("Stage2.runs.mongo.ANSWER_WITHIN_MS", 50)
    monkeypatch.setenv(URL_VARIABLE, url)
    with pytest.raises(ValueError, match=f"{URL_VARIABLE} names no MongoDB that answers") as problem:
        configured_mirror(observer)
    assert "\n" not in str(problem.value)


def test_runs_of_two_experiments_have_their_own_ids_and_tell_their_folders(monkeypatch, tmp_path):
    """Both folders are run 1; a database counts on. mongomock is a MongoDB in memory."""
    database = pytest.importorskip("mongomock").MongoClient().sacred

    def mirror(observer):
        made = MongoMirror.create_from(database.runs, None, metrics_collection=database.metrics, priority=10)
        made.folder_observer = observer
        return made

    monkeypatch.setattr("Stage2.runs.experiment.configured_mirror", mirror)
    folders = []
    experiment = Stage2Experiment("training")

    @experiment.main
    def main(_run):
        folders.append(str(run_folder(_run)))
        _run.log_scalar("query_loss", 0.5, 10)

    for prefix in ("a", "b"):
        experiment.run(config_updates={"exp_prefix": prefix, "path": {"log_dir": str(tmp_path)}})
    entries = list(database.runs.find())
    assert [entry["_id"] for entry in entries] == [1, 2]
    assert [entry["meta"]["run_folder"] for entry in entries] == folders
    assert [folder.rsplit("/", 1)[1] for folder in folders] == ["1", "1"]
    assert {entry["status"] for entry in entries} == {"COMPLETED"}
    assert entries[0]["config"]["exp_prefix"] == "a"
    assert [(metric["name"], metric["steps"], metric["values"]) for metric in database.metrics.find()] == [
        ("query_loss", [10], [0.5])
    ] * 2

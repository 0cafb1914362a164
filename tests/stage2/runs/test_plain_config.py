"""Settings as plain data: what is typed is what is meant, and nothing of it is ever run."""

import json

import pytest

from Stage2.runs.plain_config import merge, parse_settings, read_config_file, read_config_words
from Stage2.runs.settings import DEFAULTS, RunSettings

CODE = {"py/reduce": [{"py/type": "os.mkdir"}, {"py/tuple": ["ran"]}]}


def test_values_are_python_literals_else_text_and_the_last_wins():
    words = ["optim.lr=1e-3", "support_idx=[4]", "usealign=True", "dataset=CHAOST2", "path.data_dir=/a=b", "x=1", "x=2"]
    assert parse_settings(words) == {
        "optim.lr": 1e-3,
        "support_idx": [4],
        "usealign": True,
        "dataset": "CHAOST2",
        "path.data_dir": "/a=b",
        "x": 2,
    }


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("exp_prefix=2024_01", "2024_01"), ("exp_prefix=007", "007"), ("exp_prefix=1e5", "1e5"),
        ("exp_prefix=True", "True"), ("exp_prefix='quoted'", "quoted"), ("path.log_dir=2024", "2024"),
        ("reload_model_path=None", None), ("path.data_dir=1_0", "1_0"), ("selection.reason=12", "12"),
        ("seed=1_000", 1000), ("exp_prefix=" + 200 * "[", 200 * "["),
    ],
)  # fmt: skip
def test_a_text_setting_is_what_is_typed(typed, value):
    assert list(parse_settings([typed]).values()) == [value]


def test_words_are_nested_and_win_over_a_runs_config(tmp_path):
    config = tmp_path / "config.json"
    config.write_text(json.dumps(DEFAULTS | {"n_steps": 7, "selection": "test: the best of many"}))
    found = read_config_words(["optim.lr=0.5", str(config), "n_steps=9"])
    settings = RunSettings.of(merge(DEFAULTS, found))
    assert (settings.n_steps, settings.optim.lr) == (9, 0.5)
    assert (settings.selection.rule, settings.selection.reason) == ("test", "the best of many")
    config.write_text(json.dumps(DEFAULTS | {"selection": None}))  # as runs before had it
    assert RunSettings.of(read_config_file(config) | {"selection": RunSettings().selection.__dict__}) == RunSettings()
    assert read_config_words([str(config)])["selection"] == {"rule": None, "reason": None}


def test_files_add_up_and_may_write_dotted_keys(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.yaml").write_text("path: {data_dir: a, log_dir: a}\nselection: 'test: the best'\noptim.lr: 0.5\n")
    (tmp_path / "b.yaml").write_text("path: {log_dir: b}\n")
    (tmp_path / "c.json").write_text('{"path.cache_dir": "c", "selection.reason": "of two"}')
    assert read_config_words(["a.yaml", "path.data_dir=d", "b.yaml", "c.json"]) == {
        "path": {"data_dir": "d", "log_dir": "b", "cache_dir": "c"},
        "optim": {"lr": 0.5},
        "selection": {"rule": "test", "reason": "of two"},
    }


def test_what_would_run_code_stays_plain_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"exp_prefix": CODE}))
    assert read_config_words(["config.json"]) == {"exp_prefix": CODE}
    assert parse_settings([f"exp_prefix={CODE}"]) == {"exp_prefix": CODE}
    (tmp_path / "evil.yaml").write_text("exp_prefix: !!python/object/apply:os.mkdir [ran]\n")
    (tmp_path / "evil.pickle").write_bytes(b"cos\nmkdir\n(S'ran'\ntR.")
    for name in ("evil.yaml", "evil.pickle"):
        with pytest.raises(ValueError, match=name):
            read_config_words([name])
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["nowhere.json"], "nowhere.json does not exist"),
        (["train"], "train is neither key=value nor a .json or .yaml file"),
        (["seed=" + 20_000 * "["], "seed is given 20000 characters"),
        (["path=5", "path.log_dir=x"], "path is given as a value of its own too"),
        (["deep.json"], "deep.json holds no settings"),
        (["list.json"], "list.json holds a list; expected settings by name"),
        (["large.json"], "large.json has 1000001 bytes"),
    ],
)
def test_what_is_no_setting_is_one_sentence(tmp_path, monkeypatch, words, sentence):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "deep.json").write_text(100_000 * "[")
    (tmp_path / "list.json").write_text("[1]")
    (tmp_path / "large.json").write_bytes(1_000_001 * b" ")
    with pytest.raises((ValueError, FileNotFoundError), match=sentence):
        read_config_words(words)

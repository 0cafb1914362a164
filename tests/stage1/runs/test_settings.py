"""Settings as they are typed: values keep every character, and their type follows the config's own value."""

import pytest

from Stage1.runs.settings import changes_of, default_work_dir, split_options, typed

SETTINGS = {
    "name": "roco", "epochs": 50, "rate": 0.03, "on": False, "scale": (0.2, 1.0), "jitter": [0.4, 0.1],
    "tags": ["a"], "seed": None, "group": {"depth": 18},
}  # fmt: skip


TEXTS = ["my images", " a, b,c", "it's \"x\"", "[1,2]", "(a)", "12", "True", "k=v", "", "\udce9"]


@pytest.mark.parametrize("path", TEXTS)
def test_text_stays_as_typed(path):
    assert changes_of(SETTINGS, split_options([f"name={path}"]), "config") == {"name": path}


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("epochs", "3", 3), ("epochs", "-1", -1), ("rate", "1", 1.0), ("rate", "1e-3", 1e-3), ("on", "True", True),
        ("on", "false", False), ("scale", "0.1,1", (0.1, 1)), ("scale", "(0.1, 1)", (0.1, 1)), ("jitter", "[1]", [1]),
        ("tags", "'b', 'c'", ["b", "c"]), ("seed", "7", 7), ("seed", "abc", "abc"), ("group.depth", "50", 50),
    ],
)  # fmt: skip
def test_the_type_follows_the_configs_value(name, text, value):
    (found,) = changes_of(SETTINGS, {name: text}, "config").values()
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("epochs", "2.5", "a whole number"), ("epochs", "many", "a whole number"), ("rate", "nan", "a number"),
        ("on", "1", "True or False"), ("scale", "a,b", "a list"), ("scale", "0.1,'x'", "a list"),
        ("scale", "__import__('os')", "a list"), ("group", "5", "group.depth="),
    ],
)  # fmt: skip
def test_values_of_another_type_are_refused(name, text, expected):
    with pytest.raises(ValueError, match=f"found {name}=.*expected .*{expected}"):
        changes_of(SETTINGS, {name: text}, "config")


@pytest.mark.parametrize("word", ["images", "=x"])
def test_a_word_without_a_name_is_refused(word):
    with pytest.raises(ValueError, match="expected KEY=VALUE"):
        split_options(["rate=1", word])


def test_numbers_stay_whole():
    assert typed("16777217", 5) == 16777217


def test_default_work_dir_follows_the_config():
    published = "configs/selfsup/densecl/densecl_roco_50ep.py"
    assert str(default_work_dir(published)) == "work_dirs/selfsup/densecl/densecl_roco_50ep"
    assert str(default_work_dir("/elsewhere/mine.py")) == "work_dirs/mine"

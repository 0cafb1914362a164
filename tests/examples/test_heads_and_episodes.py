"""The table of heads and episodes: which networks are trained, and by which protocols each is tested."""

import os
import subprocess
from itertools import product
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "examples" / "ablations" / "heads_and_episodes.sh"


@pytest.fixture
def run(tmp_path):
    """The script with a program in place of Python that writes its arguments as a line."""
    recorder = tmp_path / "python"
    recorder.write_text("#!/usr/bin/env bash\nprintf '%s\\0' \"$@\"\necho\n")
    recorder.chmod(0o755)
    kept = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            ["bash", str(SCRIPT), *arguments], env=kept | {"PYTHON": str(recorder)} | environment, capture_output=True,
            text=True, timeout=120,
        )  # fmt: skip

    return run


def option(words: list[str], name: str) -> str | None:
    return words[words.index(name) + 1] if name in words else None


def test_every_network_is_tested_by_every_protocol_with_and_without_the_query(run):
    given = {"NSTEP": "300", "ALL_EV": "0 3", "EXPS": "/e", "MODELNAME": "dlfcn_res18", "EXPERIMENTS": "mri_ct_s2_l1"}
    done = run(SEEDS="1 2", **given)
    assert done.returncode == 0 and done.stderr == ""
    *calls, collected = [line.split("\0")[:-1] for line in done.stdout.splitlines() if not line.startswith("=== ")]
    table = "/e/ablations/heads_and_episodes"
    assert collected[1:] == [table, "--out", table]
    networks = list(product("12", ("grid_proto", "anomaly", "global_proto"), ("superpixel", "supervoxel")))
    assert len(calls) == 7 * len(networks)
    for place, (seed, head, kind) in enumerate(networks):
        training, *tests = calls[7 * place : 7 * place + 7]
        settings = [dict(word.split("=", 1) for word in words if "=" in word) for words in (training, *tests)]
        assert {own["path.log_dir"] for own in settings} == {f"{table}/{head}_{kind}/seed{seed}"}
        assert {(own["seed"], own["clsname"], own["modelname"]) for own in settings} == {(seed, head, "dlfcn_res18")}
        assert (settings[0]["episodes"], settings[0]["n_steps"]) == (kind, "300")
        assert "fold_scheme" not in settings[0]
        tested = [
            (option(words, "--run-name"), own["protocol"], own.get("query_prototypes"), own.get("fold_scheme"),
             own["support_idx"])
            for words, own in zip(tests, settings[1:], strict=True)
        ]  # fmt: skip
        assert tested == [
            ("test_paper", "paper", None, None, "[4]"),
            ("test_paper_query", "paper", "10", None, "[4]"),
            ("test_clean", "clean", None, None, "[4]"),
            ("test_clean_query", "clean", "10", None, "[4]"),
            ("test_adnet", "adnet", None, "overlapping", "[2]"),
            ("test_adnet_query", "adnet", "10", "overlapping", "[2]"),
        ]
        assert option(training, "--folds") == option(tests[0], "--folds") == "0 3"


def test_parts_of_the_table_can_be_chosen(run):
    done = run(HEADS="anomaly", EPISODES="supervoxel", PROTOCOLS="adnet", QUERY_PROTOTYPES="5", MODALITY="ct")
    told = [line for line in done.stdout.splitlines() if line.startswith("=== ")]
    assert [line.rpartition(": ")[2] for line in told] == ["train", "test_adnet_query"]
    assert "dataset=SABS_Superpix" in done.stdout and "query_prototypes=5" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "environment", "sentence"),
    [
        (["episodes=supervoxel"], {}, "'episodes=supervoxel' is not expected: settings are variables"),
        ([], {"RESTART": "yes"}, "RESTART=yes is not possible; give 1, or leave it out"),
        ([], {"EPISODES": "voxel"}, "EPISODES voxel is not possible; choose one of: superpixel supervoxel"),
        ([], {"PROTOCOLS": "paper loose"}, "PROTOCOLS loose is not possible; choose one of: paper clean adnet"),
        ([], {"QUERY_PROTOTYPES": "many"}, "'many' in QUERY_PROTOTYPES, SEEDS or ADNET_SUPPORT is no whole number"),
        ([], {"MODALITY": "xray"}, "correct EXPERIMENT or MODALITY"),
    ],
)
def test_bad_input_is_one_sentence_before_anything_runs(run, arguments, environment, sentence):
    done = run(*arguments, **environment)
    assert done.returncode == 2 and done.stdout == ""
    assert sentence in done.stderr and len(done.stderr.splitlines()) == 1

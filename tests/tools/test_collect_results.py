"""The collector writes every file from run folders and prints the tables."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from stage2.reporting.drawn_cohort import write_cohort, write_tested
from stage2.reporting.result_folders import make_results, write_run
from tool_modules import load_tool

ROOT = Path(__file__).resolve().parents[2]
FILES = {"results.csv", "summary.csv", "results.md", "results.tex", "report.html"}


@pytest.fixture(scope="module")
def collect():
    module = load_tool("collect_results")
    return lambda *arguments: module.main([*map(str, arguments)])


@pytest.fixture
def exps(tmp_path: Path) -> Path:
    for name, dice in (("untrained", 0.125), ("test", 0.5)):
        write_run(tmp_path / "exps", f"{name}_vfold0", 1, make_results({"RK": [dice]}))
    return tmp_path / "exps"


def test_every_file_is_written_and_the_tables_printed(collect, exps: Path, tmp_path: Path, capsys):
    out = tmp_path / "new" / "out"
    assert collect(exps, "--out", out, "--paired", "untrained_vfold", "test_vfold") == 0
    printed = capsys.readouterr().out
    assert {path.name for path in out.iterdir()} == FILES
    assert (out / "results.md").read_text().count("Protocol `paper`") == 3
    assert "| RK       |  0.500 |" in printed
    assert "test_vfold*, untrained against untrained_vfold*, untrained" in printed
    lines = (out / "results.csv").read_text().splitlines()
    assert len(lines) == 1 + 2 * 3
    assert "test_vfold0,1,paper,prototypes,CHAOST2,0,0,RK,0,0.5,0.5,0.25,1234,untrained" in lines
    assert (out / "results.tex").read_text().count(r"\begin{tabular}") == 4


def test_the_comparison_is_printed_and_comes_first(collect, exps: Path, capsys):
    assert collect(exps, "--compare", f"untrained={exps / 'untrained_vfold0'}", f"trained={exps / 'test_vfold0'}") == 0
    printed = capsys.readouterr().out
    assert "| RK       |     0.125 |   0.500 |" in printed
    assert "###" not in printed
    assert (exps / "results.md").read_text().startswith("# Results\n\n### Comparison\n\nProtocol `paper`")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["absent"], "absent is not a folder"),
        (["{exps}", "--compare", "a={exps}/none"], "test this experiment first"),
        (["{exps}", "--compare", "a={exps}/test_vfold0", "b={exps}/clean_vfold0"], "compare like with like"),
        (
            ["{exps}", "--compare", "a={exps}/test_vfold0", "a={exps}/untrained_vfold0"],
            "test_vfold0 and {exps}/untrained_vfold0 are both headed 'a'; give each its own",
        ),
        (["{exps}", "--data", "absent"], "absent is not a folder; name the processed folder"),
        (["{exps}", "--paired", "SimCLR", "test"], "'SimCLR' fits no experiment"),
        (["{exps}", "--paired", "untrained_vfold", "clean_vfold"], "cannot be paired"),
        (["{exps}/../broken"], "/broken that can be read; test an experiment first"),
    ],
)
def test_what_cannot_be_tabled_is_one_sentence(collect, exps: Path, capsys, arguments: list[str], sentence: str):
    write_run(exps, "clean_vfold0", 1, make_results({"RK": [0.5]}, protocol="clean"))
    write_run(exps.parent / "broken", "e", 1, {})
    (exps.parent / "broken" / "e" / "1" / "results.json").write_text('{"protocol": "pa')
    assert collect(*(argument.format(exps=exps) for argument in arguments)) == 1
    error = capsys.readouterr().err
    assert sentence.replace("{exps}", str(exps)) in error
    assert len(error.splitlines()) == 1
    assert not (exps / "results.csv").exists()


class Page(HTMLParser):
    """Opened and closed elements, links out, and kinds of embedded images."""

    def __init__(self):
        super().__init__()
        self.open, self.links, self.images = [], [], []

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.links += [attributes[name] for name in ("src", "href") if name in attributes]
        if tag == "img":
            assert attributes["alt"]
            self.images.append(attributes["src"].partition(",")[0])
        if tag not in ("img", "meta", "wbr"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_report_is_whole_and_needs_no_network(collect, tmp_path: Path):
    cohort = write_cohort(tmp_path / "data")
    exps = tmp_path / "exps"
    write_tested(exps / "<b>_vfold0", {"1": 0.1, "2": 0.2, "3": 0.9}, [3, 6, 9], path={"data_dir": str(cohort)})
    write_tested(exps / "moved_vfold0", {"1": 0.1}, [3, 6, 9], path={"data_dir": str(tmp_path / "gone")})
    (exps / "train_vfold0" / "1").mkdir(parents=True)
    curve = {"query_loss": {"steps": [1, 2], "values": [1.0, float("nan")]}}
    (exps / "train_vfold0" / "1" / "metrics.json").write_text(json.dumps(curve))
    assert collect(exps) == 0
    text = (exps / "report.html").read_text()
    page = Page()
    page.feed(text)
    assert page.open == []
    assert [link for link in page.links if not link.startswith(("data:", "#"))] == []
    assert page.images == ["data:image/svg+xml;base64", "data:image/jpeg;base64", "data:image/svg+xml;base64"]
    assert "&lt;b&gt;_vfold*" in text
    assert "<b>" not in text
    assert "name their folder with --data" in text  # the other experiment's scans are gone: no picture, no failure
    assert re.findall(r'<section id="(\w+)"', text) == ["overall", "folds", "cases", "training"]

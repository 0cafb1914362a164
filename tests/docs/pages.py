"""The pages of the documentation, taken apart: prose, code blocks, links."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("data", "exps", "logs", "pretrained_model", "Stage1/initmodel")
README = ROOT / "README.md"
SITE = sorted((ROOT / "docs").glob("*.md"))
PAGES = [README, *SITE, *(ROOT / folder / "README.md" for folder in FOLDERS)]

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')*]*\s+(?=[\"'(*`\[A-Z0-9])")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def code_blocks(page: Path, language: str) -> list[str]:
    """Fenced blocks of a language, in order."""
    return [text for found, text in _FENCE.findall(page.read_text()) if found == language]


def without_code(text: str) -> str:
    return _FENCE.sub("\n", text)


def without_output(text: str) -> str:
    """Without what programs print: the blocks of no language."""
    return _FENCE.sub(lambda block: block[0] if block[1] else "\n", text)


def links(page: Path) -> list[str]:
    """Targets of links and images."""
    return _LINK.findall(without_code(page.read_text()))


def sentences(text: str) -> list[str]:
    """Sentences of the prose: paragraphs, items of lists, cells of tables. Code in backticks and links count as words.

    A sentence ends with `.`, `!` or `?` before a capital letter, a digit, or something quoted; a paragraph, an item and
    a cell end one too.
    """
    parts: list[str] = []
    for line in without_code(text).splitlines():
        stripped = line.strip()
        if stripped.startswith("|"):
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", stripped.strip("|"))]
            parts += [cell for cell in cells if not re.fullmatch(r"[-: ]*", cell)] + [""]
        elif not stripped or stripped.startswith("#"):
            parts.append("")
        elif re.match(r"([-*]|\d+\.) ", stripped) or not parts:
            parts.append(stripped)
        else:
            parts[-1] = f"{parts[-1]} {stripped}".strip()
    plain = [re.sub(r"\b(al|e\.g|i\.e|vs|No)\. ", r"\1 ", _LINK.sub(_shown, part)) for part in parts if part]
    return [sentence for part in plain for sentence in _SENTENCE_END.split(part)]


def words(sentence: str) -> int:
    return len(re.findall(r"`[^`]*`|[\w'.,%+/-]*\w[\w'.,%+/-]*", sentence))


def _shown(match: re.Match) -> str:
    return match[0][match[0].index("[") + 1 : match[0].index("](")]

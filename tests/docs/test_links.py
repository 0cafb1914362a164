"""Whatever a page points to is there: files, pictures, headings."""

import re
from pathlib import Path

import pytest
from docs.pages import PAGES, links, name_of

SCHEMES = ("http://", "https://", "mailto:")


def anchors(page: Path) -> set[str]:
    """Names of the headings, as GitHub and the site make them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.M)
    plain = [re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)).lower() for heading in headings]
    return {heading.strip().replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path):
    for link in links(page):
        if link.startswith(SCHEMES):
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), f"{page.name} points to {link}"
        assert not anchor or anchor in anchors(target), f"{page.name} points to {link}"


def test_every_page_is_reached_from_the_readme():
    reached, waiting = set(), [PAGES[0]]
    while waiting:
        page = waiting.pop()
        reached.add(page.resolve())
        local = [link.partition("#")[0] for link in links(page) if not link.startswith(SCHEMES)]
        targets = [(page.parent / name).resolve() for name in local]
        waiting += [target for target in targets if target.suffix == ".md" and target not in reached]
    assert {page.resolve() for page in PAGES if page.parent.name == "docs"} <= reached

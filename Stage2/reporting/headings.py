"""Folders with headings, as commands take them: HEADING=FOLDER, or a folder alone, whose name is its heading."""

import argparse
from collections.abc import Iterable
from pathlib import Path


def headed_folder(text: str) -> tuple[str, Path]:
    """``[HEADING=]FOLDER`` as (heading, folder).

    A text that is a folder as a whole has no heading. Else the heading ends at the first "=" before a folder, and where
    there is none at the first "=".

    Raises:
        argparse.ArgumentTypeError: the heading or the folder is empty.
    """
    places = [place for place, sign in enumerate(text) if sign == "="]
    if Path(text).is_dir() or not places:
        if not text:
            raise argparse.ArgumentTypeError("'' names no folder; give [HEADING=]FOLDER")
        return default_heading(Path(text)), Path(text)
    end = next((place for place in places if Path(text[place + 1 :]).is_dir()), places[0])
    heading, folder = text[:end], text[end + 1 :]
    if not (heading and folder):
        raise argparse.ArgumentTypeError(f"'{text}' is not of the form [HEADING=]FOLDER")
    return heading, Path(folder)


def default_heading(folder: Path) -> str:
    """The folder's name; of a run folder, whose name is a number, that of its experiment before it."""
    parts = folder.absolute().parts
    return "/".join(parts[-2:] if folder.absolute().name.isdecimal() else parts[-1:])


def check_distinct(headed: Iterable[tuple[str, Path]]) -> None:
    """Raise ValueError where two folders have the same heading, of which one would be left out."""
    seen: dict[str, Path] = {}
    for heading, folder in headed:
        if heading in seen:
            raise ValueError(
                f"{seen[heading]} and {folder} are both headed '{heading}'; give each its own, as HEADING=FOLDER"
            )
        seen[heading] = folder

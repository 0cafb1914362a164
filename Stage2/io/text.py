"""Names and values as every reader bears them: no control characters, CSV cells that are no formulas, plain JSON."""

import csv
import io
import math
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

FORMULA_STARTS = "=+-@\t\r\n"  # for Excel, LibreOffice and Google Sheets, which take full-width signs for them too


def one_line(text: str) -> str:
    """Text in one line: white space as spaces; control characters and what is no character as U+FFFD.

    Bytes of a file name that are not UTF-8 are among the latter.
    """
    return "".join(
        " " if character.isspace() else "\ufffd" if unicodedata.category(character) in ("Cc", "Cs") else character
        for character in text
    )


def csv_text(rows: Iterable[Mapping], columns: Sequence[str], optional: Sequence[str] = ()) -> str:
    """Rows as CSV text with a header; an optional column that no row has is left out.

    None and NaN are empty cells. Text that a spreadsheet would take for a formula has a ' before it; numbers have not.
    """
    rows = list(rows)
    columns = [*columns, *(name for name in optional if any(name in row for row in rows))]
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(map(_cell, columns))
    writer.writerows([_cell(row.get(name)) for name in columns] for row in rows)
    return stream.getvalue()


def plain(value: object) -> object:
    """A value as a JSON file gives it back: keys as text, tuples as lists, None for NaN."""
    if isinstance(value, Mapping):
        return {str(key): plain(own) for key, own in value.items()}
    if isinstance(value, list | tuple):
        return [plain(own) for own in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def duration(seconds: float) -> str:
    """Seconds in words, to two places, such as 2 h 5 min."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [f"{count} {unit}" for count, unit in ((days, "d"), (hours, "h"), (minutes, "min"), (rest, "s"))]
    first = next((place for place, count in enumerate((days, hours, minutes)) if count), 3)
    return " ".join(parts[first : first + 2])


def _cell(value: object) -> object:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if not isinstance(value, str):
        return value
    is_formula = unicodedata.normalize("NFKC", value[:1]) in {*FORMULA_STARTS} and not _is_number(value)
    return f"'{one_line(value)}" if is_formula else one_line(value)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True

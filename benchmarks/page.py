"""How a benchmark is called, and where its tables go."""

import argparse
from collections.abc import Iterable
from pathlib import Path


def command_line(words: str | None, *, data: bool = True, every: bool = True) -> argparse.ArgumentParser:
    """Make the parser that benchmarks share; `words` are the script's docstring."""
    parser = argparse.ArgumentParser(description=words, formatter_class=argparse.RawTextHelpFormatter)
    if data:
        parser.add_argument("data", type=Path)
    parser.add_argument("--write", type=Path, help="put the tables between the marks of this Markdown file")
    if every:
        parser.add_argument("--every", type=int, default=1, help="take every N-th photo, for a quick look")
    return parser


def table_header(*names: str, text: int = 1) -> str:
    """Write the head of a Markdown table, whose first columns are `text`, the others numbers."""
    return f"{table_row(*names)}\n|{'---|' * text}{'---:|' * (len(names) - text)}"


def table_row(*cells: object) -> str:
    """Write a row of a Markdown table."""
    return f"| {' | '.join(map(str, cells))} |"


def publish(lines: Iterable[str], page: Path | None, mark: str = "table") -> None:
    """Print tables, and put them between `<!-- table -->`, or another mark, and `<!-- end -->` of a page."""
    tables = "\n".join(lines)
    print(tables)
    if page:
        text = page.read_text()
        start = text.index(f"<!-- {mark} -->")
        end = text.index("<!-- end -->", start)
        page.write_text(f"{text[:start]}<!-- {mark} -->\n{tables}\n{text[end:]}")

"""Lay out the site for MkDocs (`mkdocs.yml` has it as a hook): pages keep their paths, so every link holds as it is.

The page of the Python API is made here, of the names that `cratecli` has; mkdocstrings fills in their docstrings.
"""

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

import cratecli

ROOT = Path(__file__).parents[1]
PAGES = ("*.md", "docs/*.md", "benchmarks/*.md", "examples/*.md", "src/cratecli/data/crate-nano/README.md")
LINK = re.compile(r"\]\((?!\w+:)([^)#\s]+)")

INTRO = """# The Python API

Everything that `cratecli` itself names. [README](../README.md#in-python) has examples.
"""


def on_files(files: Files, config: Any) -> Files:
    """Take the pages, and the pictures, tables and scripts that they link, from the checkout; add the API's page."""
    site = Files([each for each in files if each.src_dir != config.docs_dir])  # the theme's
    pages = sorted({path for pattern in PAGES for path in ROOT.glob(pattern)})
    linked = {(page.parent / target).resolve() for page in pages for target in LINK.findall(page.read_text())}
    for path in [*pages, *sorted(each for each in linked - set(pages) if each.is_file())]:
        place = path.relative_to(ROOT).as_posix()
        site.append(File(place, str(ROOT), config.site_dir, config.use_directory_urls))
    site.append(File.generated(config, "docs/api.md", content=api()))
    return site


def api() -> str:
    """Write the page: a line for each name, which mkdocstrings replaces by what its docstrings and types say."""
    names = [name for name in cratecli.__all__ if not name.startswith("__")]
    errors = [name for name in names if name.endswith("Error")]
    options = [name for name in names if name.endswith(("Options", "Recipe")) or name == "Defaults"]
    functions = [name for name in names if name.islower()]
    others = [name for name in names if name not in {*errors, *options, *functions}]
    groups = {
        "Functions": functions,
        "Models and results": others,
        "Options and recipes": options,
        "Errors": errors,
        "For other programs": ["cvat", "ray"],
    }
    sections = (
        f"## {title}\n\n" + "\n".join(f"::: cratecli.{name}\n" for name in listed)
        for title, listed in groups.items()
    )
    return "\n".join([INTRO, *sections])

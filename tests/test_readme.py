"""The README says what is true: its method table, its commands and the pictures it shows."""

import re
from pathlib import Path

import pytest

from attribution.method_table import with_table
from attribution.registry import list_methods

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf8")


def test_method_table_is_the_registry() -> None:
    """`make readme` would change nothing, and the table names every registered method."""
    assert with_table(README) == README, "run make readme"
    assert all(f"| `{method.name}` |" in README for method in list_methods())


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_linked_files_exist(name: str) -> None:
    """Every relative link and picture of the documents leads to a file."""
    text = (ROOT / name).read_text(encoding="utf8")
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", text)
    assert not [link for link in links if not (ROOT / link).exists()]


def test_make_targets_exist() -> None:
    """Every `make …` command that the documents name is a target of the Makefile."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf8"), re.MULTILINE))
    named = {
        target
        for name in ("README.md", "CONTRIBUTING.md")
        for target in re.findall(r"`?make ([a-z-]+)", (ROOT / name).read_text(encoding="utf8"))
        if f"make {target}" in re.findall(r"`(make [a-z-]+)", (ROOT / name).read_text(encoding="utf8"))
    }
    assert named and named <= targets

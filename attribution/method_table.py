"""The method table of the README, made from the registry: `python -m attribution.method_table README.md`."""

import sys
from pathlib import Path

from attribution.registry import list_methods

BEGIN, END = "<!-- methods: made by make readme -->", "<!-- end of methods -->"


def method_table() -> str:
    """The registered methods as a Markdown table."""
    rows = ["| name | paper | formula | unit | weakness |", "| --- | --- | --- | --- | --- |"]
    for method in list_methods():
        formula = f"${method.formula}$".replace("|", r"\|")
        rows.append(f"| `{method.name}` | {method.paper} | {formula} | {method.unit} | {method.weakness} |")
    return "\n".join(rows)


def with_table(readme: str) -> str:
    """The README's text with the table between its two marks made anew."""
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{method_table()}\n{END}{after}"


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(with_table(path.read_text(encoding="utf8")), encoding="utf8")

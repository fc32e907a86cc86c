"""Where the files are that ship with the package: beside it in a checkout, inside it in an installed wheel."""

from pathlib import Path


def shipped(name: str) -> Path:
    """The path of a file or folder of assets/ by its name there, such as demo/reviews."""
    package = Path(__file__).resolve().parent
    inside = package / "assets" / name
    return inside if inside.exists() else package.parent / "assets" / name

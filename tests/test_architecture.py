"""The arrows between the parts: the library never needs the dashboard, views compute nothing, files stay small."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LIBRARY = sorted((ROOT / "attribution").rglob("*.py"))
DASHBOARD = sorted((ROOT / "dashboard").rglob("*.py"))
VIEWS = [path for path in DASHBOARD if "views" in path.parts]
COMPUTING = ("torch", "transformers", "captum", "sklearn", "scipy", "numpy.linalg")
# A folder below a place where people and builds keep their checkouts.
MACHINE = re.compile(r"(?<![\w.{}])/(?:home|Users|root|work|tmp|private)/[\w.-]+/")


def named(paths: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", paths, ids=[str(path.relative_to(ROOT)) for path in paths])


def imports(path: Path) -> set[str]:
    """Every module that a file imports, at its top or within a function, with the names taken from it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def uses(path: Path, *modules: str) -> set[str]:
    """Those imports of a file that are one of the modules or inside one."""
    return {name for name in imports(path) for module in modules if name == module or name.startswith(f"{module}.")}


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_the_scan_sees_imports_everywhere(tmp_path: Path) -> None:
    """What the other tests rely on: imports in functions, under other names and from packages are all found."""
    source = "import a.b as c\ndef f():\n    from d import e\n    import g\nif True:\n    from h.i import j as k\n"
    (tmp_path / "m.py").write_text(source)
    assert imports(tmp_path / "m.py") == {"a.b", "d", "d.e", "g", "h.i", "h.i.j"}
    assert uses(tmp_path / "m.py", "a", "h.i", "x") == {"a.b", "h.i", "h.i.j"}
    assert len(LIBRARY) > 15 and VIEWS


@named(LIBRARY)
def test_the_library_never_imports_the_dashboard(path: Path) -> None:
    """Neither the dashboard nor what only it needs."""
    assert not uses(path, "dashboard", "streamlit", "plotly")


@named(VIEWS)
def test_views_hold_no_computation(path: Path) -> None:
    """A page arranges what the library answers; it neither runs a model nor does linear algebra."""
    assert not uses(path, *COMPUTING)
    assert "np.linalg" not in path.read_text(encoding="utf8")


@named([*LIBRARY, *DASHBOARD])
def test_files_and_functions_are_small(path: Path) -> None:
    """At most 400 lines a file and 70 a function; a family that outgrows this becomes a package."""
    text = path.read_text(encoding="utf8")
    assert len(text.splitlines()) <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or 0) - node.lineno + 1
            assert lines <= 70, f"{node.name} has {lines} lines"


@named([*LIBRARY, *DASHBOARD])
def test_modules_say_what_they_are(path: Path) -> None:
    """A module that holds code begins with what it is for, and nothing is left to do in it."""
    text = path.read_text(encoding="utf8")
    tree = ast.parse(text)
    if len(tree.body) > 2:
        assert ast.get_docstring(tree), "no docstring"
    left = re.search(r"\b(TODO|FIXME|XXX|HACK)\b", text)
    assert left is None, left


def test_importing_the_library_is_light() -> None:
    """`import attribution` loads neither torch nor a user interface, and takes less than a second."""
    code = (
        "import time; began = time.perf_counter(); import attribution, sys; took = time.perf_counter() - began\n"
        "print(took, *sorted({name.split('.')[0] for name in sys.modules}))"
    )
    shown = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    took, *loaded = shown.stdout.split()
    assert not {"torch", "streamlit", "transformers", "pandas", "dashboard"} & set(loaded)
    assert float(took) < 1


def test_no_file_names_a_machine() -> None:
    """No tracked text file holds an absolute path of the machine it was written on."""
    found = []
    for path in tracked():
        try:
            text = path.read_text(encoding="utf8")
        except UnicodeDecodeError:
            continue
        found += [f"{path.relative_to(ROOT)}: {match.group()}" for match in MACHINE.finditer(text)]
    assert found == []

"""The structure of `utils`: who imports whom, who draws and writes, how long files are."""

import ast
import importlib
import inspect
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# Data flows from the first to the last.
ORDER = (
    "patches",
    "networks",
    "concepts",
    "heatmaps",
    "optvis",
    "lucid_bridge",
    "claims",
    "results",
)
SHARED = ("statistics", "cluster", "chunk_files", "assets", "files", "once", "progress", "versions")
FILES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "utils").rglob("*.py"))
DRAWING = {"drawContours", "putText", "rectangle", "circle", "applyColorMap", "addWeighted"}
WRITERS = {"write_text", "write_bytes", "savefig", "to_csv", "imwrite", "save_weights", "tofile"}


def _tree(file: str) -> ast.Module:
    return ast.parse((ROOT / file).read_text())


def _home(module: str) -> str:
    """The subpackage, or the shared module, of ``utils.a.b`` or ``utils/a/b.py``."""
    parts = module.removesuffix(".py").replace("/", ".").split(".")
    return parts[1] if len(parts) > 1 else ""


def _imports(file: str) -> list[tuple[str, list[str]]]:
    """Modules of `utils` that a file imports, with the names it takes from each."""
    found = []
    for node in ast.walk(_tree(file)):
        if isinstance(node, ast.Import):
            found += [(alias.name, []) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} has a relative import"
            names = [alias.name for alias in node.names]
            if node.module == "utils":
                found += [(f"utils.{name}", []) for name in names]
            else:
                found.append((node.module, names))
    return [(module, names) for module, names in found if module.split(".")[0] == "utils"]


def _may_import(home: str, other: str) -> bool:
    if other == home or other in SHARED:
        return True
    return home in ORDER and other in ORDER[: ORDER.index(home)]


def test_the_subpackages_are_those_of_the_design():
    folders = {path.parent.name for path in (ROOT / "utils").glob("*/__init__.py")}
    modules = {path.stem for path in (ROOT / "utils").glob("*.py")} - {"__init__"}
    assert folders == set(ORDER) and modules <= set(SHARED)


@pytest.mark.parametrize("file", FILES)
def test_imports_go_one_way(file):
    home = _home(file)
    if Path(file).name == "__main__.py":  # a command may show what its subpackage made
        home = ORDER[-1]
    for module, _ in _imports(file):
        assert _may_import(home, _home(module)), f"{file} imports {module}"


def test_the_rule_of_imports_can_fail():
    assert _may_import("heatmaps", "networks") and _may_import("claims", "statistics")
    assert not _may_import("networks", "heatmaps") and not _may_import("files", "results")


@pytest.mark.parametrize("file", FILES)
def test_no_private_name_crosses_a_border(file):
    home, tree = _home(file), _tree(file)
    foreign = set()
    for module, names in _imports(file):
        if _home(module) != home:
            private = [name for name in names if name.startswith("_")]
            assert not private, f"{file} imports {private} of {module}"
            foreign |= {module.rsplit(".", 1)[-1], *names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            private = node.attr.startswith("_") and not node.attr.startswith("__")
            assert not (private and node.value.id in foreign), f"{file}: {ast.unparse(node)}"


@pytest.mark.parametrize("file", FILES)
def test_only_results_draw_and_write(file):
    """Caches, weights and assets are written by their owners, atomically."""
    if _home(file) in ("results", "progress"):  # bars are shown in notebooks
        return
    names = {
        alias.name for n in ast.walk(_tree(file)) if isinstance(n, ast.Import) for alias in n.names
    }
    names |= {n.module for n in ast.walk(_tree(file)) if isinstance(n, ast.ImportFrom)}
    drawing = {name for name in names if name.split(".")[0] in ("matplotlib", "IPython", "PIL")}
    assert not drawing, f"{file} imports {drawing}"
    calls = [node.func for node in ast.walk(_tree(file)) if isinstance(node, ast.Call)]
    drawn = {call.attr for call in calls if isinstance(call, ast.Attribute)} & DRAWING
    assert not drawn, f"{file} draws by {drawn}"
    writing = {call.attr for call in calls if isinstance(call, ast.Attribute)} & WRITERS
    if writing and file not in ("utils/files.py", "utils/assets.py"):
        taken = [name for module, found in _imports(file) for name in found]
        assert "whole_file" in taken, f"{file} writes by {writing}, but not through utils.files"


@pytest.mark.parametrize("file", FILES)
def test_names_say_what_they_hold(file):
    names = {node.id for node in ast.walk(_tree(file)) if isinstance(node, ast.Name)}
    assert not names & {"found", "part", "own", "laid", "there", "here", "what", "mine"}


@pytest.mark.parametrize("file", FILES)
def test_files_and_functions_are_short(file):
    text = (ROOT / file).read_text()
    assert len(text.splitlines()) <= 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert _lines_of_code(node, text) <= 50, f"{file}: {node.name}"


def _lines_of_code(function: ast.FunctionDef, text: str) -> int:
    """Lines without docstring, comments and blank lines."""
    lines = text.splitlines()[function.lineno - 1 : function.end_lineno]
    docstring = function.body[0] if ast.get_docstring(function) else None
    if docstring:
        start, end = (n - function.lineno for n in (docstring.lineno, docstring.end_lineno))
        lines = lines[:start] + lines[end + 1 :]
    return sum(bool(line.strip()) and not line.strip().startswith("#") for line in lines)


def _exported():
    for package in ORDER:
        module = importlib.import_module(f"utils.{package}")
        for name in module.__all__:
            value = getattr(module, name)
            if inspect.isfunction(value):
                yield pytest.param(value, id=f"{package}.{name}")


@pytest.mark.parametrize("function", _exported())
def test_exported_calls_are_documented(function):
    """Parameters and what is returned, in numpydoc; verbs in the first line."""
    text = inspect.getdoc(function) or ""
    if inspect.signature(function).parameters:
        assert "\nParameters\n----------\n" in text
    annotation = inspect.signature(function).return_annotation
    if annotation is not None:
        assert "\nReturns\n-------\n" in text or "\nYields\n------\n" in text


def test_tests_mirror_the_modules():
    """A test file is named for the module that it tests, in the folder of the same name."""
    modules = {file.removeprefix("utils/") for file in FILES}
    for path in (ROOT / "tests").rglob("test_*.py"):
        folder = path.relative_to(ROOT / "tests").parent
        name = (folder / path.name.removeprefix("test_")).as_posix()
        alone = folder == Path() and path.stem in (
            "test_structure",
            "test_notebooks",
            "test_additions",
        )
        assert alone or name in modules, f"{path} mirrors no module"

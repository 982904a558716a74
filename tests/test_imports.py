"""What importing costs, and which way imports go: DESIGN's layers, core dependencies alone at module level."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

import infinitemesh

PACKAGE = Path(infinitemesh.__file__).parent
PROJECT = PACKAGE.parent

# A module imports its own layer and lower ones. Inside functions `types` may go up (Mesh.save, ViewSet.grid).
LAYERS = (
    {"errors", "files", "helpers", "images", "messages", "steps", "turns", "types"},
    {"geometry"},
    {"render"},
    {"models"},
    {"stages"},
    {"hub", "pipeline"},  # and every module of the package's own folder that is named nowhere else
    {"convert", "data", "evaluate", "train"},
    {"bench", "cli", "commands", "demo"},
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}

IMPORT_NAMES = {  # of distributions that are not called like their package
    "diffrp-nvdiffrast": "nvdiffrast",
    "imageio-ffmpeg": "imageio_ffmpeg",
    "pillow": "PIL",
    "pyyaml": "yaml",
}
NOT_ON_AN_INDEX = {"kaolin"}  # optional, and its message says how to build it
MODULES = sorted(PACKAGE.rglob("*.py"))


def module_level_imports(tree: ast.Module) -> list[str]:
    """Dotted names imported when the module is, so not those under `if TYPE_CHECKING`, in functions or in methods."""
    found: list[str] = []

    def visit(node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                continue
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
                continue
            found.extend(names_of(child))
            visit(child)

    visit(tree)
    return found


def names_of(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, "relative imports hide their layer"
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


def declared(extras: bool) -> set[str]:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    lists = [project["dependencies"], *(project["optional-dependencies"].values() if extras else [])]
    names = {re.split(r"[\[<>=!~; ]", line)[0] for lines in lists for line in lines}
    return {IMPORT_NAMES.get(name, name.replace("-", "_")) for name in names}


def layer_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def level_of(name: str) -> int:
    if name not in LEVEL and (PACKAGE / f"{name}.py").is_file():
        return LEVEL["pipeline"]
    assert name in LEVEL, f"{name}: add a new folder to LAYERS; import public names from their own modules"
    return LEVEL[name]


def third_party(names: list[str]) -> set[str]:
    return {name.split(".")[0] for name in names} - sys.stdlib_module_names - {"infinitemesh"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_imports_go_down_the_layers_and_stay_within_the_declared_packages(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    at_import = module_level_imports(tree)
    anywhere = [name for node in ast.walk(tree) for name in names_of(node)]
    if layer_of(path) not in ("__init__", "__main__"):
        level = level_of(layer_of(path))
        for target in (name.split(".")[1] for name in at_import if name.startswith("infinitemesh.")):
            if target == "__version__":
                continue
            assert level_of(target) <= level, f"{path.name} imports {target}, which is in a layer above"
    assert third_party(at_import) <= declared(extras=False), "optional packages are imported where they are used"
    assert third_party(anywhere) <= declared(extras=True) | NOT_ON_AN_INDEX, "an import that pyproject does not declare"


def in_a_fresh_interpreter(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_import_is_fast_and_loads_nothing_heavy():
    code = """if True:
        import sys, time
        start = time.perf_counter()
        import infinitemesh
        seconds = time.perf_counter() - start
        heavy = {"torch", "diffusers", "transformers", "numpy", "trimesh", "scipy", "PIL"} & set(sys.modules)
        print(seconds, *heavy)"""
    seconds, *heavy = min((in_a_fresh_interpreter(code).split() for _ in range(3)), key=lambda words: float(words[0]))
    assert heavy == []
    assert float(seconds) < 0.3


@pytest.mark.parametrize("name", infinitemesh.__all__)
def test_every_public_name_is_there(name):
    assert getattr(infinitemesh, name) is not None


def test_every_public_name_has_an_existing_home():
    assert all(find_spec(home) for home in infinitemesh._HOME_OF.values())


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="no attribute 'Camra'"):
        _ = infinitemesh.Camra  # pyright: ignore[reportAttributeAccessIssue]
    assert set(dir(infinitemesh)) >= {"Mesh", "Camera", "__version__"}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import torch\nfrom a.b import c", ["torch", "a.b.c"]),
        ("try:\n    import kaolin\nexcept ImportError:\n    kaolin = None", ["kaolin"]),
        ("def f():\n    import kaolin\nclass A:\n    import x\n    def g(self):\n        import y", ["x"]),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import trimesh", ["typing.TYPE_CHECKING"]),
    ],
)
def test_the_reader_of_imports_sees_what_runs_at_import(source, expected):
    assert module_level_imports(ast.parse(source)) == expected

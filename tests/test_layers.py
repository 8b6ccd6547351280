"""The package's structure: imports go down, no circles, short lines and functions; every guard is
shown to fail on a violation.

Layers are those of CONTRIBUTING.md. What is inside a package is its own matter, but for circles.
"""

import ast
import shutil
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

from xinstruct_utils.core.paths import REPO

NAME = "xinstruct_utils"
PACKAGE = REPO / NAME
TIERS = ("core", "config prompts atlas", "data models workflow", "training inference annotation",
         "method", "evaluation", "reporting", "__main__")
TIER = {package: tier for tier, packages in enumerate(TIERS) for package in packages.split()}
WIDTH = 100      # characters of a line
WIDE = 0.01      # share of lines that may be wider
LONGEST = 40     # lines of a function

# What is known to break a rule, by how the guard's words begin, with the reason. An entry that is
# not needed any more fails too: take it out.
ALLOWED = {
}


class Import(NamedTuple):
    """An import of one first-party module by another; names are dotted, without the package's."""

    importer: str
    imported: str
    line: int
    in_function: bool


def sources(package: Path) -> dict[str, Path]:
    """{dotted name without the package's: file} of all modules."""
    named = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        named[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return named


def functions(tree: ast.AST) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    """All functions and methods of a module, inner ones too."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [node for node in ast.walk(tree) if isinstance(node, kinds)]


def targets(node: ast.AST, known: set[str]) -> list[str]:
    """The first-party modules that an import statement loads."""
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
        return [n.partition(".")[2] for n in names if n.partition(".")[0] == NAME]
    if not isinstance(node, ast.ImportFrom) or (node.module or "").partition(".")[0] != NAME:
        return []
    base = node.module.partition(".")[2]
    below = [f"{base}.{alias.name}".lstrip(".") for alias in node.names]
    return [name if name in known else base for name in below]


def imports(package: Path) -> Iterator[Import]:
    """Every first-party import of the package, those inside functions too."""
    modules = sources(package)
    for name, path in modules.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        inner = {id(node) for function in functions(tree) for node in ast.walk(function)}
        for node in ast.walk(tree):
            for target in targets(node, set(modules)):
                yield Import(name, target, node.lineno, id(node) in inner)


def room(module: str) -> str:
    """The package of a module: `core` of `core.files`."""
    return module.partition(".")[0]


def upward(package: Path) -> list[str]:
    """Imports that go up, or sideways to another package of the same tier."""
    found = []
    for made in imports(package):
        here, there = room(made.importer), room(made.imported)
        if not here or not there or here == there:
            continue
        if TIER[there] >= TIER[here]:
            found.append(f"{made.importer} imports {made.imported}, which is not below it")
    return found


def circles(package: Path) -> list[str]:
    """A circle of modules that import each other, if there is one."""
    graph: dict[str, set[str]] = {}
    for made in imports(package):
        if made.imported != made.importer:
            graph.setdefault(made.importer, set()).add(made.imported)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return ["a circle of imports: " + " < ".join(error.args[1])]
    return []


def in_functions(package: Path) -> list[str]:
    """First-party imports inside a function: they hide what a module needs."""
    return [f"{made.importer} imports {made.imported} inside a function"
            for made in imports(package) if made.in_function]


def relative(package: Path) -> list[str]:
    """Relative imports."""
    found = []
    for name, path in sources(package).items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level:
                found.append(f"{name} has a relative import in line {node.lineno}")
    return found


def wide(package: Path) -> list[str]:
    """The files with wide lines, widest share first, if the package has too many of them."""
    total, of_file = 0, {}
    for name, path in sources(package).items():
        lines = path.read_text(encoding="utf-8").splitlines()
        total += len(lines)
        of_file[name] = sum(len(line) > WIDTH for line in lines)
    if sum(of_file.values()) <= WIDE * total:
        return []
    worst = sorted((n for n in of_file if of_file[n]), key=of_file.get, reverse=True)
    shown = ", ".join(f"{name} {of_file[name]}" for name in worst)
    share = sum(of_file.values()) / total
    return [f"too many lines have over {WIDTH} characters, {share:.1%} of all: {shown}"]


def long_functions(package: Path) -> list[str]:
    """Functions of more than LONGEST lines, with their docstring."""
    found = []
    for name, path in sources(package).items():
        for function in functions(ast.parse(path.read_text(encoding="utf-8"))):
            size = function.end_lineno - function.lineno + 1
            if size > LONGEST:
                found.append(f"{name}.{function.name} has {size} lines")
    return found


def unknown(package: Path) -> list[str]:
    """Packages that no tier names."""
    return [f"{name} is of no tier" for name in sources(package) if name and room(name) not in TIER]


GUARDS = (unknown, upward, circles, in_functions, relative, wide, long_functions)


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.__name__)
def test_the_package_keeps_its_structure(guard):
    assert [found for found in guard(PACKAGE) if not found.startswith(tuple(ALLOWED))] == []


def test_no_exception_is_left_that_is_not_needed():
    found = [line for guard in GUARDS for line in guard(PACKAGE)]
    assert [words for words in ALLOWED if not any(f.startswith(words) for f in found)] == []


TOP = "from xinstruct_utils.reporting import plots"
INSIDE = f"def f():\n    {TOP}\n"
VIOLATIONS = [
    (unknown, {"helpers/x.py": ""}, "helpers.x is of no tier"),
    (upward, {"core/x.py": TOP}, "core.x imports reporting.plots"),
    (upward, {"core/x.py": "import xinstruct_utils.method.syntax"}, "core.x imports method.syntax"),
    (upward, {"core/x.py": INSIDE}, "core.x imports reporting.plots"),
    (upward, {"core/x.py": "from xinstruct_utils import atlas"}, "core.x imports atlas"),
    (upward, {"data/x.py": "from xinstruct_utils.models import loading"}, "imports models.loading"),
    (circles, {"core/x.py": "from xinstruct_utils.core import y",
               "core/y.py": "from xinstruct_utils.core.x import z"}, "core.x"),
    (in_functions, {"reporting/x.py": INSIDE}, "reporting.x imports reporting.plots inside"),
    (relative, {"core/x.py": "\nfrom .files import digest"}, "core.x has a relative import in"),
    (relative, {"core/x.py": "def f():\n    from . import files"}, "core.x has a relative import"),
    (wide, {"core/x.py": f"# {'x' * 99}\n" * 400}, "core.x 400"),
    (long_functions, {"core/x.py": "def f():\n" + "    1\n" * 40}, "core.x.f has 41 lines"),
    (long_functions, {"core/x.py": "class A:\n  async def g():\n" + "    1\n" * 40}, "core.x.g"),
]


@pytest.mark.parametrize(("guard", "files", "words"), VIOLATIONS)
def test_every_guard_sees_a_violation(tmp_path, guard, files, words):
    copy = tmp_path / NAME
    shutil.copytree(PACKAGE, copy, ignore=lambda folder, names: [
        name for name in names if (Path(folder) / name).is_file() and not name.endswith(".py")])
    before = guard(copy)
    for name, text in files.items():
        (copy / name).parent.mkdir(exist_ok=True)
        (copy / name).write_text(text, encoding="utf-8")
    assert any(words in line for line in guard(copy))
    assert not any(words in line for line in before)

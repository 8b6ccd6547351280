"""Notebook sources: their parameters, and what a step depends on, its code cells and the modules they use."""

import ast
import os
from pathlib import Path

from xinstruct_utils.config.profile import GROUPS
from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import digest, file_hash, read_json
from xinstruct_utils.core.paths import REPO

PACKAGE = REPO / "xinstruct_utils"
# Packages that say how a step is started, noted and checked; settings reach a step as its parameters.
UNCOUNTED = ("config", "workflow")
# What a run's engine may start in a module's place.
ALSO = {"inference/local.py": ("inference.remote",)}
# Data files count with the module that reads them.
DATA = {
    "atlas/__init__.py": ("atlas/base_model/MANIFEST.json",),
    "atlas/pages.py": ("atlas/texts/*.yaml",),
    "core/paper.py": ("core/paper.json",),
    "evaluation/tasks.py": ("evaluation/task_files/*",),
    "method/syntax.py": ("method/parser/*.json", "method/parser/*.safetensors"),
}


def notebooks_dir():
    """Where the notebook sources are ($XINSTRUCT_NOTEBOOKS, or notebooks/)."""
    return Path(os.environ.get("XINSTRUCT_NOTEBOOKS") or REPO / "notebooks").absolute()


def read_notebook(name):
    """A notebook source by name, as a dict. Raises InputError for an unknown one."""
    path = notebooks_dir() / f"{name}.ipynb"
    if not path.exists():
        known = ", ".join(sorted(p.stem for p in notebooks_dir().glob("*.ipynb")))
        raise InputError(f"no notebook {name!r}: expected one of {known}")
    return read_json(path)


def declared(notebook):
    """Names and defaults of the notebook's parameters cell. Raises InputError where they are no typed literals."""
    cells = ["".join(c["source"]) for c in notebook["cells"] if "parameters" in c["metadata"].get("tags", [])]
    if len(cells) != 1:
        raise InputError(f"expected one cell tagged 'parameters' in a notebook, but {len(cells)} came")
    try:
        return {n.target.id: ast.literal_eval(n.value) for n in ast.parse(cells[0]).body}
    except (AttributeError, ValueError, TypeError, SyntaxError):
        raise InputError('a parameters cell holds typed literals only, as `lang: str = "sw"  # ISO 639-1 code`') from None


def parameters_of(name, profile, run, lang, iteration):
    """The notebook's parameters with the profile's values. Raises InputError where the notebook wants what none has."""
    names, values = declared(read_notebook(name)), profile.model_dump() | {"run": run, "lang": lang}
    if ("iteration" in names) != (iteration is not None):
        raise InputError(f"{name} {'needs' if 'iteration' in names else 'has no'} --iteration")
    if iteration is not None and not 1 <= iteration <= profile.iterations:
        raise InputError(f"{name}: expected a round from 1 to {profile.iterations} (the run's iterations), but {iteration} came")
    if (lang == "all") != (names.get("lang", "all") == "all"):
        raise InputError(f"{name} reads {'one language' if lang == 'all' else 'all languages of a run: --lang all'}")
    unknown = [n for n in names if n not in values and n != "iteration"]
    if unknown:
        raise InputError(f"{name}: its parameters cell declares {', '.join(unknown)}, which no profile has; add it to "
                         "xinstruct_utils.config.profile.Profile")
    if "cleaning" in names and "contamination" not in profile.cleaning:
        values["benchmarks"] = []                  # no other rule reads them there: naming some later makes no corpus anew
    return {n: (values | {"iteration": iteration})[n] for n in names}


def setting_groups(name: str) -> list[str]:
    """The groups of settings that a notebook asks for, as `step.settings("training")`. Raises InputError for an unknown one."""
    groups = set()
    for cell in code_cells(read_notebook(name)):
        for node in ast.walk(ast.parse(cell)):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", None) == "settings" and node.args:
                groups.add(ast.literal_eval(node.args[0]))
    if unknown := groups - set(GROUPS):
        raise InputError(f"{name}: step.settings knows the groups {', '.join(GROUPS)}, but {', '.join(sorted(unknown))} came")
    return sorted(groups)


def code_cells(notebook):
    """Sources of the code cells, in order: what a step depends on; prose does not count."""
    return ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code"]


def code_key(name):
    """Digest of a notebook's code cells and of the package modules they use."""
    cells = code_cells(read_notebook(name))
    return {"code_digest": digest(cells), "modules_digest": modules_digest("\n".join(cells))}


def _modules(code: str, where: str):
    """Files of the package's modules that a piece of code imports. Raises InputError for one that is not there.

    `from xinstruct_utils.core import files` is the module core/files.py; `from xinstruct_utils.core.files import digest` too;
    `from xinstruct_utils.atlas import BASE_MODEL` is the package's own file.
    """
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom):
            if node.level:
                raise InputError(f"{where}, line {node.lineno}: a relative import; say from xinstruct_utils... import ...")
            names = [(node.module, alias.name) for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [(alias.name, None) for alias in node.names]
        else:
            continue
        for module, name in names:
            if module and module.split(".")[0] == PACKAGE.name:
                yield _module_file(module, name, f"{where}, line {node.lineno}")


def _module_file(module: str, name: str | None, where: str) -> Path:
    """The file of `from module import name`, or of `import module` (name None)."""
    folder = PACKAGE.parent.joinpath(*module.split("."))
    places = [folder / f"{name}.py", folder / str(name) / "__init__.py"] if name else []
    places += [folder.with_suffix(".py"), folder / "__init__.py"]
    found = next((place for place in places if place.is_file()), None)
    if found is None or (found.name == "__init__.py" and found.parent == folder and name and not _defines(found, name)):
        asked = f"from {module} import {name}" if name else f"import {module}"
        raise InputError(f"{where}: `{asked}` names no module of this package; a step's digest would miss it: mend the import")
    return found


def _defines(path: Path, name: str) -> bool:
    """Does a module assign, define or import this name at its top level?"""
    return any(name == getattr(target, "id", None) for node in ast.parse(path.read_text(encoding="utf-8")).body
               for target in getattr(node, "targets", []))


def used_modules(code: str) -> list[Path]:
    """Files of the package that a piece of code uses, directly or through each other; `DATA` files with their modules.

    Left out are `UNCOUNTED` packages: how a step is started, noted and checked does not change what it computes.
    Raises InputError for an import that does not resolve.
    """
    found, todo = set(), [(code, "this notebook")]
    while todo:
        text, where = todo.pop()
        for file in _modules(text, where):
            module = file.relative_to(PACKAGE).as_posix()
            if file in found or module.split("/")[0] in UNCOUNTED:
                continue
            found.add(file)
            todo.append((file.read_text(encoding="utf-8"), module))
            todo += [(f"import xinstruct_utils.{other}", module) for other in ALSO.get(module, ())]
            found |= {path for pattern in DATA.get(module, ()) for path in PACKAGE.glob(pattern)}
    return sorted(found)


def modules_digest(code: str) -> str:
    """Digest of the package's source files that a piece of code uses."""
    return digest({str(f.relative_to(REPO)): file_hash(f) for f in used_modules(code)})

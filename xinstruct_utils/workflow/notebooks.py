"""Notebook sources: their parameters, and what a step depends on: code cells, modules they use."""

import ast
import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from xinstruct_utils.config.profile import GROUPS, Profile
from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import digest, file_hash, read_json
from xinstruct_utils.core.paths import REPO

Notebook = dict[str, Any]

PACKAGE = REPO / "xinstruct_utils"
# Packages that say how a step is started, noted and checked; settings reach it as parameters.
UNCOUNTED = ("config", "workflow")
# What a run's engine may start in a module's place.
ALSO = {"inference/local.py": ("inference.remote",)}
# Data files count with the module that reads them.
DATA = {
    "atlas/__init__.py": ("atlas/base_model*/MANIFEST.json", "atlas/opponent/MANIFEST.json"),
    "atlas/sentences.py": ("atlas/texts/*.yaml",),
    "core/paper.py": ("core/paper.json",),
    "evaluation/tasks.py": ("evaluation/task_files/*",),
    "method/syntax.py": ("method/parser/*.json", "method/parser/*.safetensors"),
}


def notebooks_dir() -> Path:
    """Where the notebook sources are ($XINSTRUCT_NOTEBOOKS, or notebooks/)."""
    return Path(os.environ.get("XINSTRUCT_NOTEBOOKS") or REPO / "notebooks").absolute()


def read_notebook(name: str) -> Notebook:
    """A notebook source by name, as a dict. Raises InputError for an unknown one."""
    path = notebooks_dir() / f"{name}.ipynb"
    if not path.exists():
        known = ", ".join(sorted(p.stem for p in notebooks_dir().glob("*.ipynb")))
        raise InputError(f"no notebook {name!r}: expected one of {known}")
    return read_json(path)


def declared(notebook: Notebook) -> dict[str, Any]:
    """Names and defaults of the notebook's parameters cell.

    Raises InputError where they are no typed literals.
    """
    cells = ["".join(cell["source"]) for cell in notebook["cells"]
             if "parameters" in cell["metadata"].get("tags", [])]
    if len(cells) != 1:
        raise InputError("expected one cell tagged 'parameters' in a notebook, but "
                         f"{len(cells)} came")
    try:
        return dict(map(_literal, ast.parse(cells[0]).body))
    except (AttributeError, ValueError, TypeError, SyntaxError):
        raise InputError("a parameters cell holds typed literals only, as "
                         '`lang: str = "sw"  # ISO 639-1 code`') from None


def _literal(node: Any) -> tuple[str, Any]:
    """(Name, value) of a typed literal."""
    return node.target.id, ast.literal_eval(node.value)


def parameters_of(name: str, profile: Profile, run: str, lang: str,
                  iteration: int | None) -> dict[str, Any]:
    """The notebook's parameters with the profile's values.

    Raises InputError where the notebook wants what none has.
    """
    names = declared(read_notebook(name))
    _check_call(name, names, profile, lang, iteration)
    values = profile.model_dump() | {"run": run, "lang": lang}
    if iteration is not None:
        values["iteration"] = iteration
    unknown = [parameter for parameter in names if parameter not in values]
    if unknown:
        raise InputError(f"{name}: its parameters cell declares {', '.join(unknown)}, which no "
                         "profile has; add it to xinstruct_utils.config.profile.Profile")
    if "cleaning" in names and "contamination" not in profile.cleaning:
        # No other rule reads them there: naming some later makes no corpus anew.
        values["benchmarks"] = []
    return {parameter: values[parameter] for parameter in names}


def _check_call(name: str, names: dict[str, Any], profile: Profile, lang: str,
                iteration: int | None) -> None:
    """Raises InputError where a notebook with these parameters has no such round or language."""
    if ("iteration" in names) != (iteration is not None):
        raise InputError(f"{name} {'needs' if 'iteration' in names else 'has no'} --iteration")
    if iteration is not None and not 1 <= iteration <= profile.iterations:
        raise InputError(f"{name}: expected a round from 1 to {profile.iterations} (the run's "
                         f"iterations), but {iteration} came")
    if (lang == "all") != (names.get("lang", "all") == "all"):
        wanted = "one language" if lang == "all" else "all languages of a run: --lang all"
        raise InputError(f"{name} reads {wanted}")


def setting_groups(name: str) -> list[str]:
    """The groups of settings that a notebook asks for, as `step.settings("training")`.

    Raises InputError for an unknown one.
    """
    groups = set()
    for cell in code_cells(read_notebook(name)):
        groups |= _settings_calls(cell)
    if unknown := groups - set(GROUPS):
        raise InputError(f"{name}: step.settings knows the groups {', '.join(GROUPS)}, but "
                         f"{', '.join(sorted(unknown))} came")
    return sorted(groups)


def _settings_calls(code: str) -> set[str]:
    """First arguments of calls of a method `settings`."""
    calls = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]
    return {ast.literal_eval(call.args[0]) for call in calls
            if getattr(call.func, "attr", None) == "settings" and call.args}


def code_cells(notebook: Notebook) -> list[str]:
    """Sources of the code cells, in order: what a step depends on; prose does not count."""
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]


def code_key(name: str) -> dict[str, str]:
    """Digest of a notebook's code cells and of the package modules they use."""
    cells = code_cells(read_notebook(name))
    return {"code_digest": digest(cells), "modules_digest": modules_digest("\n".join(cells))}


class Import(NamedTuple):
    """`from module import name`, or `import module` (name None)."""

    module: str
    name: str | None
    line: int

    def __str__(self) -> str:
        return f"from {self.module} import {self.name}" if self.name else f"import {self.module}"


@functools.cache
def _imports(code: str) -> tuple[Import, ...]:
    """All that a piece of code imports; the module of a relative import begins with dots.

    Known by its text: a run asks for every step and language, and parsing takes nearly all time.
    """
    imports = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            imports += [Import(module, alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.Import):
            imports += [Import(alias.name, None, node.lineno) for alias in node.names]
    return tuple(imports)


def _modules(code: str, where: str) -> Iterator[Path]:
    """Files of the package's modules that a piece of code imports.

    `from xinstruct_utils.core import files` is the module core/files.py; so is
    `from xinstruct_utils.core.files import digest`; `from xinstruct_utils.atlas import BASE_MODEL`
    is the package's own file. Raises InputError for one that is not there.
    """
    for item in _imports(code):
        place = f"{where}, line {item.line}"
        if item.module.startswith("."):
            raise InputError(f"{place}: a relative import; say from {PACKAGE.name}... import ...")
        if item.module.split(".")[0] == PACKAGE.name:
            yield _module_file(item, place)


def _module_file(item: Import, where: str) -> Path:
    """The file of an import. Raises InputError where there is none."""
    folder = PACKAGE.parent.joinpath(*item.module.split("."))
    places = [folder.with_suffix(".py")]
    if item.name:
        places = [folder / f"{item.name}.py", folder / item.name / "__init__.py", *places]
    for file in places:
        if file.is_file():
            return file
    own = folder / "__init__.py"
    if own.is_file() and (not item.name or item.name in _assigned(own.read_text("utf-8"))):
        return own
    raise InputError(f"{where}: `{item}` names no module of this package; a step's digest would "
                     "miss it: mend the import")


@functools.cache
def _assigned(code: str) -> set[str]:
    """Names that a module assigns at its top level."""
    assignments = [node for node in ast.parse(code).body if isinstance(node, ast.Assign)]
    targets = [target for node in assignments for target in node.targets]
    return {target.id for target in targets if isinstance(target, ast.Name)}


def used_modules(code: str) -> list[Path]:
    """Files of the package that a piece of code uses, directly or through each other.

    `DATA` files come with their modules. Left out are `UNCOUNTED` packages: how a step is started,
    noted and checked does not change what it computes. Raises InputError for an import that does
    not resolve.
    """
    used: set[Path] = set()
    unread = [(code, "this notebook")]
    while unread:
        text, where = unread.pop()
        for file in _modules(text, where):
            module = file.relative_to(PACKAGE).as_posix()
            if file in used or module.split("/")[0] in UNCOUNTED:
                continue
            used.add(file)
            unread.append((file.read_text(encoding="utf-8"), module))
            for other in ALSO.get(module, ()):
                unread.append((f"import {PACKAGE.name}.{other}", module))
            for pattern in DATA.get(module, ()):
                used.update(PACKAGE.glob(pattern))
    return sorted(used)


def modules_digest(code: str) -> str:
    """Digest of the package's source files that a piece of code uses."""
    return digest({str(file.relative_to(REPO)): file_hash(file) for file in used_modules(code)})

"""Notebook sources: their parameters, and what a step depends on, its code cells and the modules they use."""

import ast
import os
from pathlib import Path

from .artifacts import REPO, InputError, digest, file_hash, read_json

# What stands for a module in a step's digest: `launch` for what it runs in subprocesses, which no import statement shows;
# settings reach a step as its parameters; how a step is started, checked and shown as a page does not change what it computes.
STANDS_FOR = {"launch": ("train", "inference", "server"), "config": (), "notebooks": (), "run": (), "book": (), "account": ()}


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
                         "xinstruct_utils.config.Profile")
    if "cleaning" in names and "contamination" not in profile.cleaning:
        values["benchmarks"] = []                  # no other rule reads them there: naming some later makes no corpus anew
    return {n: (values | {"iteration": iteration})[n] for n in names}


def code_cells(notebook):
    """Sources of the code cells, in order: what a step depends on; prose does not count."""
    return ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code"]


def code_key(name):
    """Digest of a notebook's code cells and of the package modules they use."""
    cells = code_cells(read_notebook(name))
    return {"code_digest": digest(cells), "modules_digest": modules_digest("\n".join(cells))}


def _imported(code):
    """Names of the package's modules that a piece of code imports: "data", or "atlas.oracle" and the like."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").split(".")[0] == "xinstruct_utils"):
            base = (node.module or "").removeprefix("xinstruct_utils").strip(".")
            yield from ([base] if base and base != "atlas" else [f"{base}.{a.name}".strip(".") for a in node.names])
        elif isinstance(node, ast.Import):
            yield from (a.name.removeprefix("xinstruct_utils.") for a in node.names if a.name.startswith("xinstruct_utils."))


def used_modules(code):
    """Files of the package that a piece of code uses, directly or through each other.

    Data files count where they are read: sentences with the Atlas's pages, task files with the tasks, the parser's weights and
    figures, the base model's manifest.
    """
    package, found, todo = REPO / "xinstruct_utils", set(), [(code, "")]
    while todo:
        text, folder = todo.pop()
        for name in [m for n in _imported(text) for m in STANDS_FOR.get(n, (n,))]:
            places = [package / folder / f"{name.replace('.', '/')}.py", package / f"{name.replace('.', '/')}.py"]
            files = [next((p for p in places if p.exists()), package / "atlas" / "base_model" / "MANIFEST.json")]
            files += sorted({package / "atlas" / "pages.py": (package / "atlas" / "texts").glob("*.yaml"),
                             package / "syntax.py": (package / "parser").glob("*.[js]*"),   # json, safetensors
                             package / "tasks.py": (package / "task_files").iterdir()}.get(files[0], []))
            for file in files:
                if file.exists() and file not in found:
                    found.add(file)
                    if file.suffix == ".py":
                        todo.append((file.read_text(encoding="utf-8"), file.parent.relative_to(package)))
    return sorted(found)


def modules_digest(code):
    """Digest of the package's source files that a piece of code uses."""
    return digest({str(f.relative_to(REPO)): file_hash(f) for f in used_modules(code)})

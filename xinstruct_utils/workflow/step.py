"""Paths, atomic files, content ids, shards and manifests: what makes a step resumable (DESIGN section 2).

A step is done when its `manifest.json` is there; it is written last, by atomic rename.
"""

import os
import shutil
import time
from pathlib import Path

from xinstruct_utils.config.profile import MACHINE
from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import digest, file_hash, read_json, write_bytes, write_json
from xinstruct_utils.core.paths import root, step_dir
from xinstruct_utils.core.process import peak_rss
from xinstruct_utils.core.shards import check_counts
from xinstruct_utils.workflow.manifest import input_hash, write_manifest
from xinstruct_utils.workflow.notebooks import code_key, declared, read_notebook


class Step:
    """One execution of a notebook for a run and a language (and a round): its paths, inputs, counts and manifest."""

    def __init__(self, notebook, run, lang, iteration=None):
        self.notebook, self.run, self.lang, self.iteration = notebook, run, lang, iteration
        self.dir = step_dir(run, lang, notebook, iteration)
        if os.environ.get("XINSTRUCT_STEP", str(self.dir)) != str(self.dir):
            raise InputError(f"Step says {self.dir}, but this step is {os.environ['XINSTRUCT_STEP']}; give Step the "
                             "notebook's own name, run, lang (and iteration)")
        self.dir.mkdir(parents=True, exist_ok=True)
        import pandas as pd
        pd.set_option("display.html.use_mathjax", False)     # a dollar sign in somebody's text is no formula
        self.inputs, self.counts, self.begun, self.measured = {}, [], time.time(), {}

    def path(self, *parts):
        """A path in the step's folder."""
        return self.dir.joinpath(*parts)

    def keyed(self, name, values):
        """A folder of the step, emptied if other code, inputs or parameters (in `values`, globals()) made it: see its key."""
        given = {n: values[n] for n in declared(read_notebook(self.notebook)) if n not in MACHINE}
        key, note = digest([code_key(self.notebook), self.inputs, given]), self.path(f".{name}.key")
        if not note.exists() or note.read_text() != key:
            shutil.rmtree(self.path(name), ignore_errors=True)
        write_bytes(note, [key.encode()])        # each time, since `run` removes what no key was written for
        return self.path(name)

    def input(self, notebook, *parts, iteration=None, lang=None):
        """Path of an earlier step's file. Raises InputError where that step is not finished."""
        home = step_dir(self.run, lang or self.lang, notebook, iteration)
        if not (home / "manifest.json").exists():
            again = f"--iteration {iteration}" if iteration else ""
            raise InputError(f"{self.notebook} needs {'round ' + str(iteration) + ' of ' if iteration else ''}{notebook}, which "
                             f"is not finished: {home / 'manifest.json'} is missing; run first: python -m xinstruct_utils run "
                             f"{notebook} --run {self.run} --lang {lang or self.lang} {again}".rstrip())
        return self.source(home.joinpath(*parts))

    def source(self, path):
        """Note an outside file or folder as an input of this step (its hash goes into the manifest)."""
        if not Path(path).exists():
            raise InputError(f"{self.notebook}: expected the file {path}, but it is not there")
        self.inputs[os.path.relpath(path, root())] = input_hash(path)
        if os.environ.get("XINSTRUCT_STEP"):
            write_json(self.path("inputs.json"), self.inputs)    # a resumed step asks whether these are still the same
        return Path(path)

    def count(self, stage, rows_in, rows_out, dropped):
        """Account for rows: in = out + dropped by reason, or InputError. Returns a table to show."""
        if rows_in != rows_out + sum(dropped.values()):
            raise InputError(f"{self.notebook}, {stage}: {rows_in} rows in, but {rows_out} out and {dropped} dropped; "
                             "a row was lost or counted twice")
        counted = {"stage": stage, "in": rows_in, "out": rows_out, "dropped": dropped}
        self.counts = [*(c for c in self.counts if c["stage"] != stage), counted]
        import pandas as pd
        told = {"stage": stage, "in": rows_in, "out": rows_out} | {f"dropped: {k}": v for k, v in dropped.items()}
        return pd.DataFrame([told]).set_index("stage")

    def measure(self, **named):
        """Keep figures that come from the truth or from a clock (measures.json; not part of the data)."""
        self.measured |= named
        write_json(self.path("measures.json"), self.measured)

    def measures(self):
        """The figures measured so far, as a table."""
        import pandas as pd
        return pd.Series({k: v for k, v in self.measured.items() if not isinstance(v, dict | list)}, dtype=object,
                         name=self.lang).to_frame()

    def measures_of(self, notebook, iteration=None, lang=None):
        """The figures of an earlier step, {} where it measured nothing."""
        folder = self.input(notebook, "manifest.json", iteration=iteration, lang=lang).parent
        return read_json(self.source(folder / "measures.json")) if (folder / "measures.json").exists() else {}

    def finish(self, outputs):
        """Last cell of a notebook: hash the outputs, names or {name: rows that must be in it}; the manifest follows then."""
        if absent := [o for o in outputs if not self.path(o).exists()]:
            raise InputError(f"{self.notebook}: step.finish names {', '.join(absent)}, but there is no such file in {self.dir}")
        if isinstance(outputs, dict):
            check_counts({self.path(name): rows for name, rows in outputs.items()})
        facts = {"inputs": self.inputs, "outputs": {o: file_hash(self.path(o)) for o in outputs}, "counts": self.counts}
        write_json(self.path("finish.json"), facts | {"kernel_rss_mib": round(peak_rss())})
        if not os.environ.get("XINSTRUCT_STEP"):
            write_manifest(self.dir, facts | {"notebook": self.notebook, "run": self.run, "lang": self.lang,
                                              "iteration": self.iteration, "wall_s": round(time.time() - self.begun, 2)})
        print(f"finished: {', '.join(outputs)} in {os.path.relpath(self.dir, root().parent)}")

"""One execution of a notebook: its folder, inputs, settings, counts and manifest (DESIGN 2).

A step is done when its `manifest.json` is there; it is written last, by atomic rename.
"""

import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xinstruct_utils.config.profile import GROUPS, MACHINE
from xinstruct_utils.config.runs import load_run
from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import digest, known_hash, read_json, write_bytes, write_json
from xinstruct_utils.core.paths import hashes_dir, root, step_dir
from xinstruct_utils.core.process import peak_rss
from xinstruct_utils.core.shards import check_counts
from xinstruct_utils.workflow.manifest import input_hash, write_manifest
from xinstruct_utils.workflow.notebooks import code_key, declared, read_notebook

if TYPE_CHECKING:
    import pandas as pd


class Step:
    """A notebook at work for a run and a language (and a round).

    Under the verb (`python -m xinstruct_utils run`) it checks that it is the step that was asked
    for; by hand, in Jupyter, `finish` writes the manifest.
    """

    def __init__(self, notebook: str, run: str, lang: str, iteration: int | None = None):
        self.notebook = notebook
        self.run = run
        self.lang = lang
        self.iteration = iteration
        self.dir = step_dir(run, lang, notebook, iteration)
        begun = os.environ.get("XINSTRUCT_STEP", str(self.dir))
        if begun != str(self.dir):
            raise InputError(f"Step says {self.dir}, but this step is {begun}; give Step the "
                             "notebook's own name, run, lang (and iteration)")
        self.dir.mkdir(parents=True, exist_ok=True)
        self.inputs: dict[str, str] = {}
        self.groups: dict[str, dict] = {}
        self.counts: list[dict] = []
        self.measured: dict[str, Any] = {}
        self.begun = time.time()
        import pandas as pd

        pd.set_option("display.html.use_mathjax", False)   # a dollar sign in a text is no formula

    def path(self, *parts: str) -> Path:
        """A path in the step's folder."""
        return self.dir.joinpath(*parts)

    def settings(self, group: str, **changes: Any) -> dict[str, Any]:
        """The run's settings of a group ("training", "inference"), for a job.

        changes: this job's own. The whole group goes into the manifest, so that no setting reaches
        a job unseen. Raises InputError for an unknown group.
        """
        if group not in GROUPS:
            raise InputError(f"{self.notebook}: no group of settings {group!r}: expected one of "
                             f"{', '.join(GROUPS)}")
        self.groups[group] = load_run(self.run).group(group)
        return self.groups[group] | changes

    def keyed(self, name: str, values: dict[str, Any]) -> Path:
        """A folder of the step, emptied if other code, inputs or parameters made it: see its key.

        values: globals(), in which the parameters are.
        """
        names = declared(read_notebook(self.notebook))
        parameters = {name: values[name] for name in names if name not in MACHINE}
        key = digest([code_key(self.notebook), self.inputs, parameters])
        note = self.path(f".{name}.key")
        if not note.exists() or note.read_text() != key:
            shutil.rmtree(self.path(name), ignore_errors=True)
        write_bytes(note, [key.encode()])        # each time: the verb removes what has no new key
        return self.path(name)

    def input(self, notebook: str, *parts: str, iteration: int | None = None,
              lang: str | None = None) -> Path:
        """Path of an earlier step's file. Raises InputError where that step is not finished."""
        lang = lang or self.lang
        home = step_dir(self.run, lang, notebook, iteration)
        if not (home / "manifest.json").exists():
            which = f"round {iteration} of {notebook}" if iteration else notebook
            again = f" --iteration {iteration}" if iteration else ""
            command = f"run {notebook} --run {self.run} --lang {lang}{again}"
            raise InputError(f"{self.notebook} needs {which}, which is not finished: "
                             f"{home / 'manifest.json'} is missing; run first: "
                             f"python -m xinstruct_utils {command}")
        return self.source(home.joinpath(*parts))

    def source(self, path: Path | str) -> Path:
        """Note an outside file or folder as an input: its hash goes into the manifest."""
        if not Path(path).exists():
            raise InputError(f"{self.notebook}: expected the file {path}, but it is not there")
        self.inputs[os.path.relpath(path, root())] = input_hash(path, hashes_dir(self.run))
        if os.environ.get("XINSTRUCT_STEP"):     # a resumed step asks whether they are the same
            write_json(self.path("inputs.json"), self.inputs)
        return Path(path)

    def count(self, stage: str, rows_in: int, rows_out: int,
              dropped: dict[str, int]) -> "pd.DataFrame":
        """Account for rows: in = out + dropped by reason, or InputError. Returns a table."""
        import pandas as pd

        if rows_in != rows_out + sum(dropped.values()):
            raise InputError(f"{self.notebook}, {stage}: {rows_in} rows in, but {rows_out} out and "
                             f"{dropped} dropped; a row was lost or counted twice")
        row = {"stage": stage, "in": rows_in, "out": rows_out}
        others = [count for count in self.counts if count["stage"] != stage]
        self.counts = [*others, row | {"dropped": dropped}]
        row |= {f"dropped: {reason}": n for reason, n in dropped.items()}
        return pd.DataFrame([row]).set_index("stage")

    def measure(self, **figures: Any) -> None:
        """Keep figures that come from the truth or a clock (measures.json; no part of the data)."""
        self.measured |= figures
        write_json(self.path("measures.json"), self.measured)

    def measures(self) -> "pd.DataFrame":
        """The figures measured so far, as a table."""
        import pandas as pd

        numbers = {name: value for name, value in self.measured.items()
                   if not isinstance(value, dict | list)}
        return pd.Series(numbers, dtype=object, name=self.lang).to_frame()

    def measures_of(self, notebook: str, iteration: int | None = None,
                    lang: str | None = None) -> dict[str, Any]:
        """The figures of an earlier step, {} where it measured nothing."""
        folder = self.input(notebook, "manifest.json", iteration=iteration, lang=lang).parent
        if not (folder / "measures.json").exists():
            return {}
        return read_json(self.source(folder / "measures.json"))

    def finish(self, outputs: list[str] | dict[str, int]) -> None:
        """Last cell of a notebook: hash the outputs, names or {name: rows in it}.

        The manifest follows then. Raises InputError where one is not there, or has another number
        of rows.
        """
        if absent := [name for name in outputs if not self.path(name).exists()]:
            raise InputError(f"{self.notebook}: step.finish names {', '.join(absent)}, but there "
                             f"is no such file in {self.dir}")
        if isinstance(outputs, dict):
            check_counts({self.path(name): rows for name, rows in outputs.items()})
        hashes = {name: known_hash(self.path(name), hashes_dir(self.run)) for name in outputs}
        facts: dict[str, Any] = {"inputs": self.inputs, "outputs": hashes, "counts": self.counts,
                                 "settings": self.groups}
        write_json(self.path("finish.json"), facts | {"kernel_rss_mib": round(peak_rss())})
        if not os.environ.get("XINSTRUCT_STEP"):
            step = {"notebook": self.notebook, "run": self.run, "lang": self.lang,
                    "iteration": self.iteration, "wall_s": round(time.time() - self.begun, 2)}
            write_manifest(self.dir, facts | step)
        print(f"finished: {', '.join(outputs)} in {os.path.relpath(self.dir, root().parent)}")

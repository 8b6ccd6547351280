"""Paths, atomic files, content ids, shards and manifests: what makes a step resumable (DESIGN section 2).

A step is done when its `manifest.json` is there; it is written last, by atomic rename.
"""

import hashlib
import itertools
import json
import os
import re
import resource
import shutil
import sys
import time
from errno import EDQUOT, ENOSPC
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent


class InputError(Exception):
    """Bad input: says what was expected, what came, where (file and line), and what to do."""


def disk_full(error, where):
    """The InputError to raise in place of an OSError that says so, else None."""
    return None if getattr(error, "errno", None) not in (ENOSPC, EDQUOT) else InputError(
        f"the disk is full: no space was left for {where}; free some and run the same command again, finished steps are kept")


def root():
    """The folder of all runs: $XINSTRUCT_RUNS, or papermill_runs/ in the repository."""
    return Path(os.environ.get("XINSTRUCT_RUNS") or REPO / "papermill_runs").absolute()


def run_dir(run):
    """Folder of a run. Raises InputError for a name that is no plain folder name."""
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", run) or run == "published":
        raise InputError(f"a run needs a plain name of letters, digits, '_', '-' and '.', but {run!r} came (published/ is for "
                         "`make publish`)")
    return root() / run


def digest(obj):
    """SHA-256 (hex) of an object's canonical JSON."""
    return hashlib.sha256(json.dumps(obj, sort_keys=True, ensure_ascii=False, default=str).encode()).hexdigest()


def content_id(language, text):
    """The id of a text: 16 hex digits of the hash of language and text, the same wherever it stands."""
    return hashlib.sha256(f"{language}\n{text}".encode()).hexdigest()[:16]


def file_hash(path):
    """SHA-256 (hex) of a file, or of a folder's sorted file names and contents."""
    path, made = Path(path), hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]:
        made.update(str(file.relative_to(path)).encode() if path.is_dir() else b"")
        with open(file, "rb") as stream:
            hashlib.file_digest(stream, lambda: made)
    return made.hexdigest()


def write_bytes(path, chunks):
    """Write a file whole or not at all: temporary file, fsync, rename. A full disk raises InputError."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    try:
        with open(draft, "wb") as stream:
            for chunk in chunks:
                stream.write(chunk)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(draft, path)
    except BaseException as error:
        draft.unlink(missing_ok=True)
        raise disk_full(error, path) or error  # noqa: B904 (the cause is told as context)


def write_json(path, obj):
    """Write an object as JSON, atomically."""
    write_bytes(path, [(json.dumps(obj, ensure_ascii=False, indent=1) + "\n").encode()])


def read_json(path):
    """Read a JSON file."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


def write_jsonl(path, rows):
    """Write rows as JSON lines, atomically; text is kept as it is (UTF-8, no normalisation)."""
    write_bytes(path, ((json.dumps(row, ensure_ascii=False) + "\n").encode() for row in rows))


def read_jsonl(path):
    """Yield the rows of a JSONL file that the pipeline wrote itself (`data.read_rows` checks a user's files)."""
    with open(path, encoding="utf-8", newline="\n") as stream:
        for line in stream:
            yield json.loads(line)


def paper_numbers():
    """The paper's figures that the notebooks quote, each with its table."""
    return read_json(Path(__file__).with_name("paper.json"))


class Shards:
    """A list of rows in files of `size` rows each (`shard-00000.jsonl`, ...), written chunk by chunk.

    A chunk's file depends on the chunk only, so a run that was killed goes on where it stopped, to the same bytes.
    """

    def __init__(self, folder, size):
        self.folder, self.size = Path(folder), size

    def file(self, index):
        """Path of a shard."""
        return self.folder / f"shard-{index:05d}.jsonl"

    def pending(self, rows):
        """Yield (index, chunk) of the chunks that have no file yet. Rows may be an iterator: one chunk is in memory."""
        rows = iter(rows)
        for index in itertools.count():
            if not (chunk := list(itertools.islice(rows, self.size))):
                return
            if not self.file(index).exists():
                yield index, chunk

    def write(self, index, rows):
        """Write one shard, atomically."""
        write_jsonl(self.file(index), rows)

    def stream(self, rows):
        """Write an iterator of rows, shard by shard; shards that are there stay."""
        for index, chunk in self.pending(rows):
            self.write(index, chunk)

    def read(self):
        """Yield the rows of all shards, in order."""
        for file in sorted(self.folder.glob("shard-*.jsonl")):
            yield from read_jsonl(file)


def step_dir(run, lang, notebook, iteration=None):
    """Folder of a step: <run>/<lang>/<notebook>[/iter<k>]."""
    return run_dir(run) / lang / notebook / (f"iter{iteration}" if iteration else "")


def input_hash(path):
    """Hash of an input. Of a manifest only what it says about rows counts, so that clocks in it rerun nothing."""
    if Path(path).name == "manifest.json":
        return digest([read_json(path).get(k) for k in ("outputs", "counts")])
    return file_hash(path)


class Step:
    """One execution of a notebook for a run and a language (and a round): its paths, inputs, counts and manifest."""

    def __init__(self, notebook, run, lang, iteration=None):
        self.notebook, self.run, self.lang, self.iteration = notebook, run, lang, iteration
        self.dir = step_dir(run, lang, notebook, iteration)
        if os.environ.get("XINSTRUCT_STEP", str(self.dir)) != str(self.dir):
            raise InputError(f"artifacts.Step says {self.dir}, but this step is {os.environ['XINSTRUCT_STEP']}; give Step the "
                             "notebook's own name, run, lang (and iteration)")
        self.dir.mkdir(parents=True, exist_ok=True)
        self.inputs, self.counts, self.begun, self.measured = {}, [], time.time(), {}

    def path(self, *parts):
        """A path in the step's folder."""
        return self.dir.joinpath(*parts)

    def keyed(self, name, values):
        """A folder of the step, emptied if other code, inputs or parameters (in `values`, globals()) made it: see its key."""
        from .config import MACHINE
        from .notebooks import code_key, declared, read_notebook

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
                             f"is not finished: {home / 'manifest.json'} is missing; run first: python -m xinstruct_utils.run "
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
            from .account import check
            check({self.path(name): rows for name, rows in outputs.items()})
        facts = {"inputs": self.inputs, "outputs": {o: file_hash(self.path(o)) for o in outputs}, "counts": self.counts}
        write_json(self.path("finish.json"), facts | {"kernel_rss_mib": round(peak_rss())})
        if not os.environ.get("XINSTRUCT_STEP"):
            from .run import write_manifest

            write_manifest(self.dir, facts | {"notebook": self.notebook, "run": self.run, "lang": self.lang,
                                              "iteration": self.iteration, "wall_s": round(time.time() - self.begun, 2)})
        print(f"finished: {', '.join(outputs)} in {os.path.relpath(self.dir, root().parent)}")


def peak_rss():
    """Largest resident memory of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "linux" else 2**20)

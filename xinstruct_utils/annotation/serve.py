"""The annotators' page: a chapter's form behind a token, on loopback unless told otherwise (Voila).

    python -m xinstruct_utils annotate serve  quality    --run R --lang L [--host H --port P]
    python -m xinstruct_utils annotate export preference --run R --lang L --file tasks.json
    python -m xinstruct_utils annotate import preference --run R --lang L --file tasks.json

`make annotate` calls the first.
"""

import argparse
import json
import os
import secrets
import socket
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from xinstruct_utils.annotation import label_studio, store
from xinstruct_utils.config.runs import load_run
from xinstruct_utils.core import languages
from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.paths import REPO, root, run_dir, step_dir
from xinstruct_utils.workflow import notebooks
from xinstruct_utils.workflow.chapters import FORMS

if TYPE_CHECKING:
    from nbformat import NotebookNode

CHAPTERS = FORMS


def page(name: str, run: str, lang: str) -> "NotebookNode":
    """The notebook that is served.

    It has the chapter's parameters with the run's values, its cells tagged "form", and forms.js.
    Raises InputError where the chapter has not run yet.
    """
    import nbformat

    chapter = CHAPTERS[name]
    manifest = step_dir(run, lang, chapter) / "manifest.json"
    if not manifest.exists():
        raise InputError(f"there is nothing to label yet: {manifest} is missing; run first: "
                         f"python -m xinstruct_utils run {chapter} --run {run} --lang {lang}")
    notebook = nbformat.reads(json.dumps(notebooks.read_notebook(chapter)), as_version=4)
    values = notebooks.parameters_of(chapter, load_run(run), run, lang, None)
    given = "\n".join(f"{key} = {value!r}" for key, value in values.items())
    kept = [cell for cell in notebook.cells
            if cell.cell_type == "code" and "form" in cell.metadata.get("tags", [])]
    script = str(Path(__file__).with_name("forms.js"))
    watch = f"from IPython.display import Javascript\n\nJavascript(filename={script!r})"
    cells = [nbformat.v4.new_code_cell(given), *kept, nbformat.v4.new_code_cell(watch)]
    metadata = {"kernelspec": notebook.metadata.kernelspec, "title": "Form"}
    return nbformat.v4.new_notebook(cells=cells, metadata=metadata)


def token(run: str) -> str:
    """The secret in the annotators' links.

    It is made once for a run and kept in a file that only its owner can read.
    """
    path = run_dir(run) / "labels" / ".token"
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            stream.write(secrets.token_urlsafe(24))
    return path.read_text()


def _settings(host: str, port: int, secret: str, folder: str) -> dict:
    """Voila's settings: its kernels' files go to `folder`, and nothing from elsewhere is loaded."""
    own = "'self' 'unsafe-inline' 'unsafe-eval' data: blob:"
    headers = {"Content-Security-Policy": f"default-src {own}; frame-ancestors 'self'",
               "Referrer-Policy": "no-referrer"}
    return {
        "Voila": {"ip": host, "port": port, "port_retries": 0, "open_browser": False,
                  "token": secret, "log_level": "ERROR", "connection_dir_root": folder,
                  "tornado_settings": {"headers": headers}},
        "VoilaConfiguration": {"strip_sources": True, "show_tracebacks": False,
                               "file_allowlist": [], "allow_template_override": "NO",
                               "allow_theme_override": "NO"},
        "KernelManager": {"transport": "ipc"},
        "MappingKernelManager": {"cull_idle_timeout": 3600, "cull_interval": 300},
    }


def _prepare_environment() -> None:
    """What the pages' kernels need to find, and no sign of a step."""
    places = os.pathsep.join([str(REPO), os.environ.get("PYTHONPATH", "")])
    os.environ["PYTHONPATH"] = places.rstrip(os.pathsep)
    os.environ["XINSTRUCT_RUNS"] = str(root())
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"
    os.environ.pop("XINSTRUCT_STEP", None)


def serve(name: str, run: str, lang: str, host: str = "127.0.0.1", port: int = 8866) -> None:
    """Serve a form with Voila until it is stopped.

    Every page has a kernel of its own, and all share the store.
    """
    import nbformat
    from traitlets.config import Config
    from voila.app import Voila

    notebook = page(name, run, lang)
    secret = token(run)
    _prepare_environment()
    shown_host = socket.gethostname() if host in ("", "0.0.0.0", "::") else host
    with tempfile.TemporaryDirectory(prefix="xi-") as folder:
        path = Path(folder) / "form.ipynb"
        nbformat.write(notebook, path)
        print("Give each annotator a link with a name of their own:\n"
              f"  http://{shown_host}:{port}/?token={secret}&name=NAME\n"
              f"Labels go to {run_dir(run) / 'labels' / lang}. Stop with Ctrl-C; the links hold "
              "when it starts again.", flush=True)
        Voila.launch_instance([str(path)], config=Config(_settings(host, port, secret, folder)))


def arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `annotate`."""
    parser.add_argument("verb", choices=("serve", "export", "import"))
    parser.add_argument("form", choices=CHAPTERS)
    parser.add_argument("--run", required=True, help="name of the run under papermill_runs/")
    parser.add_argument("--lang", required=True, help="ISO 639-1 code")
    parser.add_argument("--file", help="Label Studio tasks (JSON) to write or to read")
    parser.add_argument("--host", default="127.0.0.1",
                        help="address to listen on; without it this machine only")
    parser.add_argument("--port", type=int, default=8866)


def command(args: argparse.Namespace) -> None:
    """Serve a form, or exchange its labels with Label Studio."""
    if args.verb == "serve":
        serve(args.form, args.run, languages.get(args.lang).code, args.host, args.port)
        return
    if not args.file:
        raise InputError(f"{args.verb} needs --file")
    labels = store.Store.of(args.run, args.lang, args.form)
    if args.verb == "export":
        label_studio.write(args.form, labels, args.file)
    else:
        count = label_studio.read(args.form, labels, args.file)
        print(f"{count} labels read from {args.file}")

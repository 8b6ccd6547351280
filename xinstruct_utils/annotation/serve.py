"""The annotators' page: a chapter's form cells behind a token, on loopback unless told otherwise (Voila)."""

import json
import os
import secrets
import socket
import tempfile
from pathlib import Path

from xinstruct_utils.annotation import label_studio, store
from xinstruct_utils.config.runs import load_run
from xinstruct_utils.core import languages
from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.paths import REPO, root, run_dir, step_dir
from xinstruct_utils.workflow import notebooks
from xinstruct_utils.workflow.chapters import FORMS

CHAPTERS = FORMS


def page(name, run, lang):
    """The notebook that is served: the chapter's parameters, with the run's values, its cells tagged "form", and forms.js."""
    import nbformat

    chapter = CHAPTERS[name]
    home = step_dir(run, lang, chapter)
    if not (home / "manifest.json").exists():
        raise InputError(f"there is nothing to label yet: {home / 'manifest.json'} is missing; run first: python -m "
                         f"xinstruct_utils run {chapter} --run {run} --lang {lang}")
    notebook = nbformat.reads(json.dumps(notebooks.read_notebook(chapter)), as_version=4)
    values = notebooks.parameters_of(chapter, load_run(run), run, lang, None)
    given = nbformat.v4.new_code_cell("\n".join(f"{key} = {value!r}" for key, value in values.items()))
    kept = [c for c in notebook.cells if c.cell_type == "code" and "form" in c.metadata.get("tags", [])]
    script = Path(__file__).with_name("forms.js")
    watch = nbformat.v4.new_code_cell(f"from IPython.display import Javascript\n\nJavascript(filename={str(script)!r})")
    return nbformat.v4.new_notebook(cells=[given, *kept, watch],
                                    metadata={"kernelspec": notebook.metadata.kernelspec, "title": "Form"})


def token(run):
    """The secret in the annotators' links: made once for a run and kept in a file that only its owner can read."""
    path = run_dir(run) / "labels" / ".token"
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            stream.write(secrets.token_urlsafe(24))
    return path.read_text()


def serve(name, run, lang, host="127.0.0.1", port=8866):
    """Serve a form with Voila until it is stopped; every page has a kernel of its own, and all share the store."""
    import nbformat
    from traitlets.config import Config
    from voila.app import Voila

    made, secret, own = page(name, run, lang), token(run), "'self' 'unsafe-inline' 'unsafe-eval' data: blob:"
    os.environ |= {"PYTHONPATH": os.pathsep.join([str(REPO), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep),
                   "XINSTRUCT_RUNS": str(root()), "JUPYTER_PREFER_ENV_PATH": "1"}
    os.environ.pop("XINSTRUCT_STEP", None)
    headers = {"Content-Security-Policy": f"default-src {own}; frame-ancestors 'self'", "Referrer-Policy": "no-referrer"}
    settings = {"Voila": {"ip": host, "port": port, "port_retries": 0, "open_browser": False, "token": secret,
                          "log_level": "ERROR", "tornado_settings": {"headers": headers}},
                "VoilaConfiguration": {"strip_sources": True, "show_tracebacks": False, "file_allowlist": [],
                                       "allow_template_override": "NO", "allow_theme_override": "NO"},
                "KernelManager": {"transport": "ipc"}, "MappingKernelManager": {"cull_idle_timeout": 3600, "cull_interval": 300}}
    with tempfile.TemporaryDirectory(prefix="xi-") as folder:
        nbformat.write(made, Path(folder) / "form.ipynb")
        settings["Voila"]["connection_dir_root"] = folder
        print("Give each annotator a link with a name of their own:\n"
              f"  http://{socket.gethostname() if host in ('', '0.0.0.0', '::') else host}:{port}/?token={secret}&name=NAME\n"
              f"Labels go to {run_dir(run) / 'labels' / lang}. Stop with Ctrl-C; the links hold when it starts again.",
              flush=True)
        Voila.launch_instance([str(Path(folder) / "form.ipynb")], config=Config(settings))


def arguments(parser):
    """Arguments of `annotate`."""
    parser.add_argument("verb", choices=("serve", "export", "import"))
    parser.add_argument("form", choices=CHAPTERS)
    parser.add_argument("--run", required=True, help="name of the run under papermill_runs/")
    parser.add_argument("--lang", required=True, help="ISO 639-1 code")
    parser.add_argument("--file", help="Label Studio tasks (JSON) to write or to read")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; without it this machine only")
    parser.add_argument("--port", type=int, default=8866)


def command(args):
    """Serve a form, or exchange its labels with Label Studio."""
    if args.verb != "serve" and not args.file:
        raise InputError(f"{args.verb} needs --file")
    if args.verb == "serve":
        serve(args.form, args.run, languages.get(args.lang).code, args.host, args.port)
        return
    labels = store.Store.of(args.run, args.lang, args.form)
    if args.verb == "export":
        label_studio.write(args.form, labels, args.file)
    else:
        print(f"{label_studio.read(args.form, labels, args.file)} labels read from {args.file}")

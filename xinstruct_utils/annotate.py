"""The two annotation forms (paper 4.4 and 5.3, Figures 11 and 12), served to annotators, and Label Studio's JSON.

    python -m xinstruct_utils.annotate serve  quality    --run R --lang L [--host H --port P]    (make annotate)
    python -m xinstruct_utils.annotate export preference --run R --lang L --file tasks.json
    python -m xinstruct_utils.annotate import preference --run R --lang L --file tasks.json

Text is hostile and is only shown escaped. What a choice means stays in the kernel: no model's name reaches the page.
"""

import argparse
import html
import json
import os
import secrets
import socket
import sqlite3
import sys
import tempfile
import time
import unicodedata
from pathlib import Path
from urllib.parse import parse_qs

from . import artifacts, config, label_studio, labels, languages, notebooks
from .artifacts import REPO, InputError

CHAPTERS = {"quality": "07_quality_review", "preference": "11_human_evaluation"}


def shown(title, text, lang):
    """HTML of a heading and a text: all escaped, what turns text round or hides it spelled out, in its own direction."""
    text = text.encode("utf-8", "replace").decode().replace("\r\n", "\n")
    kinds = [unicodedata.bidirectional(c) for c in text]
    native = lang in languages.LANGUAGES and languages.get(lang).direction == "rtl"
    right = sum(k in ("R", "AL") for k in kinds)
    rtl = right and kinds.count("L") <= (3 if native else 1) * right     # Latin names or a bit of code turn no Urdu round
    body = labels.UNSEEN.sub(lambda m: f'<span class="xi-mark">U+{ord(m[0]):04X}</span>', html.escape(text))
    return f'<h4>{html.escape(title)}</h4><div class="xi-text" lang="{lang}" dir="{"rtl" if rtl else "ltr"}">{body}</div>'


def texts(item, models):
    """HTML of an item as its form shows it; `models` are those behind A and B, whose names stay out of it."""
    name = languages.get(item["lang"]).name
    parts = [shown("English instruction", item["instruction"], "en")]
    if models:
        parts += [shown(f"{name} instruction", item["translation"], item["lang"])] if item["translation"] else [
            f"<p>(There is no {name} translation of this instruction.)</p>"]
        parts += [shown(f"Answer {k}", item["answers"][m], item["lang"]) for k, m in zip("AB", models, strict=True)]
        parts += [shown(f"Answer {k} (translated)", item["answer_translations"][m], "en")
                  for k, m in zip("AB", models, strict=True) if m in item.get("answer_translations", {})]
    else:
        parts += [shown(f"{name} text", item["text"], item["lang"])]
        parts += [shown("English text (translated)", item["translation"], "en")] if item["translation"] else []
    return "".join(parts)


class Form:
    """A form as widgets: a name, then one item after the other. A label is on the disk before the next item shows."""

    def __init__(self, name, store, items, seed, wanted):
        import ipywidgets as w

        self.words, self.store, self.items, self.seed, self.wanted = labels.form(name), store, items, seed, wanted
        self.annotator, self.queue, self.at, self.begun = None, [], 0, 0.0
        self.head, self.body, self.note = w.HTML(), w.HTML(), w.HTML()
        self.who = w.Text(placeholder="your name")
        self.choices = {key: w.RadioButtons(options=[(text, value) for value, text in q["choices"].items()], value=None)
                        for key, q in self.words["questions"].items()}
        self.feedback = w.Textarea(rows=2)
        self.start, self.back, self.save = (w.Button(description=text) for text in ("Start", "Back", "Save and go on"))
        self.save.button_style = self.start.button_style = "primary"
        for button, act in ((self.start, self.open), (self.back, self.go_back), (self.save, self.go_on)):
            button.on_click(act)
        asked = [part for key, q in self.words["questions"].items()
                 for part in (w.HTML(f'<h4>{html.escape(q["words"])}</h4>'), self.choices[key])]
        self.login = w.VBox([w.HTML("<h4>Your name (the same one every time)</h4>"), self.who, self.start])
        self.answers = w.VBox([*asked, w.HTML(f'<h4>{html.escape(self.words["feedback"])}</h4>'), self.feedback])
        self.buttons = w.HBox([self.back, self.save])
        attention = f'<style>{self.words["css"]}</style><p><b>ATTENTION:</b> {html.escape(self.words["attention"])}</p>'
        self.widget = w.VBox([w.HTML(attention), self.login, self.head, self.body, self.answers, self.note, self.buttons])
        self.widget.add_class("xi")
        self.show()

    def open(self, _=None):
        """Begin, or go on where this annotator stopped; items that have enough labels of others are left out."""
        try:
            self.annotator = labels.person(self.who.value)
        except InputError as error:
            return self.tell(str(error))
        current, others = self.store.current(), {}
        for label in (r for r in current if r["annotator"] != self.annotator):
            others[label["item"]] = others.get(label["item"], 0) + 1
        mine = {r["item"] for r in current if r["annotator"] == self.annotator}
        self.queue = [item for item in labels.order(self.items, self.annotator, self.seed)
                      if item["id"] in mine or others.get(item["id"], 0) < self.wanted]
        self.at = next((k for k, item in enumerate(self.queue) if item["id"] not in mine), len(self.queue))
        self.show()

    def tell(self, text):
        """Say something above the buttons."""
        self.note.value = f'<div class="xi-note" role="status">{html.escape(text)}</div>'

    def show(self):
        """Show the item at hand with the label it has, or the name field, or thanks."""
        item = self.queue[self.at] if self.annotator and self.at < len(self.queue) else None
        for widget, seen in ((self.login, not self.annotator), (self.answers, item), (self.save, item),
                             (self.buttons, self.annotator and self.queue)):
            widget.layout.display = None if seen else "none"
        self.back.disabled = not self.at
        self.tell("")
        self.body.value = texts(item, labels.sides(item, self.annotator, self.seed)) if item else ""
        if not self.annotator:
            return
        mine = {r["item"]: r for r in self.store.current() if r["annotator"] == self.annotator}
        done = sum(i["id"] in mine for i in self.queue)
        place = f"Item {self.at + 1} of {len(self.queue)}" if item else f"Thank you: all {len(self.queue)} items have a label"
        self.head.value = f"<p><b>{place}</b>, {done} stored for {html.escape(self.annotator)}.</p>"
        old = mine.get(item["id"]) if item else None
        for key, radio in self.choices.items():
            radio.value = old["answers"][key] if old else None
        self.feedback.value, self.begun = old["feedback"] if old else "", time.monotonic()

    def go_back(self, _=None):
        """To the item before: its label can be corrected, and the earlier one stays in the history."""
        self.at = max(0, self.at - 1)
        self.show()

    def go_on(self, _=None):
        """Store the label, then show the next item; without an answer, or on a full disk, stay and say so."""
        answers, item = {key: radio.value for key, radio in self.choices.items()}, self.queue[self.at]
        if None in answers.values():
            return self.tell("Please answer every question; the feedback may stay empty.")
        try:
            self.store.add({"item": item["id"], "annotator": self.annotator, "answers": answers, "feedback": self.feedback.value,
                            "shown": labels.sides(item, self.annotator, self.seed),
                            "seconds": round(time.monotonic() - self.begun, 1)})
        except (sqlite3.Error, OSError, InputError) as error:
            return self.tell(f"NOT stored ({error}). Please try again.")
        self.at += 1
        self.show()


def form(name, store, items, lang, seed, wanted):
    """The form as a widget for JupyterLab or Voila; under `run`, which waits for nobody, the command that serves it.

    items: of `labels`; wanted: labels by different people that an item should get.
    """
    from IPython.display import Markdown

    if os.environ.get("XINSTRUCT_STEP"):
        return Markdown(f"The form is served by `make annotate FORM={name} LANG={lang}`, or opens here when this notebook is run "
                        "cell by cell.")
    store.put(items)
    made = Form(name, store, items, seed, wanted)
    asked = parse_qs(os.environ.get("QUERY_STRING", "")).get("name") if os.environ.get("VOILA_REQUEST_URL") else None
    if asked:    # a link of one's own: closing the tab and opening the link again goes on
        made.who.value = asked[0]
        made.open()
    return made.widget


def page(name, run, lang):
    """The notebook that is served: the chapter's parameters, with the run's values, its cells tagged "form", and forms.js."""
    import nbformat

    chapter = CHAPTERS[name]
    home = artifacts.step_dir(run, lang, chapter)
    if not (home / "manifest.json").exists():
        raise InputError(f"there is nothing to label yet: {home / 'manifest.json'} is missing; run first: python -m "
                         f"xinstruct_utils.run {chapter} --run {run} --lang {lang}")
    notebook = nbformat.reads(json.dumps(notebooks.read_notebook(chapter)), as_version=4)
    values = notebooks.parameters_of(chapter, config.load_run(run), run, lang, None)
    given = nbformat.v4.new_code_cell("\n".join(f"{key} = {value!r}" for key, value in values.items()))
    kept = [c for c in notebook.cells if c.cell_type == "code" and "form" in c.metadata.get("tags", [])]
    script = Path(__file__).with_name("forms.js")
    watch = nbformat.v4.new_code_cell(f"from IPython.display import Javascript\n\nJavascript(filename={str(script)!r})")
    return nbformat.v4.new_notebook(cells=[given, *kept, watch],
                                    metadata={"kernelspec": notebook.metadata.kernelspec, "title": "Form"})


def token(run):
    """The secret in the annotators' links: made once for a run and kept in a file that only its owner can read."""
    path = artifacts.run_dir(run) / "labels" / ".token"
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
                   "XINSTRUCT_RUNS": str(artifacts.root()), "JUPYTER_PREFER_ENV_PATH": "1"}
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
              f"Labels go to {artifacts.run_dir(run) / 'labels' / lang}. Stop with Ctrl-C; the links hold when it starts again.",
              flush=True)
        Voila.launch_instance([str(Path(folder) / "form.ipynb")], config=Config(settings))


def main(argv=None):
    """Command line; exit code 2 for bad input."""
    parser = argparse.ArgumentParser(prog="python -m xinstruct_utils.annotate", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=("serve", "export", "import"))
    parser.add_argument("form", choices=CHAPTERS)
    parser.add_argument("--run", required=True, help="name of the run under papermill_runs/")
    parser.add_argument("--lang", required=True, help="ISO 639-1 code")
    parser.add_argument("--file", help="Label Studio tasks (JSON) to write or to read")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; without it this machine only")
    parser.add_argument("--port", type=int, default=8866)
    args = parser.parse_args(argv)
    try:
        if args.verb != "serve" and not args.file:
            raise InputError(f"{args.verb} needs --file")
        if args.verb == "serve":
            serve(args.form, args.run, languages.get(args.lang).code, args.host, args.port)
        elif args.verb == "export":
            label_studio.write(args.form, labels.Store.of(args.run, args.lang, args.form), args.file)
        else:
            n = label_studio.read(args.form, labels.Store.of(args.run, args.lang, args.form), args.file)
            print(f"{n} labels read from {args.file}")
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

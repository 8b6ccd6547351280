"""The two annotation forms (paper 4.4 and 5.3, Figures 11 and 12), served to annotators, and Label Studio's JSON.

    python -m xinstruct_utils annotate serve  quality    --run R --lang L [--host H --port P]    (make annotate)
    python -m xinstruct_utils annotate export preference --run R --lang L --file tasks.json
    python -m xinstruct_utils annotate import preference --run R --lang L --file tasks.json

Text is hostile and is only shown escaped. What a choice means stays in the kernel: no model's name reaches the page.
"""

import html
import os
import sqlite3
import time
import unicodedata
from urllib.parse import parse_qs

from xinstruct_utils.annotation import store
from xinstruct_utils.annotation import store as label_store
from xinstruct_utils.core import languages
from xinstruct_utils.core.errors import InputError


def shown(title, text, lang):
    """HTML of a heading and a text: all escaped, what turns text round or hides it spelled out, in its own direction."""
    text = text.encode("utf-8", "replace").decode().replace("\r\n", "\n")
    kinds = [unicodedata.bidirectional(c) for c in text]
    native = lang in languages.LANGUAGES and languages.get(lang).direction == "rtl"
    right = sum(k in ("R", "AL") for k in kinds)
    rtl = right and kinds.count("L") <= (3 if native else 1) * right     # Latin names or a bit of code turn no Urdu round
    body = store.UNSEEN.sub(lambda m: f'<span class="xi-mark">U+{ord(m[0]):04X}</span>', html.escape(text))
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

        self.words, self.store, self.items, self.seed, self.wanted = label_store.form(name), store, items, seed, wanted
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
            self.annotator = label_store.person(self.who.value)
        except InputError as error:
            return self.tell(str(error))
        current, others = self.store.current(), {}
        for label in (r for r in current if r["annotator"] != self.annotator):
            others[label["item"]] = others.get(label["item"], 0) + 1
        mine = {r["item"] for r in current if r["annotator"] == self.annotator}
        self.queue = [item for item in label_store.order(self.items, self.annotator, self.seed)
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
        self.body.value = texts(item, label_store.sides(item, self.annotator, self.seed)) if item else ""
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
                            "shown": label_store.sides(item, self.annotator, self.seed),
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


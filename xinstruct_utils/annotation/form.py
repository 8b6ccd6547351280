"""The two annotation forms (paper 4.4 and 5.3, Figures 11 and 12) as widgets; `serve` shows them.

Text is hostile and is only shown escaped. What a choice means stays in the kernel: no model's name
reaches the page.
"""

import os
import re
import sqlite3
import time
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from xinstruct_utils.annotation import store as label_store
from xinstruct_utils.annotation.store import Item, Store
from xinstruct_utils.core import languages
from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.markup import UNSEEN, escaped, is_right_to_left, letters_by_direction

if TYPE_CHECKING:
    from IPython.display import Markdown
    from ipywidgets import Widget


def _spelled(mark: re.Match) -> str:
    """A character that hides or turns round, as its code point."""
    return f'<span class="xi-mark">U+{ord(mark[0]):04X}</span>'


def shown(title: str, text: str, lang: str) -> str:
    """HTML of a heading and a text, in the text's own direction.

    All is escaped, and what turns text round or hides it is spelled out.
    """
    text = text.encode("utf-8", "replace").decode().replace("\r\n", "\n")
    right, left = letters_by_direction(text)
    # Latin names or a bit of code turn no Urdu round.
    allowed = (3 if is_right_to_left(lang) else 1) * right
    direction = "rtl" if right and left <= allowed else "ltr"
    body = UNSEEN.sub(_spelled, escaped(text))
    return (f"<h4>{escaped(title)}</h4>"
            f'<div class="xi-text" lang="{lang}" dir="{direction}">{body}</div>')


def texts(item: Item, models: list[str]) -> str:
    """HTML of an item as its form shows it.

    models: those behind A and B, whose names stay out of it; none in the quality review.
    """
    parts = [shown("English instruction", item["instruction"], "en")]
    parts += _comparison(item, models) if models else _review(item)
    return "".join(parts)


def _review(item: Item) -> list[str]:
    """A native text, and its translation where there is one."""
    parts = [shown(f"{languages.get(item['lang']).name} text", item["text"], item["lang"])]
    if item["translation"]:
        parts.append(shown("English text (translated)", item["translation"], "en"))
    return parts


def _comparison(item: Item, models: list[str]) -> list[str]:
    """The instruction in the language, two answers, and their translations where there are any."""
    name, lang = languages.get(item["lang"]).name, item["lang"]
    if item["translation"]:
        parts = [shown(f"{name} instruction", item["translation"], lang)]
    else:
        parts = [f"<p>(There is no {name} translation of this instruction.)</p>"]
    translated = item.get("answer_translations", {})
    lettered = list(zip("AB", models, strict=True))
    parts += [shown(f"Answer {k}", item["answers"][m], lang) for k, m in lettered]
    parts += [shown(f"Answer {k} (translated)", translated[m], "en")
              for k, m in lettered if m in translated]
    return parts


class Form:
    """A form as widgets: a name, then one item after the other.

    A label is on the disk before the next item shows.
    """

    def __init__(self, name: str, store: Store, items: list[Item], seed: int, wanted: int) -> None:
        self.words = label_store.form(name)
        self.store = store
        self.items = items
        self.seed = seed
        self.wanted = wanted
        self.annotator: str | None = None
        self.queue: list[Item] = []
        self.at = 0
        self.begun = 0.0
        self._make_fields()
        self._lay_out()
        self.show()

    def _make_fields(self) -> None:
        """What is typed, chosen and pressed, and the places where something is said."""
        import ipywidgets as w

        self.head = w.HTML()
        self.body = w.HTML()
        self.note = w.HTML()
        self.who = w.Text(placeholder="your name")
        self.choices = {}
        for key, question in self.words["questions"].items():
            options = [(text, value) for value, text in question["choices"].items()]
            self.choices[key] = w.RadioButtons(options=options, value=None)
        self.feedback = w.Textarea(rows=2)
        self.start = w.Button(description="Start", button_style="primary")
        self.back = w.Button(description="Back")
        self.save = w.Button(description="Save and go on", button_style="primary")
        self.start.on_click(self.open)
        self.back.on_click(self.go_back)
        self.save.on_click(self.go_on)

    def _lay_out(self) -> None:
        """Put the fields on the page, from the top."""
        import ipywidgets as w

        name_wanted = w.HTML("<h4>Your name (the same one every time)</h4>")
        self.login = w.VBox([name_wanted, self.who, self.start])
        questions = []
        for key, question in self.words["questions"].items():
            questions += [w.HTML(f"<h4>{escaped(question['words'])}</h4>"), self.choices[key]]
        feedback_wanted = w.HTML(f"<h4>{escaped(self.words['feedback'])}</h4>")
        self.answers = w.VBox([*questions, feedback_wanted, self.feedback])
        self.buttons = w.HBox([self.back, self.save])
        attention = w.HTML(f"<style>{self.words['css']}</style>"
                           f"<p><b>ATTENTION:</b> {escaped(self.words['attention'])}</p>")
        self.widget = w.VBox([attention, self.login, self.head, self.body, self.answers,
                              self.note, self.buttons])
        self.widget.add_class("xi")

    def open(self, _: object = None) -> None:
        """Begin, or go on where this annotator stopped.

        Items that have enough labels of others are left out.
        """
        try:
            self.annotator = label_store.person(self.who.value)
        except InputError as error:
            return self.tell(str(error))
        mine, others = set(), {}
        for label in self.store.current():
            if label["annotator"] == self.annotator:
                mine.add(label["item"])
            else:
                others[label["item"]] = others.get(label["item"], 0) + 1
        self.queue = [item for item in label_store.order(self.items, self.annotator, self.seed)
                      if item["id"] in mine or others.get(item["id"], 0) < self.wanted]
        unlabelled = (k for k, item in enumerate(self.queue) if item["id"] not in mine)
        self.at = next(unlabelled, len(self.queue))
        return self.show()

    def tell(self, text: str) -> None:
        """Say something above the buttons."""
        self.note.value = f'<div class="xi-note" role="status">{escaped(text)}</div>'

    def _item(self) -> Item | None:
        """The item at hand; None before the name is given and after the last one."""
        return self.queue[self.at] if self.annotator and self.at < len(self.queue) else None

    def show(self) -> None:
        """Show the item at hand with the label it has, or the name field, or thanks."""
        item = self._item()
        for widget, seen in ((self.login, not self.annotator), (self.answers, item),
                             (self.save, item), (self.buttons, self.annotator and self.queue)):
            widget.layout.display = None if seen else "none"
        self.back.disabled = not self.at
        self.tell("")
        models = label_store.sides(item, self.annotator, self.seed) if item else []
        self.body.value = texts(item, models) if item else ""
        if not self.annotator:
            return
        labels = [r for r in self.store.current() if r["annotator"] == self.annotator]
        mine = {r["item"]: r for r in labels}
        self.head.value = self._progress(item, mine)
        old = mine.get(item["id"]) if item else None
        for key, radio in self.choices.items():
            radio.value = old["answers"][key] if old else None
        self.feedback.value = old["feedback"] if old else ""
        self.begun = time.monotonic()

    def _progress(self, item: Item | None, mine: dict[str, dict]) -> str:
        """HTML: which item this is, and how many labels of this annotator are stored."""
        if item:
            place = f"Item {self.at + 1} of {len(self.queue)}"
        else:
            place = f"Thank you: all {len(self.queue)} items have a label"
        done = sum(other["id"] in mine for other in self.queue)
        return f"<p><b>{place}</b>, {done} stored for {escaped(self.annotator)}.</p>"

    def go_back(self, _: object = None) -> None:
        """To the item before: its label can be corrected, the earlier one stays in the history."""
        self.at = max(0, self.at - 1)
        self.show()

    def go_on(self, _: object = None) -> None:
        """Store the label and show the next item; stay without an answer, or on a full disk."""
        item = self.queue[self.at]
        answers = {key: radio.value for key, radio in self.choices.items()}
        if None in answers.values():
            return self.tell("Please answer every question; the feedback may stay empty.")
        label = {"item": item["id"], "annotator": self.annotator, "answers": answers,
                 "feedback": self.feedback.value,
                 "shown": label_store.sides(item, self.annotator, self.seed),
                 "seconds": round(time.monotonic() - self.begun, 1)}
        try:
            self.store.add(label)
        except (sqlite3.Error, OSError, InputError) as error:
            return self.tell(f"NOT stored ({error}). Please try again.")
        self.at += 1
        return self.show()


def form(name: str, store: Store, items: list[Item], lang: str, seed: int,
         wanted: int) -> "Widget | Markdown":
    """The form as a widget for JupyterLab or Voila; in a run, which waits for nobody, a command.

    items: of `store.quality_items` or `store.preference_items`; wanted: labels by different people
    that an item should get.
    """
    from IPython.display import Markdown

    if os.environ.get("XINSTRUCT_STEP"):
        return Markdown(f"The form is served by `make annotate FORM={name} LANG={lang}`, or opens "
                        "here when this notebook is run cell by cell.")
    store.put(items)
    widgets = Form(name, store, items, seed, wanted)
    names = parse_qs(os.environ.get("QUERY_STRING", "")).get("name")
    if names and os.environ.get("VOILA_REQUEST_URL"):
        # A link of one's own: closing the tab and opening the link again goes on.
        widgets.who.value = names[0]
        widgets.open()
    return widgets.widget

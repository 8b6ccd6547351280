"""Label Studio's JSON: a form's items and labels out, annotations in.

`python -m xinstruct_utils annotate export FORM ...` and `annotate import FORM ...`.
"""

from datetime import UTC, datetime
from pathlib import Path

from xinstruct_utils.annotation.store import Item, Label, NewLabel, Store, form, person, sides
from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import read_json, write_bytes, write_json


def write(name: str, store: Store, path: str | Path) -> None:
    """Write items and the labels that hold as Label Studio tasks (`path`).

    The labelling configuration goes beside it (.xml). Blind too: the answers stand in an order
    drawn for each task, and no model's name is in either file.
    """
    words = {key: q["choices"] for key, q in form(name)["questions"].items()}
    items = store.items()
    letters = {key: _letters(item) for key, item in items.items()}
    tasks = {key: {"data": _data(item, letters[key]), "annotations": []}
             for key, item in items.items()}
    for label in store.current():
        key = label["item"]
        tasks[key]["annotations"].append(_annotation(label, letters[key], words))
    write_json(path, list(tasks.values()))
    configuration = "\n".join(form(name)["label_studio"])
    write_bytes(Path(path).with_suffix(".xml"), [configuration.encode()])


def _letters(item: Item) -> dict[str, str]:
    """{model: the letter under which it stands in the exported task}."""
    return dict(zip(sides(item, "", 0), "AB", strict=False))


def _data(item: Item, letters: dict[str, str]) -> dict[str, str]:
    """What a task shows."""
    data = {k: item[k] or "" for k in ("id", "instruction", "translation", "text") if k in item}
    translated = item.get("answer_translations", {})
    data |= {f"answer_{letter.lower()}": item["answers"][m] for m, letter in letters.items()}
    data |= {f"answer_{letter.lower()}_translation": translated.get(m, "")
             for m, letter in letters.items()}
    return data


def _annotation(label: Label, letters: dict[str, str], words: dict[str, dict[str, str]]) -> dict:
    """A label as an annotation: its A and B become those of the exported task."""
    turned = {k: letters[model] for k, model in zip("AB", label["shown"], strict=False)}
    results = [_result(key, "choices", words[key][turned.get(choice, choice)])
               for key, choice in label["answers"].items()]
    results += [_result(key, "text", label[key]) for key in ("feedback", "annotator")]
    return {"result": results, "created_at": label["at"], "lead_time": label["seconds"]}


def _result(name: str, kind: str, text: str) -> dict:
    return {"from_name": name, "to_name": "instruction",
            "type": "textarea" if kind == "text" else kind, "value": {kind: [text]}}


def read(name: str, store: Store, path: str | Path) -> int:
    """Add the annotations of Label Studio's JSON export to the store.

    Returns how many were newer than the label that holds. The annotator is who the result named
    `annotator` says, else the e-mail address or number in `completed_by`. An annotation as old as
    that annotator's label of the item, or older, is left out: an export that is read once more
    would undo what was corrected since. Raises InputError that names the task.
    """
    questions = form(name)["questions"].items()
    choices = {key: {text: c for c, text in q["choices"].items()} for key, q in questions}
    items, labels, task = store.items(), [], None
    try:
        for task in read_json(path):
            item = items[task["data"]["id"]]
            for annotation in task["annotations"]:
                if not annotation.get("was_cancelled"):
                    labels.append(_label(annotation, item, choices))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, InputError) as error:
        raise InputError(
            f"{path}: expected Label Studio's JSON of tasks that `export {name}` wrote, every "
            f"question answered, but {type(error).__name__}: {error} came in {str(task)[:200]}"
        ) from None
    held = {(r["item"], r["annotator"]): r["at"] for r in store.current()}
    newer = [label for label in labels if _is_newer(label, held)]
    store.add(*sorted(newer, key=lambda r: r["at"] or ""))
    return len(newer)


def _label(annotation: dict, item: Item, choices: dict[str, dict[str, str]]) -> NewLabel:
    """An annotation as a label of the store."""
    values = {r["from_name"]: [*r["value"].values()][0][0]
              for r in annotation["result"] if any(r["value"].values())}
    annotator = values.get("annotator") or _annotator(annotation.get("completed_by", ""))
    return {"item": item["id"], "annotator": person(annotator), "shown": sides(item, "", 0),
            "answers": {key: known[values[key]] for key, known in choices.items()},
            "feedback": values.get("feedback", ""), "seconds": annotation.get("lead_time"),
            "at": _time(annotation.get("updated_at") or annotation.get("created_at"))}


def _annotator(by: dict | int | str | None) -> str:
    """A name out of Label Studio's `completed_by`: a user with an address, or its number."""
    if isinstance(by, dict):
        return by.get("email", "")
    return f"label studio {by}" if by else ""


def _is_newer(label: NewLabel, held: dict[tuple[str, str], str | None]) -> bool:
    """Is there no label of this item and annotator yet, or an older one?"""
    key = (label["item"], label["annotator"])
    return key not in held or (label["at"] or "") > (held[key] or "")


def _time(stamp: str | None) -> str | None:
    """A time as the store writes it, in UTC, so that two can be compared as texts."""
    if not stamp:
        return None
    return datetime.fromisoformat(stamp).astimezone(UTC).isoformat(timespec="milliseconds")

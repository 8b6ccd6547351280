"""Label Studio's JSON: items and labels of a form's store out, annotations in (`annotate export`, `annotate import`)."""

from datetime import UTC, datetime
from pathlib import Path

from xinstruct_utils.annotation.store import form, person, sides
from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import read_json, write_bytes, write_json


def write(name, store, path):
    """Items and the labels that hold as Label Studio tasks (`path`), with the labelling configuration beside it (.xml).

    Blind too: the answers stand in an order drawn for each task, and no model's name is in either file.
    """
    tasks, words = {}, {key: q["choices"] for key, q in form(name)["questions"].items()}
    letters = {key: dict(zip(sides(item, "", 0), "AB", strict=False)) for key, item in store.items().items()}
    for key, item in store.items().items():
        data = {k: item[k] or "" for k in ("id", "instruction", "translation", "text") if k in item}
        data |= {f"answer_{letter.lower()}": item["answers"][model] for model, letter in letters[key].items()}
        data |= {f"answer_{letter.lower()}_translation": item.get("answer_translations", {}).get(model, "")
                 for model, letter in letters[key].items()}
        tasks[key] = {"data": data, "annotations": []}
    for row in store.current():
        turned = {k: letters[row["item"]][model] for k, model in zip("AB", row["shown"], strict=False)}
        made = [_result(key, "choices", words[key][turned.get(c, c)]) for key, c in row["answers"].items()]
        made += [_result(key, "text", row[key]) for key in ("feedback", "annotator")]
        tasks[row["item"]]["annotations"].append({"result": made, "created_at": row["at"], "lead_time": row["seconds"]})
    write_json(path, list(tasks.values()))
    write_bytes(Path(path).with_suffix(".xml"), ["\n".join(form(name)["label_studio"]).encode()])


def _result(name, kind, text):
    return {"from_name": name, "to_name": "instruction", "type": kind.replace("text", "textarea"), "value": {kind: [text]}}


def read(name, store, path):
    """Add the annotations of Label Studio's JSON export to the store; returns how many were newer than the label that holds.

    The annotator is who the result named `annotator` says, else the e-mail address or number in `completed_by`. An
    annotation as old as that annotator's label of the item, or older, is left out: an export that is read once more would
    undo what was corrected since. Raises InputError that names the task.
    """
    choices = {key: {text: c for c, text in q["choices"].items()} for key, q in form(name)["questions"].items()}
    items, found, task = store.items(), [], None
    try:
        for task in read_json(path):
            item = items[task["data"]["id"]]
            for note in (n for n in task["annotations"] if not n.get("was_cancelled")):
                told = {r["from_name"]: [*r["value"].values()][0][0] for r in note["result"] if any(r["value"].values())}
                by = note.get("completed_by", "")
                by = by.get("email", "") if isinstance(by, dict) else f"label studio {by}" if by else ""
                found.append({"item": item["id"], "annotator": person(told.get("annotator") or by), "shown": sides(item, "", 0),
                              "answers": {key: known[told[key]] for key, known in choices.items()},
                              "feedback": told.get("feedback", ""),
                              "seconds": note.get("lead_time"), "at": _time(note.get("updated_at") or note.get("created_at"))})
    except (OSError, ValueError, LookupError, TypeError, AttributeError, InputError) as error:
        raise InputError(f"{path}: expected Label Studio's JSON of tasks that `export {name}` wrote, every question answered, "
                         f"but {type(error).__name__}: {error} came in {str(task)[:200]}") from None
    held = {(r["item"], r["annotator"]): r["at"] for r in store.current()}
    newer = [r for r in found if (key := (r["item"], r["annotator"])) not in held or (r["at"] or "") > (held[key] or "")]
    store.add(*sorted(newer, key=lambda r: r["at"] or ""))
    return len(newer)


def _time(stamp):
    """A time as the store writes it, in UTC, so that two can be compared as texts; None where there is none."""
    return datetime.fromisoformat(stamp).astimezone(UTC).isoformat(timespec="milliseconds") if stamp else None

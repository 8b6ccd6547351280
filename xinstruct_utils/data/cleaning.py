"""Cleaning of texts in one pass: every rule is a switch, every dropped row is counted once.

`stream` takes an iterator of rows and yields the rows that stay; only hashes are kept in memory.
A dropped row is counted under the first rule that applies.
"""

from array import array
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

from xinstruct_utils.core import languages
from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import content_id
from xinstruct_utils.core.process import die_with_parent
from xinstruct_utils.data import boilerplate, language_id, rules

Row = dict[str, Any]           # `id` (the content id), the cleaned field, and whatever else came

EMPTY = "empty"                # counts always: no rule lets such a text pass
SHINGLE = 5                    # words, as FineWeb
# 14 bands of 8, as FineWeb: finds 93% of pairs that share 80% of their shingles, 5% at 50%.
PERMUTATIONS, BANDS = 112, 14
CHUNK = 500                    # rows for a worker at a time
EXAMPLES = 10                  # dropped rows kept of each reason


@dataclass(frozen=True)
class Limits:
    """What the rules are to know: language, length in characters (None: any), spans of prompts."""

    lang: str
    min_chars: int = 1
    max_chars: int | None = None
    prompts: dict[str, set[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Rule:
    """A rule: the reasons under which it drops a row, and what it does to one text.

    `edit` may change a text; `fault` looks at the text that is left, and at the one before the
    edit, and gives a reason or None. A rule that compares rows has neither: `stream` does it.
    """

    reasons: tuple[str, ...] = ()
    edit: Callable[[str, Limits], str] | None = None
    fault: Callable[[str, str, Limits], str | None] | None = None


def _lost(text, before, limits):
    return "damaged encoding" if "\ufffd" in text else None     # what was lost cannot be mended


def _only_navigation(text, before, limits):
    left = text == before or len(text) >= limits.min_chars
    return None if left else "navigation or link list"


def _error_page(text, before, limits):
    return "URL or error page" if boilerplate.is_error_page(text) else None


def _length(text, before, limits):
    if len(text) < limits.min_chars:
        return "too short"
    if limits.max_chars and len(text) > limits.max_chars:
        return "too long"
    return None


def _language(text, before, limits):
    return None if language_id.in_language(text, limits.lang) else "wrong language"


def _contamination(text, before, limits):
    if rules.contaminated(text, limits.prompts):
        return "shares 13 words with an evaluation prompt"
    return None


# The rules in the order in which they work.
RULES = {
    "encoding": Rule(("damaged encoding",), lambda text, _: rules.repaired(text), _lost),
    "control": Rule(edit=lambda text, _: rules.without_controls(text)),
    "navigation": Rule(("navigation or link list",),
                       lambda text, _: boilerplate.without_boilerplate(text), _only_navigation),
    "error_pages": Rule(("URL or error page",), fault=_error_page),
    "contacts": Rule(edit=lambda text, limits: rules.masked(text, limits.lang)),
    "length": Rule(("too short", "too long"), fault=_length),
    "language": Rule(("wrong language",), fault=_language),
    "contamination": Rule(("shares 13 words with an evaluation prompt",), fault=_contamination),
    "duplicates": Rule(("duplicate",)),
    "near_duplicates": Rule(("near duplicate",)),
}
EDITING = {name for name, rule in RULES.items() if rule.edit}     # all others only drop


def chosen(names: Iterable[str]) -> list[str]:
    """The names of rules in the order in which they work. Raises InputError for an unknown one."""
    names = list(names)
    unknown = [name for name in names if name not in RULES]
    if unknown:
        raise InputError(f"cleaning: no rule {', '.join(map(repr, unknown))}; "
                         f"expected some of {', '.join(RULES)}")
    return [name for name in RULES if name in names]


@dataclass
class Census:
    """What became of the rows of a `stream`: complete once it is used up.

    `dropped` {reason: n}; `changed` {rule: n} among the rows kept; `lengths` of the kept and
    `lengths_in` of all texts, in characters; `examples` of dropped rows, the first ten of each
    reason.
    """

    names: list[str]
    rows_in: int = 0
    rows_out: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    changed: Counter = field(default_factory=Counter)
    examples: list[Row] = field(default_factory=list)
    lengths_in: array = field(default_factory=lambda: array("L"))
    lengths: array = field(default_factory=lambda: array("L"))

    def __post_init__(self):
        self.names = chosen(self.names)
        reasons = [reason for name in self.names for reason in RULES[name].reasons]
        self.dropped = dict.fromkeys([EMPTY, *reasons], 0)

    def drop(self, row: Row, reason: str) -> None:
        """Count a dropped row; the first ten of each reason are kept to be looked at."""
        self.dropped[reason] += 1
        if self.dropped[reason] <= EXAMPLES:
            self.examples.append(row | {"reason": reason})

    def keep(self, text: str, changed: Iterable[str]) -> None:
        """Count a kept text, and the rules that changed it."""
        self.rows_out += 1
        self.changed.update(changed)
        self.lengths.append(len(text))


class Verdict(NamedTuple):
    """What the rules that need no other text make of one: why it is dropped (or None), by which
    rules it was changed, and what it has become."""

    text: str
    reason: str | None
    changed: list[str]


def judge(text: str, names: Iterable[str], limits: Limits) -> Verdict:
    """One text through all rules of `names` (in the order of `chosen`) that need no other text."""
    changed = []
    for name in names:
        if not text.strip():
            break
        rule, before = RULES[name], text
        if rule.edit:
            text = rule.edit(text, limits)
            changed += [name] if text != before else []
        reason = rule.fault(text, before, limits) if rule.fault else None
        if reason:
            return Verdict(text, reason, changed)
    return Verdict(text, None if text.strip() else EMPTY, changed)


def _work(rows, names, field, limits):
    """A chunk of rows: [(row, verdict, signature)]; runs in another process if there are
    several."""
    script = languages.get(limits.lang).script
    judged = []
    for row in rows:
        verdict = judge(row[field], names, limits)
        if verdict.changed:
            given = row.get("source_id")
            row = row | {"id": content_id(limits.lang, verdict.text), field: verdict.text,
                         "source_id": row["id"] if given is None else given}
        signature = None
        if "near_duplicates" in names and verdict.reason is None:
            signature = _signature(verdict.text, script)
        judged.append((row, verdict, signature))
    return judged


def _signature(text, script):
    """The MinHash of a text's shingles."""
    from rensa import RMinHash

    signature = RMinHash(num_perm=PERMUTATIONS, seed=1)
    signature.update(list(rules.spans(text, SHINGLE, script) or [text]))
    return signature


class _Repeats:
    """The rules that compare rows: what came before is kept as hashes."""

    def __init__(self, names):
        self.exact = "duplicates" in names
        self.seen = set()
        self.index = None
        if "near_duplicates" in names:
            from rensa import RMinHashLSH

            self.index = RMinHashLSH(threshold=0.75, num_perm=PERMUTATIONS, num_bands=BANDS)

    def reason(self, row, signature, number):
        """Why a row repeats one that came before, or None; it is then known as the `number`th."""
        if self.exact:
            key = int(row["id"], 16)
            if key in self.seen:
                return "duplicate"
            self.seen.add(key)
        if self.index is not None:
            if self.index.query(signature):
                return "near duplicate"
            self.index.insert(number, signature)
        return None


def _chunks(rows, census, field):
    rows = iter(rows)
    while chunk := list(islice(rows, CHUNK)):
        census.rows_in += len(chunk)
        census.lengths_in.extend(len(row[field]) for row in chunk)
        yield chunk


def _map(work, chunks, processes):
    """Results of `work` for all chunks, in their order; several processes die with this one."""
    if processes == 1:
        yield from map(work, chunks)
        return
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    with ProcessPoolExecutor(processes, get_context("spawn"), die_with_parent) as pool:
        waiting: deque = deque()
        for chunk in chunks:
            waiting.append(pool.submit(work, chunk))
            if len(waiting) > 2 * processes:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def stream(rows: Iterable[Row], census: Census, lang: str, min_chars: int = 1,
           max_chars: int | None = None, prompts: Iterable[str] = (), field: str = "text",
           processes: int = 1, total: int | None = None) -> Iterator[Row]:
    """Yield the rows that `census.names`, the chosen rules, let pass; `census` counts as it goes.

    Rows are dicts with `id` (the content id) and `field`; they keep their order. A changed text
    gets the id of what it became, and the id it had as `source_id`, unless it has one. `prompts`
    are texts of evaluation prompts for the rule "contamination". Characters are Unicode code
    points. `total`, where known, gives the progress bar an end. Raises InputError where nothing is
    left.
    """
    from tqdm import tqdm

    script, known = languages.get(lang).script, {}
    if "contamination" in census.names:
        known = rules.prompt_spans(prompts, script)
    limits = Limits(lang, min_chars, max_chars, known)
    work = partial(_work, names=census.names, field=field, limits=limits)
    repeats = _Repeats(census.names)
    with tqdm(total=total, unit=" texts", desc="cleaning", delay=10, mininterval=5) as bar:
        for chunk in _map(work, _chunks(rows, census, field), processes):
            for row, verdict, signature in chunk:
                reason = verdict.reason or repeats.reason(row, signature, census.rows_out)
                if reason:
                    census.drop(row, reason)
                else:
                    census.keep(row[field], verdict.changed)
                    yield row
            bar.update(len(chunk))
    if not census.rows_out:
        raise InputError(
            f"no text is left of {census.rows_in} rows after cleaning the field {field!r} "
            f"({census.dropped}); expected texts of {min_chars} to "
            f"{max_chars or 'any number of'} characters: look at the source, or set other limits")

"""Cleaning of web texts in one pass: every rule is a switch, every dropped row is counted under the first that applies.

`stream` takes an iterator of rows and yields the rows that stay; only hashes are kept in memory.
"""

from array import array
from collections import Counter, deque
from dataclasses import dataclass, field
from functools import partial
from itertools import islice

from xinstruct_utils.core import languages
from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import content_id
from xinstruct_utils.core.process import die_with_parent
from xinstruct_utils.data import boilerplate, language_id, rules

# Rules in the order in which they work, each with the reasons under which it drops a row. "empty" always counts.
RULES = {"encoding": ["damaged encoding"], "control": [], "navigation": ["navigation or link list"],
         "error_pages": ["URL or error page"], "contacts": [], "length": ["too short", "too long"],
         "language": ["wrong language"], "contamination": ["shares 13 words with an evaluation prompt"],
         "duplicates": ["duplicate"], "near_duplicates": ["near duplicate"]}
EDITING = {"encoding", "control", "navigation", "contacts"}       # may change a text; all others only drop
SHINGLE = 5                    # words, as FineWeb
PERMUTATIONS, BANDS = 112, 14  # 14 bands of 8, as FineWeb: finds 93% of pairs that share 80% of their shingles, 5% at 50%
CHUNK = 500                    # rows for a worker at a time


def chosen(names):
    """The names of rules, checked. Raises InputError for an unknown one."""
    unknown = [name for name in names if name not in RULES]
    if unknown:
        raise InputError(f"cleaning: no rule {', '.join(map(repr, unknown))}; expected some of {', '.join(RULES)}")
    return [name for name in RULES if name in names]


@dataclass
class Census:
    """What became of the rows of a `stream`: complete once it is used up.

    `dropped` {reason: n}; `changed` {rule: n} among the rows kept; `lengths` of the kept and `lengths_in` of all texts, in
    characters; `examples` of dropped rows, the first ten of each reason.
    """

    names: list
    rows_in: int = 0
    rows_out: int = 0
    dropped: dict = field(default_factory=dict)
    changed: Counter = field(default_factory=Counter)
    examples: list = field(default_factory=list)
    lengths_in: array = field(default_factory=lambda: array("L"))
    lengths: array = field(default_factory=lambda: array("L"))

    def __post_init__(self):
        self.names = chosen(self.names)
        self.dropped = dict.fromkeys(["empty", *(r for name in self.names for r in RULES[name])], 0)

    def drop(self, row, reason):
        """Count a dropped row; the first ten of each reason are kept to be looked at."""
        self.dropped[reason] += 1
        if self.dropped[reason] <= 10:
            self.examples.append(row | {"reason": reason})


def judge(text, names, lang, min_chars=1, max_chars=None, prompts=None):
    """One text through all rules that need no other text: (text, reason to drop it or None, rules that changed it)."""
    changed = []

    def edit(rule, change):
        nonlocal text
        before, text = text, change(text) if rule in names else text
        changed.extend([rule] if text != before else [])

    edit("encoding", rules.repaired)
    if "encoding" in names and "\ufffd" in text:      # what was lost cannot be mended
        return text, *RULES["encoding"], changed
    edit("control", rules.without_controls)
    if not text.strip():
        return text, "empty", changed
    edit("navigation", boilerplate.without_boilerplate)
    if "navigation" in changed and len(text) < min_chars:
        return text, *RULES["navigation"], changed
    if "error_pages" in names and boilerplate.is_error_page(text):
        return text, *RULES["error_pages"], changed
    edit("contacts", partial(rules.masked, lang=lang))
    if "length" in names and not min_chars <= len(text) <= (max_chars or len(text)):
        return text, RULES["length"][len(text) >= min_chars], changed
    if "language" in names and not language_id.in_language(text, lang):
        return text, *RULES["language"], changed
    if "contamination" in names and prompts and rules.contaminated(text, prompts):
        return text, *RULES["contamination"], changed
    return text, None, changed


def _work(rows, names, lang, field, limits, prompts):
    """A chunk of rows: [(row, reason, changed, signature)]; runs in another process where there are several."""
    done = []
    for row in rows:
        text, reason, changed = judge(row[field], names, lang, *limits, prompts)
        if changed:
            given = row.get("source_id")
            row = row | {"id": content_id(lang, text), field: text,
                         "source_id": row["id"] if given is None else given}
        signature = None
        if "near_duplicates" in names and reason is None:
            from rensa import RMinHash

            signature = RMinHash(num_perm=PERMUTATIONS, seed=1)
            signature.update(list(rules.spans(text, SHINGLE, languages.get(lang).script) or [text]))
        done.append((row, reason, changed, signature))
    return done


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
        waiting = deque()
        for chunk in chunks:
            waiting.append(pool.submit(work, chunk))
            if len(waiting) > 2 * processes:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def stream(rows, census, lang, min_chars=1, max_chars=None, prompts=(), field="text", processes=1, total=None):
    """Yield the rows that `census.names`, the chosen rules, let pass, in their order; `census` counts as it goes.

    Rows are dicts with `id` (the content id) and `field`; a changed text gets the id of what it became, and the id it had
    as `source_id`, unless it has one. `prompts` are texts of evaluation prompts for the rule "contamination". Characters
    are Unicode code points. `total`, where known, gives the progress bar an end. Raises InputError where nothing is left.
    """
    from tqdm import tqdm

    names, seen, index = census.names, set(), None
    if "near_duplicates" in names:
        from rensa import RMinHashLSH

        index = RMinHashLSH(threshold=0.75, num_perm=PERMUTATIONS, num_bands=BANDS)
    known = rules.prompt_spans(prompts, languages.get(lang).script) if "contamination" in names else None
    work = partial(_work, names=names, lang=lang, field=field, limits=(min_chars, max_chars), prompts=known)
    with tqdm(total=total, unit=" texts", desc="cleaning", delay=10, mininterval=5) as bar:
        for done in _map(work, _chunks(rows, census, field), processes):
            for row, reason, changed, signature in done:
                if reason is None and "duplicates" in names:
                    key = int(row["id"], 16)
                    reason = "duplicate" if key in seen else None
                    seen.add(key)
                if reason is None and index is not None:
                    reason = "near duplicate" if index.query(signature) else None
                    if reason is None:
                        index.insert(census.rows_out, signature)
                if reason:
                    census.drop(row, reason)
                    continue
                census.rows_out += 1
                census.changed.update(changed)
                census.lengths.append(len(row[field]))
                yield row
            bar.update(len(done))
    if not census.rows_out:
        raise InputError(f"no text is left of {census.rows_in} rows after cleaning the field {field!r} ({census.dropped}); "
                         f"expected texts of {min_chars} to {max_chars or 'any number of'} characters: look at the source, or "
                         "set other limits")

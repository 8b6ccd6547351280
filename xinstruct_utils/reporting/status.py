"""What the book's status page tells: what made a run, what its steps took, and what benchmarks measured, where and when."""

from xinstruct_utils.core.files import read_json
from xinstruct_utils.core.paths import root


def table(rows):
    """HTML of a table with every cell escaped; rows: dicts with the same keys."""
    import pandas

    # An empty line would end the table's HTML, and what follows would be Markdown.
    rows = [{k: "" if v is None else " ".join(v.split()) if isinstance(v, str) else v for k, v in row.items()} for row in rows]
    with pandas.option_context("display.max_colwidth", None):      # else a long cell is cut off
        return pandas.DataFrame(rows).to_html(index=False, border=0, na_rep="", float_format="{:,.3g}".format)


def step_costs(run):
    """What each finished step took: rows {notebook, lang, iteration, wall_s, startup_s, peak_rss_mib}, seconds and MiB."""
    keys = ("notebook", "lang", "iteration", "wall_s", "startup_s", "peak_rss_mib")
    costs = [{k: m.get(k) for k in keys} for m in map(read_json, (root() / run).rglob("manifest.json"))]
    return sorted(costs, key=lambda c: (c["notebook"], c["lang"], c["iteration"] or 0))


def measured(folder):
    """Markdown: the figures of each file in benchmarks/results, with machine, date and command.

    Files of a tiny model, which only test the benchmark, are left out. What no machine has measured is said to be missing.
    """
    told = {path.stem: read_json(path) for path in sorted(folder.glob("*.json")) if "tiny-model" not in path.stem}
    parts = [] if any(name.startswith("gpu-") for name in told) else [
        "Not measured here: a GPU. `python benchmarks/gpu.py` on one writes its figures to `benchmarks/results/`, and they stand "
        "here in the next edition."]
    for name, made in told.items():
        machine = ", ".join(f"{k} {v}" for k, v in made["machine"].items())
        rows = [("machine", machine), ("date", made["date"]), ("command", made["command"])]
        rows += [(part, ", ".join(f"{k} {v}" for k, v in figures.items())) for part, figures in made["parts"].items()]
        parts.append(f"### {name}\n\n" + table([{"what": what, "measured": figures} for what, figures in rows]))
    return "\n\n".join(parts)


def page(run, profile, manifests, old, results):
    """Words of the status page: what made the run, how long each step took, and what benchmarks measured.

    old: names of published notebooks that are older than their code; results: the folder of benchmarks' figures.
    """
    first = manifests[0]
    note = f"```{{warning}}\nThe published copy is older than the code of {', '.join(old)}.\n```" * bool(old)
    facts = {"run": run, "source": profile.source, "base model": profile.base_model,
             "commit": ", ".join(sorted({str(m["git_commit"]) for m in manifests})),
             "finished": max(m["finished_at"] for m in manifests), **first["machine"], **first["versions"]}
    rows = [{"what": what, "which": str(which)} for what, which in facts.items()]
    return {"warning": note, "facts": table(rows), "steps": table(step_costs(run)), "measured": measured(results)}

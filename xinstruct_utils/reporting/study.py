"""The study: runs of one profile with several seeds, collected: `python -m xinstruct_utils study`.

Writes papermill_runs/published/study/: figures.json with the claims over all seeds and languages,
the executed notebooks of ablations, results and experiments, and what is kept of each run
(`study_parts`). What was published before stays, so that a study can be made run by run, on several
machines.
"""

import argparse
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import read_json, write_json
from xinstruct_utils.core.paths import REPO, root
from xinstruct_utils.evaluation.findings import Figures, balance, of_claims
from xinstruct_utils.evaluation.statistics import mean_interval
from xinstruct_utils.reporting import contest_plots, found, publish_run, study_parts
from xinstruct_utils.reporting.gate import Page, check
from xinstruct_utils.reporting.study_parts import Part

EXPERIMENTS = ("14_evaluator", "17_data")
NOTEBOOKS = ("12_ablations", "13_results", *EXPERIMENTS)
CONTESTS = ("refined_vs_unrefined", "refined_vs_seed", "refined_vs_translated",
            "refined_vs_distilled", "refined_vs_distilled_joint", "refined_vs_rated",
            "rated_vs_unrefined")
PER_ROUND = ("kept_precision", "evaluator_precision", "evaluator_auc", "ranking_auc",
             "beyond_guessing")


def runs_of(name: str) -> dict[str, Path]:
    """The finished runs of a study, {seed: folder}: NAME and NAME-seed1, NAME-seed2, ...

    A run is finished when its results are. Raises InputError where none is.
    """
    folders = [root() / name, *sorted(root().glob(f"{name}-seed*"))]
    finished = {}
    for folder in folders:
        if (folder / "all/13_results/manifest.json").exists():
            finished[str(read_json(folder / "run.json").get("seed", 0))] = folder
    if not finished:
        raise InputError(f"no run of the study is finished: expected {root() / name} or "
                         f"{name}-seed1, ... with the step 13_results; make them with: make study")
    return finished


def figures(runs: Mapping[str, Figures]) -> dict[str, Any]:
    """What a study says, of each run's figures by seed.

    {name: {language: {seed: [value of each round]}}} for what is measured in rounds,
    "random_precision": {language: {seed: value}}, "win_minus_lose_ci95": {contest: {"mean", "ci95",
    "cells", language: {seed: value}}} in points with Student's interval over cells, "claims".
    """
    out: dict[str, Any] = {}
    for name in (*PER_ROUND, "random_precision"):
        out[name] = _by_language({seed: own.get(name, {}) for seed, own in runs.items()})
    out["win_minus_lose_ci95"] = {contest: row for contest in CONTESTS
                                  if (row := _balance(runs, contest))}
    out["claims"] = of_claims(runs)
    return out


def _by_language(values: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """{language: {seed: value}} of {seed: {language: value}}."""
    codes = dict.fromkeys(code for own in values.values() for code in own)
    return {code: {seed: own[code] for seed, own in values.items() if code in own}
            for code in codes}


def _balance(runs: Mapping[str, Figures], contest: str) -> dict[str, Any]:
    """Wins minus losses of a contest over seeds and languages, in points; {} where none is."""
    points = {seed: {code: round(100 * value, 2) for code, value in balance(own, contest).items()}
              for seed, own in runs.items()}
    values = [value for own in points.values() for value in own.values()]
    if not values:
        return {}
    mean, low, high = mean_interval(values)
    ci95 = None if low is None or high is None else [round(low, 2), round(high, 2)]
    return {"mean": round(mean, 2), "ci95": ci95, "cells": len(values)} | _by_language(points)


def front(parts: Iterable[Part]) -> dict[str, dict[str, Any]]:
    """Rows for `contest_plots.balances`: each contest over all cells, then by language.

    Over seeds the interval is Student's; a language of one seed has that over its prompts.
    """
    rows: dict[str, dict[str, Any]] = {}
    measured = [(code, own) for part in parts for code, own in part["contests"].items()]
    for contest in CONTESTS[:2]:
        judged = [own[contest] | {"language": code} for code, own in measured if contest in own]
        words = contest.replace("_", " ")
        if judged:
            mean, low, high = mean_interval([own["win"] - own["lose"] for own in judged])
            rows[f"{words}, all"] = {"value": mean, "low": low, "high": high, "n": len(judged)}
        for code in sorted({own["language"] for own in judged}):
            mine = [own for own in judged if own["language"] == code]
            mean, low, high = mean_interval([own["win"] - own["lose"] for own in mine])
            if len(mine) == 1:
                low, high = mine[0].get("low"), mine[0].get("high")
            rows[f"{words}, {code}"] = {"value": mean, "low": low, "high": high,
                                        "n": sum(own["n"] for own in mine)}
    return rows


def _pages(folder: Path) -> list[Page]:
    """The executed notebooks of a run that are published."""
    pages = []
    for path in sorted(folder.glob("*/[0-9]*/manifest.json")):
        made = read_json(path)
        if made["notebook"] in NOTEBOOKS:
            pages.append(Page(made["run"], made["notebook"], made["lang"], None, path.parent,
                              made["notebook"]))
    return pages


def publish(name: str, experiments: str = "") -> Path:
    """Add the finished runs of a study to published/study; returns that folder.

    experiments: a run whose chapters of experiments are published too. A cell (a seed and a
    language) that was published before is replaced. Raises InputError where no run is finished,
    where a notebook failed or is of other code than today's, or shows what looks like a key.
    """
    runs = runs_of(name)
    made = [study_parts.of_run(folder) for folder in runs.values()]
    out = root() / "published" / found.STUDY
    draft = out.with_name(f".{found.STUDY}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    if out.exists():
        shutil.copytree(out, draft)
        shutil.rmtree(draft / study_parts.PARTS, ignore_errors=True)
    for part, folder in zip(made, runs.values(), strict=True):
        _publish_notebooks(folder, draft / f"seed{part['seed']}", study_parts.name_of(part))
    if experiments:
        _publish_notebooks(root() / experiments, draft / "experiments", "all", EXPERIMENTS)
    parts = study_parts.together(study_parts.read(out), made)
    study_parts.write(parts, draft)
    publish_run.refuse_keys(draft / study_parts.PARTS, root() / name)
    _drop_results_without_a_part(draft, parts)
    _write_figures(draft, parts)
    shutil.rmtree(out, ignore_errors=True)
    draft.rename(out)
    found.renew(REPO / "README.md", found.STUDY, found.claims_of(out / "figures.json"))
    return out


def _write_figures(folder: Path, parts: Sequence[Part]) -> None:
    """Write figures.json and the front figure of some parts."""
    facts = {study_parts.name_of(part): part["facts"] for part in parts}
    write_json(folder / "figures.json", {"runs": facts} | figures(study_parts.by_seed(parts)))
    (folder / "claim.png").write_bytes(contest_plots.balances(front(parts)).data)


def again(experiments: str = "") -> Path:
    """Compute figures, claims and README of the published study anew, from its parts; its folder.

    For when a claim is new or has other words; no run is needed. experiments: as in `publish`.
    Raises InputError without parts.
    """
    out = root() / "published" / found.STUDY
    parts = study_parts.read(out)
    if not parts:
        raise InputError(f"{out / study_parts.PARTS} has no part of a study: publish a run first")
    if experiments:
        _publish_notebooks(root() / experiments, out / "experiments", "all", EXPERIMENTS)
    _write_figures(out, parts)
    found.renew(REPO / "README.md", found.STUDY, found.claims_of(out / "figures.json"))
    return out


def _drop_results_without_a_part(draft: Path, parts: Sequence[Part]) -> None:
    """Remove results pages of runs whose cells, some or all, are made anew: they speak of both."""
    names = {study_parts.name_of(part) for part in parts}
    for folder in draft.glob("seed*/seed*-*"):
        if folder.name not in names:
            shutil.rmtree(folder)


def _publish_notebooks(folder: Path, to: Path, across: str,
                       names: Sequence[str] = NOTEBOOKS) -> None:
    """Copy a run's notebooks of these names; those across languages go into a folder `across`."""
    wanted = [page for page in _pages(folder) if page.notebook in names]
    for page, (notebook, _) in check(wanted).items():
        home = to / (across if page.lang == "all" else page.lang) / page.notebook
        shutil.rmtree(home, ignore_errors=True)
        publish_run.publish_step(page, notebook, home)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `study`."""
    parser.add_argument("run", nargs="?", default="study",
                        help="name of the run with the first seed; others are <run>-seed1, ...")
    parser.add_argument("--again", action="store_true",
                        help="only compute figures and claims of the published parts anew")
    parser.add_argument("--experiments", default="", help="a run with chapters 14 or 17")


def command(args: argparse.Namespace) -> None:
    """Publish a study; prints where to, and each claim with its verdict."""
    out = again(args.experiments) if args.again else publish(args.run, args.experiments)
    for row in found.claims_of(out / "figures.json"):
        print(f"{row['verdict']:12}  {row['claim']}")
    print(out)

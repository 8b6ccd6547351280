"""What a run would do and why, and what it would cost, before anything runs (`make plan`)."""

import argparse

from xinstruct_utils.config import needs
from xinstruct_utils.config.profile import ATLAS_MODELS, Profile
from xinstruct_utils.config.runs import open_run, resolve_call
from xinstruct_utils.reporting.cost import estimate
from xinstruct_utils.reporting.work import corpus_texts, prompts
from xinstruct_utils.workflow.chapters import steps_of
from xinstruct_utils.workflow.staleness import stale_steps


def show(profile: Profile) -> None:
    """Print the estimate of a run's cost. Raises InputError for a model of unknown size."""
    run, origin = estimate(profile)
    unit = "core-hours" if profile.base_model in ATLAS_MODELS else "GPU-hours"
    print(f"\nEstimate for {', '.join(profile.languages)}, {run['weights'] / 1e6:,.1f} M weights "
          f"(rates {origin}):")
    for row in run["steps"]:
        tokens = f"{row['tokens'] / 1e6:12,.2f} M tokens"
        print(f"  {row['step']:32} {tokens} {row['hours']:12,.3f} {unit}")
    print(f"  {'in all':32} {'':21} {run['hours']:12,.3f} {unit}")
    if profile.source == "files" and not profile.corpus_sample:
        print(f"  for {corpus_texts(profile):,} texts a language (corpus_size; your files were not "
              "counted)")
    paid = ", ".join(f"{what} ${amount:,.2f}" for what, amount in run["usd"].items())
    is_judged = any(prompts(profile, lang) for lang in profile.languages)
    unjudged = "" if is_judged else " (no benchmarks named: nothing is judged)"
    print(f"  disk {run['gb']:,.2f} GB; paid: {paid}{unjudged}")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `plan`: the variables of `make plan`."""
    parser.add_argument("--run", required=True)
    parser.add_argument("--profile")
    parser.add_argument("--langs", default="")
    parser.add_argument("--set", default="", help="key=value ...")


def command(args: argparse.Namespace) -> None:
    """Print the steps that would run and why, and what they would cost."""
    profile = resolve_call(args.run, args.profile, args.langs, args.set)
    open_run(args.run, profile, note=False)      # with other settings it is refused, as by the run
    stale = stale_steps(args.run, profile)
    for step, reason in stale.items():
        print(f"{step}: {reason}")
    print(f"{len(stale)} of {len(steps_of(profile))} steps to run")
    for line in needs.missing(profile):
        print(f"not there: {line}")
    show(profile)

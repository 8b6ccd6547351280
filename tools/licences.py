"""The licences of what is installed here, by its own metadata: `python tools/licences.py [--all]`.

Prints a Markdown table of how many packages have which licence, and names those whose licence asks
something of who passes them on (copyleft) and those that tell none. --all: a line for each package
too. Nothing is looked up elsewhere.
"""

import argparse
import re
from collections import defaultdict
from importlib.metadata import Distribution, distributions

# Words in a licence's name or text: the first that is found is the licence.
KNOWN = (
    ("AGPL", r"\bAGPL|Affero"),
    ("LGPL", r"\bLGPL|Lesser General"),
    ("GPL", r"\bGPL|GNU General"),
    ("MPL-2.0", r"\bMPL|Mozilla"),
    ("EPL", r"\bEPL\b|Eclipse Public"),
    ("proprietary", r"proprietary|NVIDIA.*(EULA|Software License)"),
    ("Apache-2.0", r"Apache"),
    ("BSD", r"BSD|Redistribution and use in source and binary"),
    ("MIT", r"\bMIT\b|Permission is hereby granted, free of charge"),
    ("PSF-2.0", r"\bPSF|Python Software Foundation"),
    ("ISC", r"\bISC\b"),
    ("Unlicense", r"Unlicense|public domain"),
    ("HPND", r"HPND|Historical Permission"),
    ("Zlib", r"zlib"),
    ("CC0-1.0", r"CC0"),
    ("CC-BY-4.0", r"CC[- ]BY"),
    ("0BSD", r"0BSD"),
)
COPYLEFT = ("AGPL", "LGPL", "GPL", "MPL-2.0", "EPL")


def stated(package: Distribution) -> str:
    """What a package says of its licence: SPDX, else classifiers, else the field."""
    told = package.metadata
    classifiers = [
        c.split(" :: ")[-1] for c in told.get_all("Classifier") or [] if c.startswith("License ::")
    ]
    classifiers = [c for c in classifiers if c != "OSI Approved"]
    return (
        told.get("License-Expression")
        or ", ".join(classifiers)
        or (told.get("License") or "")[:400].strip()
    )


def text_of(package: Distribution) -> str:
    """The beginning of a package's licence file, "" where it brings none."""
    for file in package.files or []:
        if re.match(r"(LICEN[CS]E|COPYING)", file.name, re.I):
            try:
                return file.locate().read_text(encoding="utf-8", errors="replace")[:2000]
            except OSError:
                continue
    return ""


def kinds(words: str) -> list[str]:
    """The known licences that are named in some words."""
    return [name for name, pattern in KNOWN if re.search(pattern, words, re.I)]


def licence(package: Distribution) -> str:
    """A package's licence in short: "MIT", several joined by " / ", or "not stated"."""
    named = kinds(stated(package)) or kinds(text_of(package))[:1]
    return " / ".join(named) or "not stated"


def by_licence() -> dict[str, list[str]]:
    """{licence: sorted installed packages}, the most frequent first, without this project."""
    groups = defaultdict(set)
    for package in distributions():
        if package.metadata["Name"] != "xinstruct-utils":
            groups[licence(package)].add(f"{package.metadata['Name']} {package.version}")
    return {
        name: sorted(groups[name], key=str.lower)
        for name in sorted(groups, key=lambda name: (-len(groups[name]), name))
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--all", action="store_true", help="a line for each package too")
    everything, groups = parser.parse_args().all, by_licence()
    print("| licence | packages |\n| --- | --- |")
    for name, packages in groups.items():
        print(f"| {name} | {len(packages)} |")
    for name, packages in groups.items():
        if (
            name == "not stated"
            or name.startswith("proprietary")
            or any(part in COPYLEFT for part in name.split(" / "))
        ):
            print(f"\n{name}: {', '.join(packages)}")
    for name, packages in groups.items() if everything else ():
        print(f"\n{name}:", *packages, sep="\n  ")


if __name__ == "__main__":
    main()

"""Keys and passwords: known from the environment or by form, taken out of what is shown or kept.

What passes through here: every `InputError`, what the command and the heavy jobs print (and so
their logs), the logs of servers that a job starts, and the notebooks that are executed. Settings
that hold a key are refused (`config.load.checked`), since they are written into the run.
"""

import base64
import json
import os
import re
from collections.abc import Iterable
from typing import TextIO
from urllib.parse import quote, unquote

HIDDEN = "***"
# Shorter values ("none", "1") are no keys, and texts are full of them.
SHORTEST = 6
# Variables that hold a key.
NAMES = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL)S?$", re.I)
# http://user:password@host
ADDRESS = re.compile(r"(?<=://)([^\s/:@\"'\\]*):([^\s/@\"'\\]+)@")
# Keys as OpenAI, Hugging Face and Google write them, and as a header carries them.
WRITTEN = re.compile(
    r"\b(?:sk-(?=[\w-]*\d)[\w-]{16,}|hf_[A-Za-z0-9]{16,}|AIza[\w-]{16,})"
    r"|(?i:(?<=bearer )(?=\S*\d)[\w.~+/=-]{8,}"
    r"|(?<=authorization: basic )[\w+/=]{6,})"
)
# A key in a command line: NAME_KEY=..., --api-key ...
GIVEN = re.compile(
    r"(\b[A-Z0-9_]*(?:KEY|TOKEN|SECRET|PASSWORD)=(?!\.\.\.|\$)"
    r"|--[\w-]*(?:key|token|secret|password)[= ][\"']?(?!\$))[^\s\"'\\<$]+"
)


def _forms(value: str) -> Iterable[str]:
    """A secret as it may stand in a file: as it is, in JSON, in an address."""
    return value, json.dumps(value)[1:-1], quote(value, safe=""), unquote(value)


def known() -> list[str]:
    """What the environment holds, the longest first: keys, and passwords in addresses (proxies)."""
    values = set()
    for name, value in os.environ.items():
        # The path of a file with a key in it is no key.
        if NAMES.search(name) and not os.path.exists(value):
            values.add(value)
        for user, password in ADDRESS.findall(value):
            pair = f"{unquote(user)}:{unquote(password)}"
            values |= {password, base64.b64encode(pair.encode()).decode()}
    forms = {form for value in values for form in _forms(value) if len(form) >= SHORTEST}
    return sorted(forms, key=len, reverse=True)


def hide_known(text: str) -> str:
    """Text without the secrets that the environment holds."""
    for value in known():
        text = text.replace(value, HIDDEN)
    return text


def redact(text: str) -> str:
    """Text without known secrets, and without what is written as one.

    Redact before you cut: half a key is not found.
    """
    text = ADDRESS.sub(rf"\1:{HIDDEN}@", hide_known(text))
    return WRITTEN.sub(HIDDEN, GIVEN.sub(rf"\1{HIDDEN}", text))


def holds_secret(text: str) -> bool:
    """Does a text hold a key or a password? `$NAME`, a variable of the environment, is none."""
    named = ADDRESS.sub(lambda m: "@" if m[2].startswith("$") else m[0], text)
    return redact(named) != named


def mask(stream: TextIO) -> None:
    """Have a stream of text write no secret from now on."""
    write = stream.write
    stream.write = lambda text: write(redact(text))  # type: ignore[method-assign]

"""How long a server asks not to be asked again."""

import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

LONGEST_WAIT = 600.0           # seconds; a server that asks for more is told of, not waited for


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds of a Retry-After header (a number or a date), or None."""
    given = headers.get("retry-after", "").strip()
    try:
        if given[:1].isdigit():
            return max(0.0, float(given))
        return max(0.0, parsedate_to_datetime(given).timestamp() - time.time())
    except ValueError:
        return None


def patience_of(error: BaseException) -> float | None:
    """The seconds that a server asks to wait (Retry-After), or None."""
    response = getattr(error, "response", None)
    if response is None:
        return None
    return retry_after(response.headers) or None

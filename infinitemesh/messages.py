"""Words that several errors share."""

from collections.abc import Collection
from difflib import get_close_matches


def nearest(name: str, known: Collection[str]) -> str:
    """For the end of a message: the closest known name, or all of them."""
    close = get_close_matches(name, list(known), n=1)
    return f". Did you mean `{close[0]}`?" if close else f"; known are {', '.join(known) or 'none'}"

"""The one exception that a user's mistake raises."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """A mistake in the user's input, told in one line: the thing, the rule, the value and the choices.

    The command line prints it to stderr and exits with status 2; the dashboard shows it in a red box.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


def unknown(kind: str, value: object, choices: Iterable[object], *, most: int = 40) -> UserError:
    """The error for a name that is none of the choices; the nearest choice is suggested."""
    names = [str(choice) for choice in choices]
    near = get_close_matches(str(value), names, n=1, cutoff=0.5)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    listed = ", ".join(names[:most]) + (f", and {len(names) - most} more" if len(names) > most else "")
    return UserError(f"No {kind} '{value}'.{hint} Known: {listed or 'none'}.")

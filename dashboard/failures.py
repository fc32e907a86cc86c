"""What went wrong, as one red box that names it: never a traceback, and the rest of the page stays."""

import sys
import traceback
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

import streamlit as st

from attribution.errors import UserError
from dashboard import workspaces
from dashboard.markdown import plain

P = ParamSpec("P")


def shown(draw: Callable[[], object]) -> bool:
    """Draw a part of the page, or the red box that says why it cannot be drawn; whether it was drawn."""
    try:
        draw()
    except UserError as error:
        _box(str(error))
    except OSError as error:
        traceback.print_exc(file=sys.stderr)
        _box(f"{error.filename or 'A file'} cannot be read or written: {error.strerror or error}.")
    else:
        return True
    return False


def guarded(draw: Callable[P, None]) -> Callable[P, None]:
    """The function with a red box in place of what it cannot draw: a fragment has nobody above it to catch that."""

    @wraps(draw)
    def guard(*arguments: P.args, **options: P.kwargs) -> None:
        def look_and_draw() -> None:
            workspaces.look()
            draw(*arguments, **options)

        shown(look_and_draw)

    return guard


def _box(message: str) -> None:
    st.error(plain(message), icon=":material/error:")

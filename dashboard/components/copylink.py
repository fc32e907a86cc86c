"""A button that copies the address of the page, which holds the selection."""

from dashboard.components.mounting import define_component

_copylink = define_component("copylink")


def copy_link(*, key: str) -> None:
    """Draw the button. What it copies is read from the browser at the click, so it never lags behind the page."""
    _copylink(key=key, data={})

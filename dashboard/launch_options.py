"""The options the dashboard is started with.

Streamlit finds .streamlit/config.toml in the working directory only, so an installed package passes its theme as flags.
"""

import json
from pathlib import Path

# Blue in which text can be read on a page of either scheme.
BLUE_ON_LIGHT, BLUE_ON_DARK = "#2166ac", "#7db4ea"

_SHARED_THEME = {
    "baseFontSize": 15,
    "baseRadius": "10px",
    "headingFontSizes": json.dumps(["1.6rem", "1.3rem", "1.13rem", "1rem", "0.95rem", "0.9rem"]),
    "paddingTop": "2.5rem",
    "showSidebarBorder": "true",
}

_LIGHT_THEME = {
    "primaryColor": BLUE_ON_LIGHT,
    "codeTextColor": "#0d1116",
    "backgroundColor": "#ffffff",
    "secondaryBackgroundColor": "#f7f8fa",
    "textColor": "#0d1116",
    "borderColor": "#e4e7ec",
    "chartCategoricalColors": json.dumps(["#2166ac", "#e08214", "#5aae61", "#7b6fb0", "#667085", "#b2455f"]),
}

_DARK_THEME = {
    "primaryColor": "#3577b8",
    "linkColor": BLUE_ON_DARK,
    "codeTextColor": "#e8eaed",
    "backgroundColor": "#0f1216",
    "secondaryBackgroundColor": "#1a2027",
    "textColor": "#e8eaed",
    "borderColor": "#2a2f37",
    "chartCategoricalColors": json.dumps(["#5c9ede", "#f0a046", "#7cc283", "#a99fdb", "#98a2b3", "#dd7f97"]),
}

OPTIONS = [
    "--browser.gatherUsageStats=false",
    "--server.showEmailPrompt=false",
    "--server.fileWatcherType=none",
    "--client.toolbarMode=minimal",
    "--client.showErrorDetails=none",
    "--client.showErrorLinks=false",
    *(f"--theme.{name}={value}" for name, value in _SHARED_THEME.items()),
    *(f"--theme.light.{name}={value}" for name, value in _LIGHT_THEME.items()),
    *(f"--theme.dark.{name}={value}" for name, value in _DARK_THEME.items()),
]


def streamlit_arguments(script: Path, *, host: str, port: int) -> list[str]:
    """What follows `streamlit` on the command line to serve `script` at http://host:port."""
    return ["run", str(script), f"--server.address={host}", f"--server.port={port}", *OPTIONS]

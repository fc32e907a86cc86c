"""Serves the dashboard: `python -m dashboard WORKSPACE --host H --port P --allow FOLDER`.

It is what the `influscope dashboard` command runs.
"""

import argparse
import gc
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dashboard import cache, recent, workspaces
from dashboard.launch_options import streamlit_arguments

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def main() -> None:
    """Set the workspace, then hand over to Streamlit's own command line."""
    parser = argparse.ArgumentParser(prog="python -m dashboard")
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8501)
    parser.add_argument("--allow", type=Path, action="append")
    given = parser.parse_args()
    os.environ[workspaces.WORKSPACE_VARIABLE] = str(given.workspace)
    # Who can reach the server can read what it may open: beyond this machine nothing is allowed unasked.
    if given.allow or given.host not in LOOPBACK:
        os.environ[workspaces.ALLOWED_VARIABLE] = json.dumps([str(folder) for folder in given.allow or []])
    recent.remember(workspaces.own())
    from streamlit.web import cli

    # Before the server answers, so that nobody waits for a page; in a thread that ends (see `dashboard.turns`).
    with ThreadPoolExecutor(1) as own:
        own.submit(cache.warm_up).result()
    # Streamlit collects garbage after every run of a page: 0.3 s when it looks through all that was loaded until here.
    gc.freeze()

    script = Path(__file__).with_name("app.py")
    sys.argv = ["streamlit", *streamlit_arguments(script, host=given.host, port=given.port)]
    sys.exit(cli.main())


if __name__ == "__main__":
    main()

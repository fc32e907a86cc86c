"""Serves the dashboard: `python -m dashboard WORKSPACE --host H --port P` (the `influscope dashboard` command)."""

import argparse
import os
import sys
from importlib import import_module
from pathlib import Path

from attribution.registry import methods
from dashboard.cache import WORKSPACE_VARIABLE
from dashboard.launch_options import streamlit_arguments


def main() -> None:
    """Set the workspace, then hand over to Streamlit's own command line."""
    parser = argparse.ArgumentParser(prog="python -m dashboard")
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8501)
    given = parser.parse_args()
    os.environ[WORKSPACE_VARIABLE] = str(given.workspace)
    from streamlit.web import cli

    # Loaded before the server answers, so that the first page does not wait for torch and transformers.
    methods()
    import_module("transformers.models.auto.modeling_auto")

    script = Path(__file__).with_name("app.py")
    sys.argv = ["streamlit", *streamlit_arguments(script, host=given.host, port=given.port)]
    sys.exit(cli.main())


if __name__ == "__main__":
    main()

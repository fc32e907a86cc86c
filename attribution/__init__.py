"""Influscope: saliency of a text classifier, and the training examples behind it.

Every score has one sign: positive = proponent. Training on the example raised the explained quantity, and
removing it is predicted to lower it. Importing this package is light: torch is loaded on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from attribution.errors import UserError

if TYPE_CHECKING:
    from attribution.creation import create_workspace
    from attribution.registry import attribute, list_methods
    from attribution.workspace import open_workspace

__version__ = "0.1.0"
__all__ = ["UserError", "__version__", "attribute", "create_workspace", "list_methods", "open_workspace"]

_HOMES = {
    "attribute": "attribution.registry",
    "list_methods": "attribution.registry",
    "create_workspace": "attribution.creation",
    "open_workspace": "attribution.workspace",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'attribution' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)

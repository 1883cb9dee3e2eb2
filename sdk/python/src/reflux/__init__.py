"""Nodes and a client for Reflux.

A node is a typed function; a worker serves it, and flows call it::

    @reflux.node(name="text.upper", version="1.0.0", effects="pure")
    def upper(text: str) -> str:
        return text.upper()

    reflux.serve([upper])
"""

from ._client import Client, Error, Run, RunFailed, Update
from ._context import Attempt, Context
from ._failure import Failure
from ._node import Circuit, Effects, Node, Tunable, node
from ._worker import run_worker, serve

__all__ = [
    "Attempt",
    "Circuit",
    "Client",
    "Context",
    "Effects",
    "Error",
    "Failure",
    "Node",
    "Run",
    "RunFailed",
    "Tunable",
    "Update",
    "node",
    "run_worker",
    "serve",
]

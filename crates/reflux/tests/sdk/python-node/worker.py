"""Serves the node `ring.python` from the installed package."""

from __future__ import annotations

import json
import time
import urllib.request

import reflux


@reflux.node(
    name="ring.python",
    version="1.0.0",
    effects="idempotent",
    heartbeat_sec=3,
    retries=[0.1] * 30,
    metrics=["rung"],
)
def ring(url: str, path: list[str], context: reflux.Context) -> list[str]:
    """Calls a number and writes itself behind the path."""
    attempt = context.attempt
    body = {"key": attempt.idempotency_key, "run": attempt.workflow_id, "step": attempt.step, "attempt": attempt.attempt}
    context.progress(0.5)
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as response:
        response.read()
    time.sleep(0.1)
    context.log(f"rang for {attempt.step}")
    context.metric("rung", 1)
    context.tokens(3, 2)
    context.cost(0.5)
    return [*path, attempt.step]


@reflux.node(name="fail.python", version="1.0.0", effects="pure", retries=[])
async def fail(text: str, context: reflux.Context) -> str:
    """Fails with what it was given."""
    context.log(f"it was {text}")
    raise reflux.Failure("Told.To", f"not {text}", retryable=False, details={"text": text})


reflux.serve([ring, fail])

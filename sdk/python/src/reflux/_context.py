"""What a node sees of the attempt it is, and what is collected from it."""

from __future__ import annotations

import json
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

Level = Literal["debug", "info", "warn", "error"]

# How much of an attempt is kept; the server cuts to the same.
_LOG_LINES_MAX = 1_000
_LOG_BYTES_MAX = 64 << 10
_METRICS_MAX = 64


@dataclass(frozen=True)
class Attempt:
    """Which attempt of which step of which run this is."""

    namespace: str = "default"
    #: The run.
    run_id: str = ""
    #: The workflow the run belongs to; the same after a re-drive.
    workflow_id: str = ""
    #: The flow's name.
    flow: str = ""
    #: The step's id in the flow.
    step: str = ""
    #: The activation: ``step``, ``step#2`` for a visit, ``step[3]`` for an item.
    activation_id: str = ""
    #: 1 for the first attempt.
    attempt: int = 1
    #: The same for every attempt of this activation; different for every other one.
    idempotency_key: str = ""
    #: When the step was scheduled, in milliseconds since 1970.
    scheduled_at_ms: int = 0
    #: When the attempt is given up, in milliseconds since 1970.
    deadline_ms: int | None = None
    #: The details of the last heartbeat of the attempt before, to continue from.
    last_heartbeat: Any = None


def _no_beat() -> None:
    pass


@dataclass
class Context:
    """The attempt a node is called for. May be used from any thread.

    A node that takes a parameter of this type gets it; a test makes one with ``Context()``.
    """

    attempt: Attempt = field(default_factory=Attempt)
    _beat: Callable[[], None] = _no_beat
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _cancelled: threading.Event = field(default_factory=threading.Event)
    _logs: deque[dict[str, Any]] = field(default_factory=lambda: deque[dict[str, Any]]())
    _log_bytes: int = 0
    _logs_dropped: int = 0
    _metrics: dict[str, float] = field(default_factory=lambda: dict[str, float]())
    _tokens: tuple[int, int] = (0, 0)
    _cost_usd: float = 0.0
    _details: Any = None

    def __post_init__(self) -> None:
        # An attempt that says nothing new hands on where the one before got to.
        self._details = self.attempt.last_heartbeat

    @property
    def cancelled(self) -> bool:
        """Whether the attempt is asked to stop. An ``async`` node is cancelled at its ``await`` as well."""
        return self._cancelled.is_set()

    def remaining(self) -> timedelta | None:
        """The time left until the deadline; ``None`` without one, zero when it has passed."""
        if self.attempt.deadline_ms is None:
            return None
        return timedelta(milliseconds=max(0, self.attempt.deadline_ms - _now_ms()))

    def heartbeat(self, details: Any) -> None:
        """Tell how far the attempt got: JSON, which the next attempt finds in ``attempt.last_heartbeat``.

        That the attempt is alive is told without this.
        """
        json.dumps(details)  # a value that is no JSON fails here, in the node
        with self._lock:
            self._details = details
        self._beat()

    def progress(self, done: float) -> None:
        """Tell how much is done, from 0 to 1: the metric ``progress``."""
        self.metric("progress", min(1.0, max(0.0, done)))
        self._beat()

    def log(self, text: str, level: Level = "info") -> None:
        """Keep a log line with the attempt. Text with line breaks becomes several lines."""
        with self._lock:
            for line in text.splitlines():
                line = line.encode()[:_LOG_BYTES_MAX].decode(errors="ignore")
                self._logs.append({"at_ms": _now_ms(), "level": level, "line": line})
                self._log_bytes += len(line.encode())
                while self._log_bytes > _LOG_BYTES_MAX or len(self._logs) > _LOG_LINES_MAX:
                    self._log_bytes -= len(self._logs.popleft()["line"].encode())
                    self._logs_dropped += 1

    def metric(self, name: str, value: float) -> None:
        """Set a metric; the last value of a name counts, a value that is not finite is dropped."""
        with self._lock:
            if math.isfinite(value) and (name in self._metrics or len(self._metrics) < _METRICS_MAX):
                self._metrics[name] = float(value)

    def tokens(self, input: int, output: int) -> None:
        """Add tokens of a language model."""
        with self._lock:
            self._tokens = (self._tokens[0] + input, self._tokens[1] + output)

    def cost(self, usd: float) -> None:
        """Add a cost in US dollars; one that is not finite or negative is dropped."""
        with self._lock:
            if math.isfinite(usd) and usd >= 0:
                self._cost_usd += usd

    def _report(self, logs: bool) -> dict[str, Any]:
        """What the attempt told so far, in the form that the server reads; empty when that is nothing."""
        with self._lock:
            report: dict[str, Any] = {}
            if self._metrics:
                report["metrics"] = dict(self._metrics)
            if self._tokens != (0, 0):
                report["tokens"] = {"input": self._tokens[0], "output": self._tokens[1]}
            if self._cost_usd:
                report["cost_usd"] = self._cost_usd
            if logs and (self._logs or self._logs_dropped):
                report["logs"] = list(self._logs)
                report["logs_dropped"] = self._logs_dropped
            return report


def _now_ms() -> int:
    return time.time_ns() // 1_000_000

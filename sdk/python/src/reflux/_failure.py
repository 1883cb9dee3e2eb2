"""Why an attempt failed, in words for a person and in fields for a retry policy."""

from __future__ import annotations

from datetime import timedelta
from typing import Any


class Failure(Exception):
    """The failure of one attempt.

    Any other exception is a failure too: its kind is the exception's class, and it is retried.
    """

    def __init__(
        self,
        kind: str,
        message: str,
        *,
        retryable: bool = True,
        details: Any = None,
        retry_after: timedelta | None = None,
    ) -> None:
        super().__init__(message)
        #: Dotted words to branch on: ``Http.Status``.
        self.kind = kind
        #: What happened and what to do next, without secrets.
        self.message = message
        #: Whether another attempt with the same input may succeed.
        self.retryable = retryable
        #: Facts for a handler, for example ``{"status": 503}``.
        self.details = details
        #: The earliest time for another attempt, when the other side named one.
        self.retry_after = retry_after

    @classmethod
    def bad_input(cls, message: str) -> Failure:
        """The input cannot be used; not retryable."""
        return cls("BadInput", message, retryable=False)

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}"

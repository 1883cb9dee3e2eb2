import type { Json } from "./schema.js";

/** What is known of a failure beside its kind and message. */
export interface FailureOptions {
  /** Whether another attempt with the same input may succeed; `true` unless said. */
  retryable?: boolean;
  /** Facts for a handler, for example `{ status: 503 }`. */
  details?: Json;
  /** The earliest time for another attempt, in milliseconds from now, when the other side named one. */
  retryAfterMs?: number;
}

/**
 * The failure of one attempt. Anything else that is thrown is a failure too: its kind is the error's name, and it is
 * retried.
 */
export class Failure extends Error {
  readonly retryable: boolean;
  readonly details: Json | undefined;
  readonly retryAfterMs: number | undefined;

  constructor(
    /** Dotted words to branch on: `Http.Status`. */
    readonly kind: string,
    message: string,
    options: FailureOptions = {},
  ) {
    super(message);
    this.name = "Failure";
    this.retryable = options.retryable ?? true;
    this.details = options.details;
    this.retryAfterMs = options.retryAfterMs;
  }

  /** The input cannot be used; not retryable. */
  static badInput(message: string): Failure {
    return new Failure("BadInput", message, { retryable: false });
  }
}

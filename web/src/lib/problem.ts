import type { ErrorCode, ProblemBody } from './types';

/** Why something could not be done: the server's word, or that there was none. */
export class Problem extends Error {
  /** `offline`: no answer came, and nothing can have happened or it is safe to ask again. */
  readonly code: ErrorCode | 'offline';
  readonly body: ProblemBody | null;

  constructor(code: ErrorCode | 'offline', body: ProblemBody | null = null) {
    super(code);
    this.code = code;
    this.body = body;
  }
}

export const problemOf = (error: unknown): Problem =>
  error instanceof Problem ? error : new Problem('offline');

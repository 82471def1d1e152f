import { tick } from 'svelte';

import { t } from '../i18n/index.svelte';
import { problemOf } from './problem';

/**
 * What is said about a form that was sent. Its fields are the component's own and
 * stay as they are, whatever the answer.
 */
export class Form {
  /** What is wrong with a field, by the server's name of it. */
  errors = $state.raw<Record<string, string>>({});
  said = $state('');
  busy = $state(false);
  /** It was saved, and nothing has been sent since. */
  saved = $state(false);
  #shown: Set<string> | null;

  /** Names the fields that say themselves what is wrong with them; all others are said for the form. */
  constructor(...fields: string[]) { this.#shown = fields.length ? new Set(fields) : null; }

  /** Sends it; false where it was refused. */
  async send(how: () => Promise<unknown>): Promise<boolean> {
    if (this.busy) return false;
    this.busy = true;
    this.said = '';
    this.errors = {};
    this.saved = false;
    try {
      await how();
      this.saved = true;
      return true;
    } catch (error) {
      await this.refuse(error);
      return false;
    } finally {
      this.busy = false;
    }
  }

  async refuse(error: unknown) {
    const problem = problemOf(error);
    const errors: Record<string, string> = {};
    const others: string[] = [];
    for (const { field, message } of problem.body?.errors ?? []) {
      if (!this.#shown || this.#shown.has(field)) errors[field] = fault(message);
      else others.push(`${field}: ${fault(message)}`);
    }
    this.errors = errors;
    this.said = [t.common.problems[problem.code] ?? t.common.problems.internal, ...others].join(' ');
    await tick();
    document.querySelector<HTMLElement>('[aria-invalid="true"]')?.focus();
  }
}

/** What the server says of a field, in the page's language where that has words for it. */
function fault(message: string): string {
  for (const [pattern, text] of t.forms.faults) {
    const found = pattern.exec(message);
    if (found) return text(...found.slice(1));
  }
  return message;
}

import { problemOf, type Problem } from './problem';

type Page<T> = { items: T[]; next: string | null };

/** A list that comes page by page, as far as somebody wants to see. */
export class Paged<T> {
  items = $state.raw<T[]>([]);
  /** Whether there is more. */
  more = $state(false);
  busy = $state(false);
  /** Whether a first page has come. */
  known = $state(false);
  problem = $state.raw<Problem | null>(null);
  #ask: (after?: string) => Promise<Page<T>>;
  #after: string | undefined;
  #turn = 0;

  constructor(ask: (after?: string) => Promise<Page<T>>) { this.#ask = ask; }

  /** Begins anew, perhaps with another question; what is shown stays until the answer is there. */
  async begin(ask = this.#ask) {
    this.#ask = ask;
    await this.#page(undefined);
  }

  async next() {
    if (this.more && !this.busy) await this.#page(this.#after);
  }

  async #page(after: string | undefined) {
    const turn = ++this.#turn;
    this.busy = true;
    try {
      const page = await this.#ask(after);
      if (turn !== this.#turn) return;
      this.items = after === undefined ? page.items : [...this.items, ...page.items];
      this.#after = page.next ?? undefined;
      this.more = page.next !== null;
      this.known = true;
      this.problem = null;
    } catch (error) {
      if (turn === this.#turn) this.problem = problemOf(error);
    } finally {
      if (turn === this.#turn) this.busy = false;
    }
  }
}

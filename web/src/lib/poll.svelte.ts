import { problemOf, type Problem } from './problem';

/**
 * What is asked for again and again: at once, then some time after each answer,
 * and not while nobody can see the page.
 */
export class Poll<T> {
  /** The newest answer; it stays while later ones fail. */
  value = $state.raw<T | null>(null);
  /** Since when it has not been answered, or null. */
  downSince = $state<number | null>(null);
  /** Why the last one failed. */
  problem = $state.raw<Problem | null>(null);
  readonly #ask: () => Promise<T>;
  readonly #every: number;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #turn = 0;
  #stopped = false;
  readonly #wake = () => { if (document.visibilityState === 'visible') this.now(); };

  constructor(ask: () => Promise<T>, every: number) {
    this.#ask = ask;
    this.#every = every;
    document.addEventListener('visibilitychange', this.#wake);
    addEventListener('online', this.#wake);
    this.now();
  }

  /** Asks now; an answer that is still to come from before is not looked at. */
  now() {
    clearTimeout(this.#timer);
    if (!this.#stopped) void this.#next(++this.#turn);
  }

  async #next(turn: number) {
    const mine = () => turn === this.#turn && !this.#stopped;
    try {
      const value = await this.#ask();
      if (!mine()) return;
      this.value = value;
      this.problem = null;
      this.downSince = null;
    } catch (error) {
      if (!mine()) return;
      this.problem = problemOf(error);
      this.downSince ??= Date.now();
    }
    if (document.visibilityState === 'visible') this.#timer = setTimeout(() => this.now(), this.#every);
  }

  stop() {
    this.#stopped = true;
    clearTimeout(this.#timer);
    document.removeEventListener('visibilitychange', this.#wake);
    removeEventListener('online', this.#wake);
  }
}

import type { KeyMode } from './keys';

interface Kept { desk: string; queues: string[]; current: string; keys: KeyMode }

/** What this device remembers for a user: the desk, its queues, and how keys are pressed. */
export class Choice {
  desk = $state('');
  queues = $state.raw<string[]>([]);
  /** The queue in front, one of `queues`. */
  current = $state('');
  keys = $state<KeyMode>('alt');
  readonly #name: string;

  constructor(user: string) {
    this.#name = `console:${user}`;
    try {
      const kept = JSON.parse(localStorage.getItem(this.#name) ?? '{}') as Partial<Kept>;
      this.desk = kept.desk ?? '';
      this.queues = kept.queues ?? [];
      this.current = kept.current ?? '';
      this.keys = kept.keys ?? 'alt';
    } catch {
      // Whatever stood there, one chooses anew.
    }
  }

  get made() { return this.desk !== '' && this.queues.length > 0; }

  keep(change: Partial<Kept>) {
    Object.assign(this, change);
    if (!this.queues.includes(this.current)) this.current = this.queues[0] ?? '';
    const { desk, queues, current, keys } = this;
    localStorage.setItem(this.#name, JSON.stringify({ desk, queues, current, keys } satisfies Kept));
  }
}

import type { Live } from '../lib/live.svelte';
import { problemOf } from '../lib/problem';
import type { QueueView } from '../lib/queue.svelte';
import type { Row, Status } from './glance';
import { setStatus, type Acting, type Done } from './overview.svelte';

/** One queue that is followed live, with what can be done to it as in the overview. */
export class Following implements Acting {
  done = $state.raw<Done | null>(null);
  busy = $state(false);
  readonly #live: Live;
  readonly #view: QueueView;

  constructor(live: Live, view: QueueView) {
    this.#live = live;
    this.#view = view;
  }

  get downSince() { return this.#live.up ? null : (this.#live.downSince ?? Date.now()); }

  statusOf(queue: string) { return queue === this.#view.id ? this.#view.fields?.status : undefined; }

  get row(): Row | null {
    const { fields, waiting, active, held, id } = this.#view;
    if (!fields) return null;
    const first = waiting.reduce<string | null>((least, w) => (least === null || w.enqueued_at < least ? w.enqueued_at : least), null);
    return {
      id, name: fields.name, status: fields.status, target_wait_seconds: fields.target_wait_seconds, waiting_since: first,
      waiting: waiting.length, held: held.length, called: active.filter((a) => a.state === 'called').length,
      serving: active.filter((a) => a.state === 'serving').length, attendants: new Set(active.map((a) => a.attendant)).size,
      served_today: 0, within_target_today: null, // which the plots say
    };
  }

  async give(row: Row, status: Status) {
    this.busy = true;
    const before = row.status;
    try {
      await setStatus(row.id, status);
      this.done = { row, status, before, problem: null };
    } catch (error) {
      this.done = { row, status, before, problem: problemOf(error) };
      throw error;
    } finally {
      this.busy = false;
    }
  }
}

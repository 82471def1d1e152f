import { api, data } from '../lib/api';
import { key } from '../lib/live.svelte';
import { Poll } from '../lib/poll.svelte';
import { problemOf, type Problem } from '../lib/problem';
import { glance, type Row, type Status } from './glance';

const every = 3000; // ms

/** Where a queue's status is changed: the list of all, or one that is followed. */
export interface Acting {
  readonly busy: boolean;
  done: Done | null;
  /** Since when what is shown may be old, or null. */
  readonly downSince: number | null;
  give(row: Row, status: Status): Promise<void>;
  /** A queue's status as it is known now. */
  statusOf(queue: string): Status | undefined;
}

export interface Done { row: Row; status: Status; before: Status; problem: Problem | null }

/** All queues, asked for every few seconds, and what was done to them here. */
export class Overview implements Acting {
  readonly poll = new Poll(glance, every);
  /** Statuses that were given here and that an answer may not show yet. */
  #given = $state.raw<Record<string, Status>>({});
  /** The newest act, which can be undone. */
  done = $state.raw<Done | null>(null);
  busy = $state(false);
  rows = $derived((this.poll.value ?? []).map((r) => ({ ...r, status: this.#given[r.id] ?? r.status })));

  get downSince() { return this.poll.downSince; }

  statusOf(queue: string) { return this.rows.find((r) => r.id === queue)?.status; }

  async give(row: Row, status: Status) {
    this.busy = true;
    const before = row.status;
    try {
      await setStatus(row.id, status);
      this.#given = { ...this.#given, [row.id]: status };
      this.done = { row, status, before, problem: null };
      // The list follows the queue within a second.
      setTimeout(() => {
        const { [row.id]: _, ...rest } = this.#given;
        this.#given = rest;
        this.poll.now();
      }, 1500);
    } catch (error) {
      this.done = { row, status, before, problem: problemOf(error) };
      throw error;
    } finally {
      this.busy = false;
    }
  }

  stop() { this.poll.stop(); }
}

/** Opens, pauses or closes a queue. */
export const setStatus = (queue: string, status: Status) =>
  data(api.PATCH('/api/v1/queues/{queue}', { params: { path: { queue }, header: { 'Idempotency-Key': key() } }, body: { status } }));

import { api, data } from '../lib/api';
import { key, Live } from '../lib/live.svelte';
import { problemOf, type Problem } from '../lib/problem';
import type { PublicTicket } from '../lib/types';

type Shown = Omit<PublicTicket, 'customer' | 'payload'>;

/** One's own ticket, by the token in its link: how it stands, live. */
export class Holder {
  readonly token: string;
  readonly live: Live;
  ticket = $state.raw<Shown | null>(null);
  /** The name of the queue that it is in, where that queue is public. */
  queue = $state<string | null>(null);
  /** It has come to this queue from another one while it was looked at. */
  moved = $state(false);
  /** The holder has left the line on this page. */
  left = $state(false);
  leaving = $state(false);
  trouble = $state<Problem['code'] | null>(null);
  readonly #called: (t: Shown) => void;
  #leaveKey = '';

  /** called is told of each call that is made while the page is open. */
  constructor(token: string, called: (t: Shown) => void) {
    this.token = token;
    this.#called = called;
    this.live = new Live({ token, other: (f) => { if (f.type === 'ticket') this.#take(f.data); } });
  }

  close() { this.live.close(); }

  #take(t: Shown) {
    const before = this.ticket;
    this.ticket = t;
    if (t.state !== 'removed') this.left = false; // it was brought back
    if (t.queue !== before?.queue) {
      this.moved = before !== null;
      void this.#name(t.queue);
    }
    if (before && t.state === 'called' && (t.calls > before.calls || t.queue !== before.queue)) this.#called(t);
  }

  async #name(queue: string) {
    this.queue = null;
    const found = await data(api.GET('/api/v1/public/queues/{queue}', { params: { path: { queue } } })).catch(() => null);
    if (this.ticket?.queue === queue) this.queue = found?.name ?? null;
  }

  /** Leaves the line; asked again after a lost answer it is the same wish. */
  async leave() {
    this.leaving = true;
    this.left = false;
    this.trouble = null;
    this.#leaveKey ||= key();
    try {
      const params = { path: { token: this.token }, header: { 'Idempotency-Key': this.#leaveKey } };
      this.ticket = await data(api.DELETE('/api/v1/public/tickets/{token}', { params }));
      this.left = true;
      this.#leaveKey = ''; // it can be brought back, and left again
      // A session tells what differs from what it told last; it does not know what is shown by this answer.
      this.live.again();
    } catch (error) {
      this.trouble = problemOf(error).code;
      if (this.trouble === 'ticket_not_waiting') this.#leaveKey = '';
    } finally {
      this.leaving = false;
    }
  }
}

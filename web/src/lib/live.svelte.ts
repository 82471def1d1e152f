import { Problem } from './problem';
import { QueueView } from './queue.svelte';
import type { CommandName, Frame, ProblemBody } from './types';

// All in milliseconds, by a clock that nobody sets.
const pingEvery = 4_000;
const silence = 5_000; // after a ping: the connection is dead, whatever the browser thinks
const wakeSilence = 2_500; // the same when the device wakes up or has a network again
const openSilence = 10_000; // until the login is answered
const firstBackoff = 250;
const maxBackoff = 3_000;
const goodLife = 5_000; // after a connection as long as this, dialling begins with the shortest backoff again
const together = 16; // frames that come within so short a time are taken in one go
const commandBudget = 20_000; // how long a command is tried, with one key
const askAgain = 30_000; // for a queue that is gone or may not be seen: it may be there by then

/** Begins the ids of subscriptions, which share a session's ids with commands. */
const followed = 'queue:';

interface Pending {
  frame: string;
  queue: string;
  until: number;
  yes(data: unknown): void;
  no(error: Problem): void;
}

interface LiveOptions {
  /** An API key or a ticket's token; without one the browser's cookie logs in. */
  token?: string;
  /** Called when the login is not good (any more); true: try again. */
  refused?: () => Promise<boolean>;
  /** Frames that are not about a followed queue: a ticket's. */
  other?: (frame: Frame) => void;
}

/**
 * A live session: one WebSocket that is opened again for as long as it is
 * wanted, and the queues that are followed over it. After a cut each goes on
 * from the version that it has; a command whose answer was lost is sent again
 * with its key, so that it happens once.
 */
export class Live {
  /** Whether what is shown is what is so. */
  up = $state(false);
  /** Since when it is not, or null. */
  downSince = $state<number | null>(null);
  /** The login was refused for good. */
  ended = $state(false);
  readonly #options: LiveOptions;
  readonly #views = new Map<string, { view: QueueView; users: number }>();
  readonly #pending = new Map<string, Pending>();
  #socket: WebSocket | null = null;
  #opened = 0;
  #heard = 0;
  #asked = -Infinity; // for queues that were not there
  #tries = 0;
  #lastId = 0;
  #retry: ReturnType<typeof setTimeout> | undefined;
  readonly #beat: ReturnType<typeof setInterval>;
  #inbox: Frame[] = [];
  #gathering: ReturnType<typeof setTimeout> | undefined;
  #closed = false;
  readonly #wake = () => this.#hurry();

  constructor(options: LiveOptions = {}) {
    this.#options = options;
    this.#beat = setInterval(() => this.#check(), pingEvery);
    addEventListener('online', this.#wake);
    document.addEventListener('visibilitychange', this.#wake);
    this.#connect();
  }

  /** Ends the session for good. */
  close() {
    this.#closed = true;
    clearInterval(this.#beat);
    clearTimeout(this.#retry);
    removeEventListener('online', this.#wake);
    document.removeEventListener('visibilitychange', this.#wake);
    this.#drop();
    for (const p of this.#pending.values()) p.no(new Problem('offline'));
    this.#pending.clear();
  }

  /** Begins the connection anew: the login has changed. Nothing is missed, for it goes on where it was. */
  again() {
    if (!this.#closed && !this.ended) this.#connect();
  }

  /** Follows a queue; call leave as often as follow. */
  follow(queue: string): QueueView {
    const known = this.#views.get(queue);
    if (known) {
      known.users++;
      return known.view;
    }
    const view = new QueueView(queue);
    this.#views.set(queue, { view, users: 1 });
    if (this.up) this.#subscribe(view);
    return view;
  }

  leave(queue: string) {
    const known = this.#views.get(queue);
    if (!known || --known.users > 0) return;
    this.#views.delete(queue);
    if (this.up) this.#send({ type: 'unsubscribe', id: `u${++this.#lastId}`, queue });
  }

  /** Sends a command until it is answered; throws a Problem where it was refused. */
  command<T = unknown>(queue: string, command: CommandName, args: object = {}): Promise<T> {
    if (!this.up) return Promise.reject(new Problem('offline'));
    const id = `c${++this.#lastId}`;
    const frame = JSON.stringify({ type: 'command', id, queue, command, args, idempotency_key: key() });
    return new Promise<T>((yes, no) => {
      this.#pending.set(id, { frame, queue, until: performance.now() + commandBudget, yes: yes as (d: unknown) => void, no });
      this.#write(frame);
    });
  }

  #send(frame: object) { this.#write(JSON.stringify(frame)); }

  /** A socket that is closing takes nothing, and complains: what counts is sent again over the next one. */
  #write(frame: string) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(frame);
  }

  #subscribe(view: QueueView) {
    this.#send({ type: 'subscribe', id: followed + view.id, queue: view.id, ...view.since() });
  }

  #drop() {
    const old = this.#socket;
    this.#socket = null;
    this.#inbox = []; // what was not taken is sent again
    clearTimeout(this.#gathering);
    this.#gathering = undefined;
    if (old) old.onmessage = old.onclose = old.onopen = null;
    old?.close();
    this.up = false;
    for (const { view } of this.#views.values()) view.cut();
  }

  #connect() {
    clearTimeout(this.#retry);
    this.#drop();
    const { token } = this.#options;
    const scheme = location.protocol === 'https:' ? 'wss' : 'ws';
    const mine = new WebSocket(`${scheme}://${location.host}/api/v1/ws${token ? '?auth=frame' : ''}`, 'nowserving.v1');
    this.#socket = mine;
    this.#opened = this.#heard = performance.now();
    mine.onopen = () => { if (token) this.#send({ type: 'auth', token }); };
    mine.onmessage = (m) => this.#receive(JSON.parse(m.data as string) as Frame);
    mine.onclose = (e) => this.#lost(e.code);
  }

  #lost(code: number) {
    const lived = this.up ? performance.now() - this.#opened : 0;
    this.#drop();
    this.downSince ??= Date.now();
    if (lived > goodLife) this.#tries = 0;
    // 1012: the node is leaving, and another one is there.
    const wait = code === 1012 && this.#tries === 0 ? 0 : Math.min(maxBackoff, firstBackoff * 2 ** this.#tries);
    this.#tries++;
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => void this.#retryLogin(code), wait * (0.5 + Math.random()) + Math.random() * 100);
  }

  async #retryLogin(code: number) {
    if (code === 4401) {
      const again = await (this.#options.refused ?? (async () => false))().catch(() => true);
      if (!again) this.ended = true;
    } else if (code === 4403) {
      this.ended = true;
    }
    if (!this.#closed && !this.ended) this.#connect();
  }

  /** Looks after what has waited for too long: commands, and the connection itself. */
  #check() {
    const at = performance.now();
    for (const [id, p] of this.#pending) {
      if (at < p.until) continue;
      this.#pending.delete(id);
      p.no(new Problem('outcome_unknown'));
    }
    if (this.up && at - this.#asked > askAgain) {
      this.#asked = at;
      for (const { view } of this.#views.values()) if (view.gone || view.trouble !== null) this.#subscribe(view);
    }
    if (this.up) this.#probe(silence);
    else if (this.#socket && at - this.#opened > openSilence) this.#lost(1006);
  }

  /** Pings, and gives the connection up where nothing is heard after it. Timers of a hidden page may come late: that is no silence. */
  #probe(patience: number) {
    const mine = this.#socket;
    const asked = performance.now();
    this.#send({ type: 'ping' });
    setTimeout(() => { if (mine && this.#socket === mine && this.#heard < asked) this.#lost(1006); }, patience);
  }

  /** The device is awake or has a network again: do not wait for the next try. */
  #hurry() {
    if (this.#closed || this.ended || document.visibilityState === 'hidden') return;
    if (!this.#socket) {
      this.#tries = 0;
      this.#connect();
    } else if (this.up) {
      this.#probe(wakeSilence);
    }
  }

  /**
   * Takes a frame at once where it comes alone. Of a flood, such as all that was
   * missed, many are taken together: the page is drawn anew after each time.
   */
  #receive(f: Frame) {
    this.#heard = performance.now();
    this.#inbox.push(f);
    // Timers of a page that nobody sees are slow, and nothing is drawn there.
    if (this.#gathering === undefined || document.visibilityState === 'hidden') this.#empty();
  }

  #empty() {
    clearTimeout(this.#gathering);
    this.#gathering = undefined;
    const frames = this.#inbox;
    this.#inbox = [];
    for (const f of frames) this.#take(f);
    if (frames.length > 0) this.#gathering = setTimeout(() => this.#empty(), together);
  }

  #take(f: Frame) {
    switch (f.type) {
      case 'ready':
        this.up = true;
        this.downSince = null;
        for (const { view } of this.#views.values()) this.#subscribe(view);
        for (const p of this.#pending.values()) this.#write(p.frame);
        this.#options.other?.(f);
        return;
      case 'reply':
        this.#answer(f);
        return;
      case 'pong':
        return;
      case 'ticket':
        this.#options.other?.(f);
        return;
      default:
        this.#views.get(f.queue)?.view.take(f);
    }
  }

  #answer(f: Frame & { type: 'reply' }) {
    const p = f.id === null ? undefined : this.#pending.get(f.id);
    if (!p) {
      if (!f.ok && f.id !== null) this.#refusedSubscription(f.id, f.error);
      return;
    }
    if (!f.ok && (f.error.code === 'outcome_unknown' || f.error.code === 'unavailable') && performance.now() < p.until - 1000) {
      setTimeout(() => { if (this.up && this.#pending.has(f.id!)) this.#write(p.frame); }, 500 + Math.random() * 500);
      return;
    }
    this.#pending.delete(f.id!);
    if (f.ok) p.yes(f.data ?? null);
    else p.no(new Problem(f.error.code, f.error));
  }

  #refusedSubscription(id: string, error: ProblemBody) {
    const queue = id.slice(followed.length);
    const known = id.startsWith(followed) && this.#views.get(queue);
    if (!known) return;
    if (error.code === 'unavailable' || error.code === 'outcome_unknown') {
      setTimeout(() => { if (this.up && this.#views.get(queue) === known) this.#subscribe(known.view); }, 1000 + Math.random() * 1000);
      return;
    }
    known.view.refused(error.code);
  }
}

/** A key of which no second one is made; randomUUID is there over HTTPS and on loopback only. */
export function key(): string {
  if (crypto.randomUUID) return crypto.randomUUID();
  const b = crypto.getRandomValues(new Uint8Array(16));
  b[6] = (b[6]! & 0x0f) | 0x40;
  b[8] = (b[8]! & 0x3f) | 0x80;
  const hex = [...b].map((x) => x.toString(16).padStart(2, '0')).join('');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}

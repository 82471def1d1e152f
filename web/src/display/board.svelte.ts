import { untrack } from 'svelte';

import { api } from '../lib/api';
import { now, onClockSet } from '../lib/clock.svelte';
import { Live } from '../lib/live.svelte';
import { newer, takeOver } from '../lib/program';
import type { QueueView } from '../lib/queue.svelte';
import { session } from '../lib/session.svelte';
import type { Ticket } from '../lib/types';
import type { Announcer, Call } from './announcer';
import type { Config } from './config';

// All in milliseconds.
const oldCall = 20_000; // a call that is older is shown and not announced
const blankAfter = 30_000; // without connection, what was called is not shown any more
const lookEvery = 10 * 60_000; // for another program
const retryEvery = 60_000; // what was refused, or is gone, may be put right without a hand on the display
const place = 'display-heard'; // in sessionStorage: over to the page that comes after a reload

interface Heard { at: number; calls: [string, number][] }

/** What is on the wall: the calls of some queues, and whether that is so. */
export class Board {
  readonly live: Live;
  readonly views: QueueView[];
  /** The key or login is not good. */
  refused = $state(false);
  /** Since when the board may be wrong; null while it is right. */
  staleSince = $state<number | null>(Date.now());
  /** It has been so for too long to show calls. */
  blank = $state(false);
  /** The newest call first; recalls count as calls. */
  readonly calls: Call[] = $derived.by(() =>
    this.views.flatMap((v) => v.active.map((t) => this.#call(v, t))).sort((a, b) => b.at - a.at));
  readonly #right = $derived.by(() => this.live.up && this.views.every((v) => v.current || v.gone || v.trouble !== null));
  readonly #announcer: Announcer;
  /** When each active ticket was called last, where that was seen. */
  #at = new Map<string, number>();
  /** How often each active ticket had been called when it was looked at last. */
  #calls = new Map<string, number>();
  /** Until when this display has heard every call. */
  #heardUntil = 0;
  readonly #stops: (() => void)[];

  /** Must be made, and is closed, with a component. */
  constructor(config: Config, announcer: (stands: (c: Call) => boolean) => Announcer) {
    this.#recall();
    this.live = new Live({ token: config.key, refused: () => this.#refused(config), other: (f) => { if (f.type === 'ready') this.refused = false; } });
    this.views = config.queues.map((q) => this.live.follow(q));
    this.#announcer = announcer((c) => this.calls.some((o) => o.ticket === c.ticket && o.calls === c.calls && o.serving === c.serving));
    this.#stops = this.views.map((v) => v.listen((e) => {
      if (e.event !== 'ticket.called' && e.event !== 'ticket.recalled') return;
      const t = e.data as Ticket;
      this.#at.set(t.id, Date.parse(e.at));
      this.#hear(v, t, Date.parse(e.at), true);
    }));
    for (const v of this.views) {
      // A snapshot: calls that were made meanwhile stand in it, and no event tells of them.
      $effect(() => {
        const active = v.fields ? v.active : [];
        untrack(() => { for (const t of active) this.#hear(v, t, Date.parse(t.called_at!), t.state === 'called'); });
      });
    }
    $effect(() => {
      const right = this.#right;
      return untrack(() => this.#judge(right));
    });
    const begun = session.renewals;
    if (!config.key) $effect(() => { if (session.renewals !== begun) this.live.again(); });
    // Each look for another program tells the server's time too.
    const looks = setInterval(() => void this.#renew(), lookEvery);
    this.#stops.push(() => clearInterval(looks), onClockSet(() => void this.#renew()));
  }

  close() {
    this.live.close();
    this.#announcer.close();
    for (const stop of this.#stops) stop();
  }

  /** Notes a call, and announces it if it is news. */
  #hear(v: QueueView, t: Ticket, at: number, calling: boolean) {
    if (t.calls <= (this.#calls.get(t.id) ?? 0)) return;
    this.#calls.set(t.id, t.calls);
    const latest = Math.max(at, this.#heardUntil); // a recall has no time of its own in a snapshot
    if (calling && now() - latest < oldCall) this.#announcer.add(this.#call(v, t));
    this.#forget();
  }

  #call(v: QueueView, t: Ticket): Call {
    return {
      ticket: t.id, number: t.number, desk: t.desk, serving: t.state === 'serving', queue: v.fields?.name ?? v.id, calls: t.calls,
      at: this.#at.get(t.id) ?? Date.parse(t.called_at ?? t.enqueued_at),
    };
  }

  /** Keeps in mind what is active only, so that weeks of calls do not gather. */
  #forget() {
    const active = new Set(this.views.flatMap((v) => v.active.map((t) => t.id)));
    for (const id of this.#calls.keys()) if (!active.has(id)) { this.#calls.delete(id); this.#at.delete(id); }
  }

  /** Sees to it that a board which may be wrong says so, and is blank in the end. */
  #judge(right: boolean) {
    if (right) {
      this.staleSince = null;
      this.blank = false;
      void this.#renew();
      return;
    }
    this.staleSince ??= Date.now();
    this.#heardUntil = Math.max(this.#heardUntil, this.#calls.size ? now() : 0);
    const timer = setTimeout(() => { this.blank = true; }, blankAfter);
    return () => clearTimeout(timer);
  }

  /** Takes over the program that the server has by now, when nothing is being said. */
  async #renew() {
    if (!(await newer())) return;
    do {
      while (!this.#announcer.idle) await new Promise((done) => setTimeout(done, 1000));
      if (!(await newer())) return; // that server may be leaving by now
    } while (!this.#announcer.idle);
    if (!this.#right) return;
    const heard: Heard = { at: now(), calls: [...this.#calls] };
    sessionStorage.setItem(place, JSON.stringify(heard));
    takeOver();
  }

  #recall() {
    const heard = JSON.parse(sessionStorage.getItem(place) ?? 'null') as Heard | null;
    sessionStorage.removeItem(place);
    if (!heard || now() - heard.at > oldCall) return;
    this.#heardUntil = heard.at;
    this.#calls = new Map(heard.calls);
  }

  /** The login was refused: says so, and tries again for ever, for a key can be allowed again. */
  async #refused(config: Config): Promise<boolean> {
    if (!config.key && (await session.renew())) return true;
    const { response } = await api.GET('/api/v1/me', { headers: config.key ? { Authorization: `Bearer ${config.key}` } : {} });
    if (response.status !== 401) return true;
    this.refused = true;
    await new Promise((done) => setTimeout(done, retryEvery));
    return true;
  }
}

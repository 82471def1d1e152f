import { t } from '../i18n/index.svelte';
import type { QueueView } from '../lib/queue.svelte';
import type { Ticket } from '../lib/types';
import type { Desk } from './desk.svelte';
import { asked, moved } from './order';

const patience = 2_000; // ms that a place is shown which was granted, before its event has come

/** A ticket that is being moved: lifted by a key and carried by arrows, or dropped by a drag. */
export class Lifting {
  id = $state<string | null>(null);
  index = $state(0);
  /** The place was asked for: it is shown until the answer is there. */
  #sent = $state(false);
  readonly #desk: Desk;

  constructor(desk: Desk) { this.#desk = desk; }

  /** Whether arrows carry it. */
  get carried() { return this.id !== null && !this.#sent; }

  /** The line as it is shown. */
  shown(view: QueueView): Ticket[] {
    return this.id === null ? view.waiting : moved(view.waiting, this.id, this.index);
  }

  lift(ticket: Ticket, index: number, count: number) {
    this.id = ticket.id;
    this.index = index;
    this.#sent = false;
    this.#desk.say(t.console.lifted(ticket.number, index + 1, count));
  }

  carry(to: number, view: QueueView) {
    this.index = Math.max(0, Math.min(to, view.waiting.length - 1));
    this.#desk.say(t.console.position(this.index + 1, view.waiting.length));
  }

  letGo(number?: string) {
    this.id = null;
    this.#sent = false;
    if (number) this.#desk.say(t.console.letGo(number));
  }

  /** Asks for the place where it is shown. */
  async drop(view: QueueView) {
    const ticket = view.waiting.find((o) => o.id === this.id);
    if (!ticket) return this.letGo();
    if (view.waiting[this.index]?.id === ticket.id) return this.letGo(ticket.number);
    this.#sent = true;
    const heard = new Promise<void>((done) => {
      const stop = view.listen((e) => { if ('number' in e.data && e.data.id === ticket.id) { stop(); done(); } });
      setTimeout(() => { stop(); done(); }, patience);
    });
    if (await this.#desk.slip(ticket, 'move', asked(this.shown(view), ticket.id), 'line')) await heard;
    if (this.id === ticket.id && this.#sent) this.letGo();
  }
}

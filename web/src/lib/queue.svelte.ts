import type { ErrorCode, Frame, QueueEvent, QueueFields, Ticket } from './types';

type QueueFrame = Extract<Frame, { type: 'snapshot' | 'snapshot_part' | 'resumed' | 'event' | 'gone' }>;

/**
 * A queue as it is followed: its fields and its line. The lists are replaced,
 * never changed in place, so that what is derived from them notices.
 */
export class QueueView {
  readonly id: string;
  /** null until the first snapshot is whole. */
  fields = $state.raw<QueueFields | null>(null);
  /** In line order: the index is the position less one, whatever a ticket's own field said when it came. */
  waiting = $state.raw<Ticket[]>([]);
  /** Called and serving ones. */
  active = $state.raw<Ticket[]>([]);
  held = $state.raw<Ticket[]>([]);
  gone = $state(false);
  /** Whether it is followed just now: what is shown is what is so. */
  current = $state(false);
  /** Why it cannot be followed. */
  trouble = $state<ErrorCode | null>(null);
  #version = 0;
  #epoch = '';
  // Whether all that is shown is of that version: not while a snapshot comes in parts.
  #complete = false;
  #total = 0;
  // Of a snapshot that comes in parts, until it is whole.
  #gathering: Ticket[] | null = null;
  #next: QueueFields | null = null;
  readonly #listeners = new Set<(e: QueueEvent) => void>();

  constructor(id: string) { this.id = id; }

  /** The version that is shown. */
  get version() { return this.#version; }

  /** Where to go on from; a snapshot that was cut in the middle is asked for anew. */
  since(): { since?: number; epoch?: string } {
    return this.#complete ? { since: this.#version, epoch: this.#epoch } : {};
  }

  /** Calls for each event, in order, none left out. Gives how to stop. */
  listen(f: (e: QueueEvent) => void): () => void {
    this.#listeners.add(f);
    return () => this.#listeners.delete(f);
  }

  refused(code: ErrorCode) {
    this.trouble = code;
    this.#empty();
  }

  /** Shows nothing: what was here is nobody's to see now. */
  #empty() {
    this.current = false;
    this.#complete = false;
    this.#gathering = this.#next = null;
    this.fields = null;
    this.waiting = this.active = this.held = [];
  }

  /** The session was cut: what is shown may be old until it is followed again. */
  cut() { this.current = false; }

  take(f: QueueFrame) {
    switch (f.type) {
      case 'snapshot': {
        const { waiting, active, held, waiting_total, ...fields } = f.data;
        this.trouble = null;
        this.gone = false;
        this.#complete = false;
        this.#version = f.version;
        this.#epoch = f.epoch;
        this.#total = waiting_total;
        this.#gathering = waiting;
        this.#next = fields;
        this.active = active;
        this.held = held;
        this.#whole();
        return;
      }
      case 'snapshot_part':
        this.#gathering = this.#gathering?.concat(f.waiting) ?? null;
        this.#whole();
        return;
      case 'resumed':
        this.trouble = null;
        this.current = true;
        return;
      case 'gone':
        this.gone = true;
        this.#empty();
        return;
      case 'event':
        this.#version = f.version;
        if (f.event.startsWith('queue.')) this.fields = { ...this.fields!, ...(f.data as QueueFields) };
        else this.#place(f.data as Ticket);
        for (const listen of this.#listeners) listen(f);
    }
  }

  #whole() {
    if (!this.#gathering || this.#gathering.length < this.#total) return;
    this.waiting = this.#gathering;
    this.fields = this.#next;
    this.#gathering = null;
    this.#next = null;
    this.#complete = true;
    this.current = true;
  }

  /** Puts a ticket where it is now; the others keep their order. */
  #place(t: Ticket) {
    const without = (list: Ticket[]) => (list.some((o) => o.id === t.id) ? list.filter((o) => o.id !== t.id) : list);
    const waiting = without(this.waiting);
    const active = without(this.active);
    const held = without(this.held);
    this.waiting = t.state === 'waiting' ? [...waiting.slice(0, t.position! - 1), t, ...waiting.slice(t.position! - 1)] : waiting;
    this.active = t.state === 'called' || t.state === 'serving' ? [...active, t] : active;
    this.held = t.state === 'held' ? [...held, t] : held;
  }
}

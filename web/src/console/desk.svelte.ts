import { t } from '../i18n/index.svelte';
import { all, api, data } from '../lib/api';
import { Live } from '../lib/live.svelte';
import { people } from '../lib/people.svelte';
import { Problem, problemOf } from '../lib/problem';
import type { QueueView } from '../lib/queue.svelte';
import { session } from '../lib/session.svelte';
import type { CommandName, Queue, QueueEvent, Ticket } from '../lib/types';
import { Choice } from './choice.svelte';
import { before, hasWayBack, own, stands, wayBack, type Step, type Undoable } from './undo';

/** Where somebody looks who did a thing: there the answer is shown. */
export type Place = 'hand' | 'line' | 'dialog';
export interface Trouble { place: Place; problem: Problem; ticket: string | null; again: (() => void) | null }
export type Form = 'ticket' | 'add' | 'edit' | 'move' | 'transfer' | 'remove';

const noticeFor = 60_000; // ms that a way back is offered at the desk
const keptFinished = 8;

/** One attendant's desk: the queues that are followed, the tickets at hand, and what is done to them. */
export class Desk {
  readonly live = new Live({ refused: () => session.renew() });
  readonly me: string;
  readonly choice: Choice;
  /** The queues that the user may see; their counts may be old. */
  queues = $state.raw<Queue[] | null>(null);
  views = $state.raw<QueueView[]>([]);
  trouble = $state.raw<Trouble | null>(null);
  /** What was done last here, and how it can be taken back. */
  notice = $state.raw<{ text: string; step: Step | null } | null>(null);
  /** For screen readers: what concerns this attendant, and nothing else. */
  said = $state('');
  /** What this desk finished, the newest first: it can be brought back for an hour. */
  finished = $state.raw<Ticket[]>([]);
  /** Which of several tickets at hand is in front. */
  picked = $state<string | null>(null);
  busy = $state(false);
  form = $state<Form | null>(null);
  /** The ticket that the form is about, as it was last seen. */
  subject = $state.raw<Ticket | null>(null);
  /** What had the focus when the form was opened. */
  opener: HTMLElement | null = null;
  readonly view = $derived.by(() => this.views.find((v) => v.id === this.choice.current) ?? null);
  /** Whether nothing can be done just now: what is shown may be old, or an answer is awaited. */
  readonly off = $derived.by(() => !this.live.up || this.busy || !(this.view?.current ?? true));
  readonly mine = $derived.by(() =>
    this.views.flatMap((v) => v.active).filter((t) => t.attendant === this.me)
      .sort((a, b) => a.called_at!.localeCompare(b.called_at!)));
  readonly #stops = new Map<string, () => void>();
  #own = new Set<string>();
  #fade: ReturnType<typeof setTimeout> | undefined;

  constructor(me: string) {
    this.me = me;
    this.choice = new Choice(me);
    this.follow();
    void this.learn();
    // An event finds here what was at this desk before it.
    $effect(() => { this.#own = new Set(this.mine.map((t) => t.id)); });
  }

  close() {
    clearTimeout(this.#fade);
    for (const stop of this.#stops.values()) stop();
    this.live.close();
  }

  async learn() {
    try {
      this.queues = await all((after) => data(api.GET('/api/v1/queues', { params: { query: { limit: 1000, after } } })));
    } catch (error) {
      if (!this.queues) this.trouble = { place: 'hand', problem: problemOf(error), ticket: null, again: null };
    }
  }

  /** Follows the queues that are chosen, and no others. */
  follow() {
    const { queues } = this.choice;
    for (const [id, stop] of this.#stops) {
      if (queues.includes(id)) continue;
      stop();
      this.#stops.delete(id);
    }
    this.views = queues.map((id) => {
      const known = this.#stops.has(id) ? this.views.find((v) => v.id === id) : undefined;
      if (known) return known;
      const view = this.live.follow(id);
      void people.learn(id);
      const unlisten = view.listen((e) => this.#heard(e));
      this.#stops.set(id, () => { unlisten(); this.live.leave(id); });
      return view;
    });
  }

  nameOf(queue: string) {
    return this.views.find((v) => v.id === queue)?.fields?.name ?? this.queues?.find((q) => q.id === queue)?.name ?? queue;
  }

  say(text: string) {
    this.said = text === this.said ? `${text}\u00a0` : text; // the same words again are said again
  }

  show(form: Form, ticket: Ticket | null = null) {
    if (this.form === null) this.opener = document.activeElement as HTMLElement | null;
    this.trouble = null;
    this.subject = ticket;
    this.form = form;
  }

  /** Sends a command, and closes the dialog that it came from; where it is refused that is shown at its place, and the answer is undefined. */
  async act<T = Ticket>(queue: string, command: CommandName, args: object, place: Place, again?: () => void): Promise<T | undefined> {
    this.trouble = null;
    this.busy = true;
    try {
      const answer = await this.live.command<T>(queue, command, args);
      if (place === 'dialog') this.form = null;
      return answer;
    } catch (error) {
      const ticket = (args as { ticket?: string }).ticket ?? null;
      this.trouble = { place, problem: problemOf(error), ticket, again: again ?? null };
      return undefined;
    } finally {
      this.busy = false;
    }
  }

  /** Does what can be taken back, and offers that. */
  async slip(ticket: Ticket, did: Undoable, args: object, place: Place): Promise<boolean> {
    const view = this.views.find((v) => v.id === ticket.queue);
    const was = before(ticket, view?.waiting ?? []);
    const answer = await this.act(ticket.queue, did, { ticket: ticket.id, ...args }, place);
    if (!answer) return false;
    const step = { queue: ticket.queue, ticket: ticket.id, number: ticket.number, did, was };
    this.tell(t.console.did[did](ticket.number, answer.position ?? 0), hasWayBack(did, was) ? step : null);
    return true;
  }

  /** Shows and says what was done. */
  tell(text: string, step: Step | null = null) {
    this.say(text);
    this.notice = { text, step };
    clearTimeout(this.#fade);
    this.#fade = setTimeout(() => { this.notice = null; }, noticeFor);
  }

  async undo() {
    const step = this.notice?.step;
    if (!step || this.off) return;
    const view = this.views.find((v) => v.id === step.queue);
    const now = view && [...view.waiting, ...view.active, ...view.held].find((o) => o.id === step.ticket);
    if (!view || !stands(step, now, this.me)) {
      this.notice = null;
      return;
    }
    const line = view.waiting;
    for (const [command, args] of wayBack(step, line.filter((o) => o.id !== step.ticket))) {
      if (!(await this.act(step.queue, command, args, 'hand'))) return;
    }
    this.tell(t.console.undone(step.number));
  }

  async callNext(queue = this.choice.current) {
    const ticket = await this.act<Ticket | null>(queue, 'call_next', { desk: this.choice.desk }, 'hand');
    if (ticket) this.#called(ticket);
    else if (ticket === null) this.tell(t.console.nobody);
  }

  async call(ticket: Ticket) {
    const answer = await this.act(ticket.queue, 'call', { ticket: ticket.id, desk: this.choice.desk }, 'dialog', () => void this.call(ticket));
    if (answer) this.#called(answer);
  }

  #called(ticket: Ticket) {
    this.notice = null;
    this.picked = ticket.id;
    this.say(t.console.called(ticket.number, this.choice.desk));
  }

  /** Notes what others did to a ticket that is at this desk, and what this desk has finished. */
  #heard(e: QueueEvent) {
    if (!e.event.startsWith('ticket.')) return;
    const ticket = e.data as Ticket;
    if (this.subject?.id === ticket.id) this.subject = ticket;
    const { notice } = this;
    if (notice?.step?.ticket === ticket.id && !own(notice.step, e.by, this.me, ticket.state)) this.notice = { ...notice, step: null };
    if (this.#own.has(ticket.id) && e.by !== this.me && e.event !== 'ticket.updated') {
      this.tell(t.console.elsewhere[ticket.state](ticket.number));
    }
    const ended = e.by === this.me && (ticket.state === 'completed' || ticket.state === 'no_show' || ticket.state === 'removed');
    if (ended || this.finished.some((o) => o.id === ticket.id)) {
      const others = this.finished.filter((o) => o.id !== ticket.id);
      this.finished = ended ? [ticket, ...others].slice(0, keptFinished) : others;
    }
  }
}

import { api, data } from '../lib/api';
import { key } from '../lib/live.svelte';
import { problemOf, type Problem } from '../lib/problem';
import type { components } from '../lib/openapi';
import type { PublicQueue } from '../lib/types';

type Wish = components['schemas']['CheckIn'];
export type CheckedIn = Omit<components['schemas']['CheckedIn'], 'customer' | 'payload'>;

/** What was asked for and has no answer yet. The key makes sure that it gives one ticket, however often it is asked. */
interface Asked { key: string; queue: string; wish: Wish }

// All in milliseconds.
const lookEvery = 15_000;
const lookAgain = 3_000; // where there was no answer
const triedFor = 25_000;
const pauseMost = 4_000;

/** Whether a refusal leaves open that the ticket was made, or may be over in a moment. */
const open = new Set<Problem['code']>(['offline', 'outcome_unknown', 'unavailable', 'internal']);
const place = 'check-in'; // in sessionStorage: a phone's page that is loaded anew asks for the same ticket

/** The way to a ticket in one of some public queues. */
export class CheckIn {
  readonly ids: string[];
  /** Those that are there for everybody; null until it is known. */
  queues = $state.raw<PublicQueue[] | null>(null);
  /** There was no answer of any queue when they were looked at last. */
  lost = $state(false);
  busy = $state(false);
  trouble = $state<Problem['code'] | null>(null);
  made = $state.raw<CheckedIn | null>(null);
  /** Something was asked for whose answer is not known: nothing else can be, until that is clear or given up. */
  asked = $state.raw<Asked | null>(null);
  readonly #known = new Map<string, PublicQueue>();
  readonly #keep: boolean;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #closed = false;
  readonly #look = () => void this.look();

  /** keep: remember through a reload what was asked for; not on a device that strangers share. */
  constructor(ids: string[], keep: boolean) {
    this.ids = ids;
    this.#keep = keep;
    if (keep) this.asked = JSON.parse(sessionStorage.getItem(place) ?? 'null') as Asked | null;
    if (this.asked && !ids.includes(this.asked.queue)) this.asked = null;
    if (this.asked) void this.again();
    void this.look();
    for (const news of ['online', 'offline']) addEventListener(news, this.#look);
  }

  close() {
    this.#closed = true;
    for (const news of ['online', 'offline']) removeEventListener(news, this.#look);
    clearTimeout(this.#timer);
  }

  /** Looks at the queues, now and from time to time; one without an answer stays as it was. */
  async look() {
    clearTimeout(this.#timer);
    let failed = 0;
    await Promise.all(this.ids.map(async (queue) => {
      try {
        this.#known.set(queue, await data(api.GET('/api/v1/public/queues/{queue}', { params: { path: { queue } } })));
      } catch (error) {
        if (problemOf(error).code === 'queue_not_found') this.#known.delete(queue);
        else failed++;
      }
    }));
    const found = this.ids.flatMap((id) => this.#known.get(id) ?? []);
    this.lost = failed === this.ids.length || (failed > 0 && found.length === 0);
    if (!this.lost) this.queues = found;
    clearTimeout(this.#timer);
    if (!this.#closed) this.#timer = setTimeout(() => void this.look(), failed > 0 ? lookAgain : lookEvery);
  }

  /** Asks for a ticket. A second press while the first has no answer does nothing. */
  async take(queue: string, wish: Wish) {
    if (this.asked) return;
    this.#note({ key: key(), queue, wish });
    await this.again();
  }

  /** Asks, again and again for a while, for what was asked for. */
  async again() {
    if (!this.asked || this.busy) return;
    const { key, queue, wish } = this.asked;
    this.busy = true;
    this.trouble = null;
    const until = Date.now() + triedFor;
    for (let pause = 500; ; pause = Math.min(pauseMost, pause * 2)) {
      try {
        this.made = await data(api.POST('/api/v1/public/queues/{queue}/tickets', {
          params: { path: { queue }, header: { 'Idempotency-Key': key } }, body: wish,
        }));
        this.#note(null);
        break;
      } catch (error) {
        const { code } = problemOf(error);
        const unclear = open.has(code);
        if (unclear && Date.now() + pause < until && !this.#closed) {
          await new Promise((done) => setTimeout(done, pause));
          continue;
        }
        if (!unclear) this.#note(null);
        this.trouble = code;
        break;
      }
    }
    this.busy = false;
  }

  /** Back to the start; not while an answer is waited for. */
  over() {
    if (this.busy) return;
    this.#note(null);
    this.trouble = null;
    this.made = null;
    void this.look();
  }

  #note(asked: Asked | null) {
    this.asked = asked;
    if (!this.#keep) return;
    if (asked) sessionStorage.setItem(place, JSON.stringify(asked));
    else sessionStorage.removeItem(place);
  }
}

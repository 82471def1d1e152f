import { sound } from '../lib/sound.svelte';
import type { Locale, Texts } from '../i18n/index.svelte';
import { say, spell } from './speech';

export interface Call {
  ticket: string;
  number: string;
  desk: string | null;
  queue: string;
  serving: boolean;
  /** How often it was called. */
  calls: number;
  /** The last time, by the server's clock. */
  at: number;
}

const mostWaiting = 50;

export interface Voice {
  locale: Locale;
  texts: Texts['display'];
}

/** Makes calls heard, one after the other: the chime, then each language. */
export class Announcer {
  readonly #voices: Voice[];
  readonly #stands: (c: Call) => boolean;
  #waiting: Call[] = [];
  #busy = false;
  #closed = false;

  /** stands tells whether a call is still one by the time that its turn has come. */
  constructor(voices: Voice[], stands: (c: Call) => boolean) {
    this.#voices = voices;
    this.#stands = stands;
  }

  add(call: Call) {
    this.#waiting.push(call);
    if (this.#waiting.length > mostWaiting) this.#waiting.shift();
    if (!this.#busy) void this.#run();
  }

  close() {
    this.#closed = true;
    this.#waiting = [];
    globalThis.speechSynthesis?.cancel();
  }

  /** Whether nothing is being said. */
  get idle() { return !this.#busy; }

  async #run() {
    this.#busy = true;
    await sound.look();
    for (let c = this.#waiting.shift(); c; c = this.#waiting.shift()) {
      if (!this.#stands(c)) continue;
      await sound.chime();
      for (const { locale, texts } of this.#voices) {
        if (this.#closed || !sound.ready) break;
        await say(texts.announce(spell(c.number, texts.digits), c.desk), locale);
      }
    }
    this.#busy = false;
  }
}

import { untrack } from 'svelte';

import type adminTexts from './en/admin';
import type common from './en/common';
import type consoleTexts from './en/console';
import type displayTexts from './en/display';
import type formTexts from './en/forms';
import type superviseTexts from './en/supervise';
import type visitTexts from './en/visit';
import type webhookTexts from './en/webhooks';

/** The languages that there are, each by its own name. */
export const languages = { en: 'English', de: 'Deutsch', pt: 'Português', es: 'Español' } as const;
export type Locale = keyof typeof languages;

/** Texts come in areas, so that a page loads only its own. English is the measure for the others. */
export interface Texts {
  common: typeof common;
  console: typeof consoleTexts;
  display: typeof displayTexts;
  visit: typeof visitTexts;
  supervise: typeof superviseTexts;
  admin: typeof adminTexts;
  forms: typeof formTexts;
  webhooks: typeof webhookTexts;
}
export type Area = keyof Texts;

const files = import.meta.glob<{ default: Texts[Area] }>('./{en,de,pt,es}/*.ts');
const chosen = 'language'; // in localStorage
const rightToLeft = new Set(['ar', 'fa', 'he', 'ur']);

function preferred(): Locale {
  const wanted = [localStorage.getItem(chosen), ...navigator.languages].filter((l) => l !== null);
  return wanted.map((l) => l.slice(0, 2).toLowerCase()).find((l): l is Locale => l in languages) ?? 'en';
}

/** A language with the country that the browser names for it: how dates and numbers are written. */
export const regionOf = (locale: Locale) => navigator.languages.find((l) => l.slice(0, 2).toLowerCase() === locale) ?? locale;

/** The texts of an area in a language that need not be the page's: what a display says aloud. */
export async function textsIn<A extends Area>(locale: Locale, area: A): Promise<Texts[A]> {
  return (await files[`./${locale}/${area}.ts`]!()).default as Texts[A];
}

class Language {
  locale = $state<Locale>('en');
  region = $state('en');
  #areas: Area[] = [];
  #texts = $state.raw<Partial<Texts>>({});

  /** Loads areas in the browser's language, before a page that needs them is shown. */
  async load(...areas: Area[]) {
    const missing = areas.filter((a) => !this.#areas.includes(a));
    this.#areas.push(...missing);
    // Untracked: another language must not make the page that waits for this begin anew.
    const locale = untrack(() => this.locale);
    await this.show(this.#areas.length === missing.length ? preferred() : locale);
  }

  async choose(locale: Locale) {
    localStorage.setItem(chosen, locale);
    await this.show(locale);
  }

  /** Shows all in a language, without keeping it as this browser's choice. */
  async show(locale: Locale) {
    const texts = await Promise.all(this.#areas.map(async (a) => [a, await textsIn(locale, a)] as const));
    this.locale = locale;
    this.region = regionOf(locale);
    this.#texts = Object.fromEntries(texts) as Partial<Texts>;
    document.documentElement.lang = locale;
    document.documentElement.dir = rightToLeft.has(locale) ? 'rtl' : 'ltr';
  }

  get texts() { return this.#texts as Texts; }
}

export const language = new Language();

/** The texts in the page's language: `t.console.callNext`. An area must have been loaded by the page. */
export const t: Texts = {
  get common() { return language.texts.common; },
  get console() { return language.texts.console; },
  get display() { return language.texts.display; },
  get visit() { return language.texts.visit; },
  get supervise() { return language.texts.supervise; },
  get admin() { return language.texts.admin; },
  get forms() { return language.texts.forms; },
  get webhooks() { return language.texts.webhooks; },
};

// To make one takes a hundred times as long as to use one.
const formats = new Map<string, Intl.NumberFormat>();
function numbers(kind: string, options: Intl.NumberFormatOptions): Intl.NumberFormat {
  const name = `${language.region} ${kind}`;
  let format = formats.get(name);
  if (!format) formats.set(name, (format = new Intl.NumberFormat(language.region, options)));
  return format;
}

/** A number as the language writes it. */
export const number = (n: number) => numbers('', {}).format(n);

/** A time of day, from what the server sent or from milliseconds since 1970. */
export const time = (at: string | number) =>
  new Intl.DateTimeFormat(language.region, { hour: '2-digit', minute: '2-digit' }).format(new Date(at));

/** A day and a time of day, by the clock of a time zone or of this device. */
export const moment = (at: string | number, zone?: string) =>
  new Intl.DateTimeFormat(language.region, { dateStyle: 'medium', timeStyle: 'short', timeZone: zone }).format(new Date(at));

/** A span of time in minutes, or in hours and minutes; below a minute as less than one. */
export function span(ms: number): string {
  const minutes = Math.floor(ms / 60_000);
  const unit = (n: number, u: 'hour' | 'minute') =>
    numbers(u, { style: 'unit', unit: u, unitDisplay: 'short' }).format(n);
  if (minutes < 1) return `< ${unit(1, 'minute')}`;
  return minutes < 60 ? unit(minutes, 'minute') : `${unit(Math.floor(minutes / 60), 'hour')} ${unit(minutes % 60, 'minute')}`;
}

/** A share of one, in per cent. */
export const share = (n: number) => numbers('%', { style: 'percent', maximumFractionDigits: 0 }).format(n);

/** A span of time to the second, as a clock shows it: 4:05, or 1:04:05. */
export function stopwatch(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const two = (n: number) => String(n).padStart(2, '0');
  const hours = Math.floor(seconds / 3600);
  const rest = `${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}`;
  return hours > 0 ? `${hours}:${rest}` : rest.replace(/^0/, '');
}

/** Picks by the plural form that a number takes in the texts' own language. */
export const plural = (locale: Locale) => {
  const rules = new Intl.PluralRules(locale);
  return (n: number, one: string, other: string) => (rules.select(n) === 'one' ? one : other);
};

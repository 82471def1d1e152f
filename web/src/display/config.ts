import { languages, type Locale } from '../i18n/index.svelte';

/** What a display shows and says; kept on its device. */
export interface Config {
  /** A viewer's API key; without one the browser's login counts. */
  key?: string;
  queues: string[];
  /** The languages in which the board is written and calls are said, the first one first. */
  langs: Locale[];
  /** Whether calls are said aloud, after the chime. */
  speech: boolean;
}

const place = 'display'; // in localStorage
const known = (l: string): l is Locale => l in languages;
const listed = (text: string | null) => (text ?? '').split(',').map((s) => s.trim()).filter(Boolean);

/** What was kept here; null where this display has not been set up. */
export function kept(): Config | null {
  try {
    const c = JSON.parse(localStorage.getItem(place) ?? 'null') as Config | null;
    return c && Array.isArray(c.queues) && Array.isArray(c.langs) ? c : null;
  } catch {
    return null;
  }
}

export function keep(c: Config | null) {
  if (c) localStorage.setItem(place, JSON.stringify(c));
  else localStorage.removeItem(place);
}

/**
 * Takes what a link to this page says, `#key=nsk_…&queues=a,b&langs=de,en&speech=off`,
 * out of the address bar: a key is nothing for a wall.
 */
export function fromLink(before: Config | null, locale: Locale): Config | null {
  const said = new URLSearchParams(location.hash.slice(1));
  if (![...said.keys()].length) return before;
  history.replaceState(null, '', location.pathname + location.search);
  const langs = listed(said.get('langs')).filter(known);
  return {
    key: said.get('key') ?? before?.key,
    queues: said.has('queues') ? listed(said.get('queues')) : (before?.queues ?? []),
    langs: langs.length ? langs : (before?.langs ?? [locale]),
    speech: said.has('speech') ? said.get('speech') !== 'off' : (before?.speech ?? true),
  };
}

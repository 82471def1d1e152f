import { hearTime } from './clock.svelte';

/** How long the server is given for a file. */
const patience = 10_000;
const again = 5_000; // from one look whether the server is back to the next

const stay = 15 * 60_000; // away from a program that was left
const place = 'programs-left'; // in sessionStorage

const entry = document.querySelector<HTMLScriptElement>('script[type=module]')?.getAttribute('src');

/** A board with a key may ask for nothing else in weeks: the server's time is learnt here too. */
async function ask(path: string) {
  const answer = await fetch(path, { cache: 'no-cache', signal: AbortSignal.timeout(patience) });
  hearTime(answer.headers.get('Date'));
  return answer;
}

/**
 * Whether the server has another program than the one that runs here, and can
 * give all that the page names. While a deploy is under way, the page and its
 * files may come from nodes of different age; files that came stay in the
 * browser's cache, for their names change with what is in them.
 */
export async function newer(): Promise<boolean> {
  try {
    const page = await ask(location.pathname);
    const text = page.ok ? await page.text() : '';
    const files: string[] = text.match(/\/assets\/[\w.-]+/g) ?? [];
    if (!entry || files.length === 0 || files.includes(entry)) return false;
    const lately = left();
    if (files.some((f) => f in lately)) return false;
    return (await Promise.all(files.map(ask))).every((f) => f.ok);
  } catch {
    return false;
  }
}

/** The entries of the programs that were left lately, and when: old and new nodes may take turns behind one address. */
function left(): Record<string, number> {
  const all = Object.entries(JSON.parse(sessionStorage.getItem(place) ?? '{}') as Record<string, number>);
  return Object.fromEntries(all.filter(([, at]) => Math.abs(Date.now() - at) < stay));
}

/** Goes over to the program that newer() has found. */
export function takeOver() {
  sessionStorage.setItem(place, JSON.stringify({ ...left(), [entry!]: Date.now() }));
  location.reload();
}

/** Loads the page anew when the server answers: never before, or the browser's own page of errors stays on the wall. */
async function reload() {
  for (;;) {
    await new Promise((done) => setTimeout(done, again));
    const there = await ask(location.pathname).then((a) => a.ok, () => false);
    if (there) location.reload();
  }
}

let reloading = false;
/** A part of this program cannot be had any more: it is another one by now, or there is no connection. */
addEventListener('vite:preloadError', () => {
  if (!reloading) void reload();
  reloading = true;
});

import type { Ticket } from '../lib/types';

/** Letters without their marks and case: who types "muller" means Müller too. */
function plain(s: string): string {
  const marked = /[^\0-\x7f]/.test(s); // of thousands most are not, and are spared the work
  return (marked ? s.normalize('NFD').replace(/\p{M}/gu, '') : s).toLowerCase();
}

// Tickets are never changed in place, so what was made of one stays good.
const made = new WeakMap<Ticket, string>();

function haystack(t: Ticket): string {
  let s = made.get(t);
  if (s === undefined) {
    s = plain([t.number, t.customer?.name, t.customer?.ref, t.customer?.phone].filter(Boolean).join('\n'));
    made.set(t, s);
  }
  return s;
}

/** Those whose number, name, reference or telephone has every word of a query. */
export function find(tickets: Ticket[], query: string): Ticket[] {
  const words = plain(query).split(/\s+/).filter(Boolean);
  return words.length === 0 ? tickets : tickets.filter((t) => words.every((w) => haystack(t).includes(w)));
}

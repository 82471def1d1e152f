import { all, api, data } from '../lib/api';
import type { components } from '../lib/openapi';

/** A queue at a glance. */
export type Row = components['schemas']['Overview']['items'][number];
export type Status = Row['status'];

/** Asks for all queues that the user may see, in one request for a thousand. */
export const glance = () =>
  all((after) => data(api.GET('/api/v1/overview', { params: { query: { limit: 1000, after } } })));

type Lateness = 'none' | 'good' | 'near' | 'late';
const nearly = 0.75; // of the target

/** How long the one who has waited longest has waited, in milliseconds; null where nobody waits. */
export const longest = (row: Row, now: number) => (row.waiting_since === null ? null : Math.max(0, now - Date.parse(row.waiting_since)));

export function lateness(row: Row, now: number): Lateness {
  const wait = longest(row, now);
  if (wait === null || row.target_wait_seconds === null) return 'none';
  const part = wait / 1000 / row.target_wait_seconds;
  if (part > 1) return 'late';
  return part > nearly ? 'near' : 'good';
}

export const sorts = ['queue', 'status', 'waiting', 'longest', 'serving', 'atWork', 'within'] as const;
export type Sort = (typeof sorts)[number];
export type Show = 'all' | 'late' | Status;

const order: Record<Status, number> = { open: 0, paused: 1, closed: 2 };

/** What a column is sorted by; null stands at the end, whichever way it is sorted. */
const keys: Record<Sort, (r: Row) => number | string | null> = {
  queue: (r) => r.name,
  status: (r) => order[r.status],
  waiting: (r) => r.waiting,
  longest: (r) => (r.waiting_since === null ? null : -Date.parse(r.waiting_since)),
  serving: (r) => r.called + r.serving,
  atWork: (r) => r.attendants,
  within: (r) => r.within_target_today,
};

/** Whether a column begins with its largest when it is sorted by first. */
export const largestFirst = (by: Sort) => by === 'waiting' || by === 'longest' || by === 'serving' || by === 'atWork';

export function sorted(rows: Row[], by: Sort, down: boolean, locale: string): Row[] {
  const key = keys[by];
  const names = new Intl.Collator(locale, { numeric: true });
  return rows.toSorted((a, b) => {
    const [x, y] = [key(a), key(b)];
    if (x === null || y === null) return Number(x === null) - Number(y === null) || names.compare(a.name, b.name);
    const way = typeof x === 'string' ? names.compare(x, y as string) : x - (y as number);
    return (down ? -way : way) || names.compare(a.name, b.name);
  });
}

export function shown(rows: Row[], text: string, show: Show, now: number): Row[] {
  const wanted = text.trim().toLocaleLowerCase();
  return rows.filter((r) =>
    (show === 'all' || (show === 'late' ? lateness(r, now) === 'late' : r.status === show)) &&
    (!wanted || r.name.toLocaleLowerCase().includes(wanted) || r.id.includes(wanted)));
}

/** All queues together. */
export function total(rows: Row[], now: number) {
  const sum = (of: (r: Row) => number) => rows.reduce((n, r) => n + of(r), 0);
  const waits = rows.map((r) => longest(r, now)).filter((w) => w !== null);
  return {
    waiting: sum((r) => r.waiting),
    serving: sum((r) => r.called + r.serving),
    attendants: sum((r) => r.attendants),
    served: sum((r) => r.served_today),
    late: rows.filter((r) => lateness(r, now) === 'late').length,
    longest: waits.length ? Math.max(...waits) : null,
  };
}

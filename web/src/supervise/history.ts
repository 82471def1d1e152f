import { api, data } from '../lib/api';
import type { components } from '../lib/openapi';

/** What finished tickets are searched by, as it stands in the form: texts, empty where nothing is asked. */
export const asked = { queue: '', attendant: '', outcome: '', from: '', to: '' };
export type Asked = typeof asked;

/** How far a zone's clock is from UTC at a moment in milliseconds, as ISO 8601 writes it. */
function offset(at: number, zone: string): string {
  const parts = new Intl.DateTimeFormat('en', { timeZone: zone, timeZoneName: 'longOffset' }).formatToParts(at);
  return parts.find((p) => p.type === 'timeZoneName')!.value.slice(3, 9) || 'Z'; // of "GMT+01:00", or "GMT"
}

/** When a zone's clock shows a time; the second look is for days on which it is put forward or back. */
function moment(local: string, zone: string): string | undefined {
  if (!local) return undefined;
  const near = Date.parse(local + offset(Date.parse(`${local}Z`), zone));
  return new Date(local + offset(near, zone)).toISOString();
}

/** The same as the server is asked, its times by the clock of a zone. */
const queryOf = (a: Asked, zone: string) => ({
  queue: a.queue || undefined, attendant: a.attendant || undefined, outcome: a.outcome.trim() || undefined, from: moment(a.from, zone), to: moment(a.to, zone),
});

export const search = (a: Asked, zone: string) => (after?: string) =>
  data(api.GET('/api/v1/history', { params: { query: { ...queryOf(a, zone), limit: 50, after } } })) as Promise<components['schemas']['TicketList']>;

const names = Object.keys(asked) as (keyof Asked)[];

/** Reads what is asked from an address. */
export function fromAddress(search: string): Asked {
  const given = new URLSearchParams(search);
  return Object.fromEntries(names.map((n) => [n, given.get(n) ?? ''])) as Asked;
}

/** The other way round, without what is not asked. */
export const toAddress = (a: Asked) => `?${new URLSearchParams(names.filter((n) => a[n]).map((n) => [n, a[n]]))}`.replace(/^\?$/, '');

/** Where all that is asked can be downloaded from, as it is read. */
export function downloadOf(a: Asked, zone: string): string {
  const query = Object.entries(queryOf(a, zone)).filter((e): e is [string, string] => e[1] !== undefined);
  return `/api/v1/history?${new URLSearchParams([...query, ['format', 'csv']])}`;
}

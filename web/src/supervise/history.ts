import { api, data } from '../lib/api';
import type { components } from '../lib/openapi';

/** What finished tickets are searched by, as it stands in the form: texts, empty where nothing is asked. */
export const asked = { queue: '', attendant: '', outcome: '', from: '', to: '' };
export type Asked = typeof asked;

const moment = (local: string) => (local ? new Date(local).toISOString() : undefined);

/** The same as the server is asked. */
export const queryOf = (a: Asked) => ({
  queue: a.queue || undefined, attendant: a.attendant || undefined, outcome: a.outcome.trim() || undefined, from: moment(a.from), to: moment(a.to),
});

export const search = (a: Asked) => (after?: string) =>
  data(api.GET('/api/v1/history', { params: { query: { ...queryOf(a), limit: 50, after } } })) as Promise<components['schemas']['TicketList']>;

const names = Object.keys(asked) as (keyof Asked)[];

/** Reads what is asked from an address. */
export function fromAddress(search: string): Asked {
  const given = new URLSearchParams(search);
  return Object.fromEntries(names.map((n) => [n, given.get(n) ?? ''])) as Asked;
}

/** The other way round, without what is not asked. */
export const toAddress = (a: Asked) => `?${new URLSearchParams(names.filter((n) => a[n]).map((n) => [n, a[n]]))}`.replace(/^\?$/, '');

/** Where all that is asked can be downloaded from, as it is read. */
export function downloadOf(a: Asked): string {
  const query = Object.entries(queryOf(a)).filter((e): e is [string, string] => e[1] !== undefined);
  return `/api/v1/history?${new URLSearchParams([...query, ['format', 'csv']])}`;
}

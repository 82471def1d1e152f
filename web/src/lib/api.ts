import createClient from 'openapi-fetch';

import { hearTime } from './clock.svelte';
import type { paths } from './openapi';
import { Problem } from './problem';
import type { ProblemBody } from './types';

/** A request that has no answer by then has none. */
const patience = 15_000;

/** Called when the login cookie is not good any more; tells whether it was renewed. */
let renew: () => Promise<boolean> = async () => false;
export const renewBy = (how: typeof renew) => { renew = how; };

async function ask(request: Request): Promise<Response> {
  const send = async () => {
    try {
      const answer = await fetch(request.clone(), { signal: AbortSignal.timeout(patience) });
      hearTime(answer.headers.get('Date'));
      return answer;
    } catch {
      throw new Problem('offline');
    }
  };
  const answer = await send();
  const byCookie = !request.headers.has('Authorization');
  if (answer.status !== 401 || !byCookie || request.url.includes('/api/v1/auth/')) return answer;
  return (await renew()) ? send() : answer;
}

/**
 * The REST interface, typed by openapi.yaml. A browser's login is in cookies
 * that no script can read; the header shows that a page of ours asks.
 */
export const api = createClient<paths>({ headers: { 'X-Requested-With': 'nowserving' }, fetch: ask });

/** The data of an answer; throws a Problem where it was refused. */
export async function data<T>(
  answer: Promise<{ data?: T; error?: unknown; response: Response }>,
): Promise<NonNullable<T>> {
  const { data, error, response } = await answer;
  if (response.ok) return (data ?? null) as NonNullable<T>;
  const body = (error ?? null) as ProblemBody | null;
  throw new Problem(body?.code ?? 'internal', body);
}

/** All items of a list, page by page, up to a bound. */
export async function all<T>(page: (after?: string) => Promise<{ items: T[]; next: string | null }>, most = 5000): Promise<T[]> {
  const items: T[] = [];
  let after: string | undefined;
  do {
    const answer = await page(after);
    items.push(...answer.items);
    after = answer.next ?? undefined;
  } while (after && items.length < most);
  return items;
}

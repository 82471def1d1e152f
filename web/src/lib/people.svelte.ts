import { SvelteMap, SvelteSet } from 'svelte/reactivity';

import { all, api, data } from './api';
import { session } from './session.svelte';

/** Names of users, where the one who looks may know them; else as much of the id as tells them apart. */
class People {
  readonly #names = new SvelteMap<string, string>();
  readonly #asked = new SvelteSet<string>();

  /** Learns the names of all users (administrators), or of those who work in a queue. */
  async learn(queue?: string) {
    const of = session.user?.level === 'admin' ? '*' : queue;
    if (!of || this.#asked.has(of)) return;
    this.#asked.add(of);
    try {
      const users = of === '*'
        ? await all((after) => data(api.GET('/api/v1/users', { params: { query: { limit: 1000, after } } })))
        : (await data(api.GET('/api/v1/queues/{queue}/attendants', { params: { path: { queue: of } } }))).items;
      for (const u of users) this.#names.set(u.id, u.name || u.id.slice(0, 8));
    } catch {
      this.#asked.delete(of); // it is only names
    }
  }

  name(id: string): string {
    if (id === session.user?.id) return session.user.name || session.user.email;
    return this.#names.get(id) ?? id.slice(0, 8);
  }

  /** The name of what may be a user, else what it is. */
  known(id: string): string { return this.#names.get(id) ?? id; }

  /** Those who are known, by name. */
  get all() { return [...this.#names].sort(([, a], [, b]) => a.localeCompare(b)); }
}

export const people = new People();

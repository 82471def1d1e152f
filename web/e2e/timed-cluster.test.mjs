// Three nodes behind a balancer; the one under all open pages is killed.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after } from 'node:test';

import { Balancer } from './balancer.mjs';
import { administrator, away, Caller, eventually, Program, scene, user, wall } from './harness.mjs';
import { board, displayKey, glance, notLive, openConsole, openDisplay, openSupervisor, row, tab } from './pages.mjs';

const { PAGES_REDIS_URL: redis, PAGES_DATABASE_URL: database, PAGES_KEYS: keys } = process.env;
const promised = 8_000; // ms from the kill until all pages are right again
const queues = ['post', 'parcels', 'passports', 'pensions'];

const args = ['--cluster-provider', 'redis', '--redis-url', redis, '--database-url', database, '--token-keys', keys, '--data-keys', keys];
const start = () => Program.start({ args });
const nodes = [await start(), ...(await Promise.all([start(), start()]))];
after(() => Promise.all(nodes.map((n) => n.kill())));
const balancer = await Balancer.before(nodes.map((n) => n.url));
after(() => balancer.close());

/** Sends a command until it is taken: with one key it happens once. */
async function persistently(caller, at, body) {
  const key = randomUUID();
  let answer;
  await eventually('a command is taken', async () => {
    try {
      answer = await caller.call('POST', at, body, key);
      return true;
    } catch (error) {
      if (!error.message.includes(': 503 ')) throw error;
      return false;
    }
  });
  return answer;
}

scene('all pages are live again within 8 s after their node was killed, and nothing is missed', async (s) => {
  const { url } = balancer;
  const admin = await Caller.login(nodes[2].url);
  for (const id of queues) {
    await admin.call('POST', '/queues', { id, name: id });
    await admin.enqueue(id, Array(3).fill({}));
  }
  const [ada, sue] = [await user(admin, 'Ada'), await user(admin, 'Sue', 'supervisor')];
  const desk = await openConsole(s, { url, as: ada, desk: '1', queues, allow: away });
  const display = await openDisplay(s, { url, key: await displayKey(admin), queues, view: wall, allow: away });
  const overview = await openSupervisor(s, { url, as: sue, allow: away });
  for (const id of queues) await overview.locator(glance(id), { hasText: '3' }).waitFor();
  // A machine that does other things is no part of the promise: a second node may show it.
  for (const [round, node] of nodes.slice(0, 2).entries()) {
    const waiting = String(4 + round);
    await node.kill();
    const began = performance.now();
    // Meanwhile the work goes on elsewhere, in every queue.
    const news = await Promise.all(queues.map(async (id) => {
      const called = await persistently(admin, `/queues/${id}/call-next`, { desk: `d-${id}` });
      for (let i = 0; i < 2; i++) await persistently(admin, `/queues/${id}/tickets`, {});
      return called;
    }));
    await Promise.all([
      desk.locator(row(news[0])).waitFor({ state: 'detached' }),
      ...queues.map((id) => desk.locator(tab(id), { hasText: waiting }).waitFor()),
      ...news.map(({ number }) => display.locator(board.serving, { hasText: number }).first().waitFor()),
      ...queues.map((id) => overview.locator(glance(id), { hasText: waiting }).waitFor()),
      ...[desk, display, overview].map((page) => page.locator(notLive).waitFor({ state: 'hidden' })),
    ]);
    const took = performance.now() - began;
    console.log(`all pages were right again after ${Math.round(took)} ms`);
    if (took < promised) return;
    assert.ok(round === 0, `${took} ms`);
    for (const t of news) await persistently(admin, `/queues/${t.queue}/tickets/${t.id}/complete`, {});
  }
});

scene('it is there to see which queue lives where', async (s) => {
  const page = await s.open({ url: balancer.url, path: '/admin/cluster', as: administrator });
  const table = (name) => page.getByRole('region', { name, exact: true }).locator('tbody tr');
  await table('Nodes').filter({ hasText: 'answers this page' }).waitFor();
  await eventually('each queue is at a member, which has as many as it says', async () => {
    const members = await table('Nodes').locator('th').allInnerTexts();
    const counts = await table('Nodes').locator('td:last-child').allInnerTexts();
    const homes = await table('Which queue lives where').locator('td').allInnerTexts();
    return homes.length === queues.length && members.every((m, i) => homes.filter((h) => h === m).length === Number(counts[i])) &&
      homes.every((h) => members.includes(h));
  });
});

// What a page's first load brings over the wire.
import assert from 'node:assert/strict';

import { begin, scene, user } from './harness.mjs';
import { displayKey, openConsole, openDisplay, openSupervisor } from './pages.mjs';

const { url, admin } = await begin();
await admin.call('POST', '/queues', { id: 'post', name: 'Post office', public: true });
const ticket = await admin.call('POST', '/public/queues/post/tickets', {});
const as = await user(admin, 'Ada', 'admin');

const key = await displayKey(admin);

const most = 150_000; // bytes, all together, as they are sent

const heading = (page) => page.getByRole('heading', { level: 1 }).first().waitFor({ state: 'attached' });
const opened = (path, options) => async (s) => {
  const page = await s.open({ url, path, ...options });
  await heading(page);
  return page;
};

for (const [name, open] of Object.entries({
  'sign-in': opened('/'),
  'the console': (s) => openConsole(s, { url, as, desk: '1', queues: ['Post office'] }),
  'the overview': (s) => openSupervisor(s, { url, as }),
  'a queue’s day': opened('/supervisor/queues/post', { as }),
  history: opened('/supervisor/history', { as }),
  'the administration': opened('/admin', { as }),
  'a queue’s settings': opened('/admin/queues/post', { as }),
  users: opened('/admin/users', { as }),
  nodes: opened('/admin/cluster', { as }),
  'dead letters': opened('/admin/dead-letters', { as, allow: [/404/] }),
  'the audit log': opened('/admin/audit', { as }),
  people: opened('/admin/people', { as }),
  'the display': (s) => openDisplay(s, { url, key, queues: ['post'] }),
  'check-in': opened('/checkin/post'),
  'the ticket': opened(`/ticket#${ticket.token}`),
})) {
  scene(`the first load of ${name} is under 150 kB`, async (s) => {
    const page = await open(s);
    await page.waitForLoadState('networkidle');
    const loaded = await page.evaluate(() => performance.getEntries()
      .filter((e) => e instanceof PerformanceResourceTiming)
      .map((e) => ({ name: e.name, size: e.encodedBodySize, whole: e.decodedBodySize })));
    const sum = loaded.reduce((n, e) => n + e.size, 0);
    console.log(`${name}: ${sum} bytes of ${loaded.reduce((n, e) => n + e.whole, 0)} in ${loaded.length} files`);
    assert.ok(sum > 20_000 && loaded.some((e) => e.name.endsWith('.js')), 'the sizes are known');
    assert.ok(sum < most, `${sum} bytes:\n${loaded.map((e) => `${e.size} ${e.name}`).join('\n')}`);
  });
}

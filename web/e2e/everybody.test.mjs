// The pages for whoever comes: by keyboard alone, in each language, on each
// width, with little motion, and after a login that has ended.
import assert from 'node:assert/strict';

import { begin, desktop, mustBeAccessible, mustFit, password, phone, scene, shows, signIn, user, zoomed } from './harness.mjs';
import { openConsole, row } from './pages.mjs';

const { url, admin } = await begin();
await admin.call('POST', '/queues', { id: 'post', name: 'Post office', public: true, services: ['Parcels and registered letters', 'Savings'], target_wait_seconds: 1 });
const [ada, boss] = [await user(admin, 'Ada'), await user(admin, 'Grace', 'admin')];

/** Presses Tab until the focus is on what has that name. */
async function tabTo(page, name, kind = '*') {
  for (let i = 0; i < 40; i++) {
    await page.keyboard.press('Tab');
    const at = await page.evaluate((k) => {
      const e = document.activeElement;
      return e.matches(k) ? (e.ariaLabel ?? e.labels?.[0]?.textContent ?? e.textContent).trim() : '';
    }, kind);
    if (at.startsWith(name)) return;
  }
  assert.fail(`Tab does not come to ${name}`);
}

scene('a ticket goes all its way by keyboard alone, without shortcuts', async (s) => {
  const [ticket] = await admin.enqueue('post', [{}]);
  const page = await s.open({ url });
  await page.getByLabel('E-mail').waitFor();
  await tabTo(page, 'E-mail');
  await page.keyboard.type(ada);
  await tabTo(page, 'Password');
  await page.keyboard.type(password);
  await page.keyboard.press('Enter');
  await page.getByRole('checkbox', { name: 'Post office' }).waitFor();
  await tabTo(page, 'Desk', 'input');
  await page.keyboard.press('ControlOrMeta+a');
  await page.keyboard.type('3');
  await tabTo(page, 'Post office');
  await page.keyboard.press('Space');
  await tabTo(page, 'Begin');
  await page.keyboard.press('Enter');
  await page.getByRole('button', { name: 'Call next' }).waitFor();
  await tabTo(page, 'Call next');
  for (const now of ['Call next', 'Start', 'Complete']) {
    // The focus stays where the next thing to do is.
    await page.locator('button.big:focus:not([aria-disabled])', { hasText: now }).waitFor();
    await page.keyboard.press('Enter');
  }
  await shows(page, `${ticket.number} is completed.`);
});

scene('a login that has ended says so, and one goes on where one was', async (s) => {
  const page = await openConsole(s, { url, as: ada, desk: '4', queues: ['Post office'], allow: [/status of 401/] });
  const { items } = await admin.call('GET', '/users');
  await admin.call('PATCH', `/users/${items.find((u) => u.email === ada).id}`, { password: `${password} again` });
  await shows(page, 'Your sign-in has ended. Please sign in again.');
  await mustBeAccessible(page, 'sign-in after the end of a login');
  await signIn(page, ada, `${password} again`);
  await shows(page, 'Desk 4');
  const [ticket] = await admin.enqueue('post', [{}]);
  await page.locator(row(ticket)).waitFor();
  await admin.call('DELETE', `/queues/post/tickets/${ticket.id}`);
});

scene('rows are seen moving, but not by those who want little motion', async (s) => {
  const tickets = await admin.enqueue('post', Array(4).fill({}));
  const pages = [];
  for (const still of [false, true]) {
    const page = await openConsole(s, { url, as: boss, desk: '5', queues: ['Post office'], still });
    await page.locator(row(tickets[3])).waitFor();
    await page.evaluate(() => {
      globalThis.moved = 0;
      const { animate } = Element.prototype;
      Element.prototype.animate = function (...args) { globalThis.moved++; return animate.apply(this, args); };
    });
    pages.push(page);
  }
  await admin.call('POST', `/queues/post/tickets/${tickets[0].id}/move`, { position: 3 });
  for (const page of pages) {
    await page.waitForFunction(({ first, last }) => document.querySelector(first).ariaPosInSet < document.querySelector(last).ariaPosInSet, { first: row(tickets[1]), last: row(tickets[0]) });
  }
  assert.ok((await pages[0].evaluate(() => globalThis.moved)) > 0, 'nothing was seen moving');
  assert.equal(await pages[1].evaluate(() => globalThis.moved), 0, 'something moved');
});

/** From right to left: how wide the page is, and what is not at the other side. In one go, for what is shown goes on changing. */
const mirrored = (page) => page.evaluate(() => {
  const html = document.documentElement;
  const all = [...document.querySelectorAll('h1, h2, th, dt, a, button, input, select')].filter((e) => e.checkVisibility());
  const starts = () => all.map((e) => {
    const { left, right } = e.getBoundingClientRect();
    return html.dir === 'rtl' ? html.clientWidth - right : left;
  });
  const before = starts();
  html.dir = 'rtl';
  const [after, width] = [starts(), html.scrollWidth];
  html.dir = 'ltr';
  return { width, count: all.length, wrong: all.filter((_, i) => Math.abs(after[i] - before[i]) > 2).map((e) => e.outerHTML.slice(0, 100)) };
});

scene('in every language, each way of writing and each width, no page is wider than its window', async (s) => {
  const ticket = await admin.call('POST', '/public/queues/post/tickets', {});
  const { id } = (await admin.call('GET', '/users')).items.find((u) => u.email === ada);
  const page = await openConsole(s, { url, as: boss, desk: '6', queues: ['Post office'], allow: [/dead-letters/] });
  const paths = [
    '/console', '/supervisor', '/supervisor/queues/post', '/supervisor/history', '/admin/queues', '/admin/queues/post', '/admin/users',
    `/admin/users/${id}`, '/admin/cluster', '/admin/dead-letters', '/admin/audit', '/admin/people', '/checkin/post', `/ticket#${ticket.token}`,
  ];
  for (const path of paths) {
    await page.goto(url + path);
    await page.getByRole('heading').first().waitFor({ state: 'attached' });
    await page.waitForLoadState('networkidle');
    const picker = page.locator('select:has(option[lang="de"])');
    for (const view of [phone, zoomed, desktop]) {
      await page.setViewportSize(view);
      for (const lang of ['de', 'pt', 'es', 'en']) {
        await picker.selectOption(lang);
        await page.waitForFunction((l) => document.documentElement.lang === l, lang);
        await mustFit(page, `${path} in ${lang}`);
      }
      const { width, count, wrong } = await mirrored(page);
      assert.ok(count > 0 && width <= view.width, `${path} from right to left is ${width} px wide`);
      assert.deepEqual(wrong, [], `${path} is not the other way round`);
    }
  }
});

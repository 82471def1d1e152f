// What supervisors have: all queues at a glance, a queue's day, finished tickets.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';

import { away, begin, Caller, eventually, folder, freePort, mustBeAccessible, mustFit, phone, Program, scene, shows, user } from './harness.mjs';

const { url, admin } = await begin();
for (const [id, name, target_wait_seconds] of [['desk', 'Reception', 600], ['lab', 'Blood tests', null], ['bills', 'Billing', 600]]) {
  await admin.call('POST', '/queues', { id, name, target_wait_seconds });
}
const nina = await user(admin, 'Nina', 'supervisor', ['desk', 'lab']);
const oscar = await user(admin, 'Oscar');
const served = 60;
const attendant = await Caller.login(url, oscar);

/** Lets people come and, but for the last, be served. */
async function serve(queue, people, outcome) {
  for (let i = 0; i < people; i++) await admin.call('POST', `/queues/${queue}/tickets`, { service: 'Passports', customer: { name: `Guest ${i}` } });
  for (let i = 0; i < people - 1; i++) {
    const { id } = await attendant.call('POST', `/queues/${queue}/call-next`, { desk: '1' });
    await attendant.call('POST', `/queues/${queue}/tickets/${id}/complete`, { outcome });
  }
}
await serve('lab', served + 1, 'referred');
await serve('desk', 2, 'registered');
await serve('bills', 2, 'paid');
const row = (page, name) => page.getByRole('row').filter({ hasText: name });

scene('a supervisor sees its queues at a glance, as they are, and pauses, closes and opens them', async (s) => {
  const page = await s.open({ url, path: '/supervisor', as: nina });
  await row(page, 'Reception').waitFor();
  assert.equal(await page.getByRole('row').count(), 3);
  assert.match(await row(page, 'Blood tests').innerText(), /open\s+1\s+\d+:\d\d/);
  const { id } = await attendant.call('POST', '/queues/desk/call-next', { desk: '1' });
  await admin.call('POST', '/queues/desk/tickets', {});
  await eventually('one waits, one is served by one, and all of today in time', async () =>
    /1\s+\d+:\d\d\s+1\s+1\s+100\s?%/.test(await row(page, 'Reception').innerText()));
  await page.getByRole('button', { name: 'Pause Reception' }).click();
  await shows(page, 'Reception is paused.');
  await page.getByRole('button', { name: 'Undo' }).click();
  await shows(page, 'Reception is open.');
  await page.getByRole('button', { name: 'Close Reception' }).click();
  await shows(page, '1 person who waits');
  assert.equal((await admin.call('GET', '/queues/desk')).status, 'open');
  await mustBeAccessible(page, 'asking before a queue is closed');
  await page.getByRole('dialog').getByRole('button', { name: 'Close', exact: true }).last().click();
  await page.locator('tr:has-text("Reception") td.status', { hasText: 'closed' }).waitFor();
  assert.equal((await admin.call('GET', '/queues/desk')).status, 'closed');
  await mustBeAccessible(page, 'overview');
  await admin.call('PATCH', '/queues/desk', { status: 'open' });
  await page.locator('tr:has-text("Reception") td.status', { hasText: 'open' }).waitFor();
  await attendant.call('POST', `/queues/desk/tickets/${id}/requeue`, {});
});

scene('a line is sorted, found and filtered, by keyboard too', async (s) => {
  const page = await s.open({ url, path: '/supervisor', as: nina });
  const names = () => page.locator('tbody th a').allInnerTexts();
  await page.getByRole('button', { name: 'Queue', exact: true }).focus();
  await page.keyboard.press('Enter');
  assert.deepEqual(await names(), ['Blood tests', 'Reception']);
  await page.keyboard.press('Enter');
  assert.deepEqual(await names(), ['Reception', 'Blood tests']);
  assert.equal(await page.getByRole('columnheader', { name: 'Queue' }).getAttribute('aria-sort'), 'descending');
  await page.getByLabel('Find a queue').fill('blood');
  await page.locator('tbody tr').nth(1).waitFor({ state: 'detached' });
  assert.deepEqual(await names(), ['Blood tests']);
  await page.getByLabel('Find a queue').fill('none like this');
  await shows(page, 'No queue matches.');
});

scene('a queue’s day is drawn, and told in figures', async (s) => {
  const page = await s.open({ url, path: '/supervisor', as: nina });
  await page.getByRole('link', { name: 'Blood tests' }).click();
  await page.locator('canvas').nth(1).waitFor();
  await page.getByText('As a table').click();
  const cells = await page.getByRole('row', { name: 'Whole day' }).getByRole('cell').allInnerTexts();
  assert.deepEqual(cells.slice(0, 4), [String(served + 1), String(served), '0', '0']);
  await mustBeAccessible(page, 'a queue’s day');
  const { id } = await attendant.call('POST', '/queues/lab/call-next', { desk: 'Room 7' });
  await page.getByRole('row', { name: /Room 7/ }).waitFor();
  await attendant.call('POST', `/queues/lab/tickets/${id}/requeue`, {});
  await page.getByRole('row', { name: /Room 7/ }).waitFor({ state: 'detached' });
  await page.getByRole('heading', { name: /^\w+,? \d+ \w+ \d+$/ }).waitFor();
  // What was done here can be taken back, until somebody else has gone on.
  await page.getByRole('button', { name: 'Pause Blood tests' }).click();
  await page.getByRole('button', { name: 'Undo' }).waitFor();
  await admin.call('PATCH', '/queues/lab', { status: 'closed' });
  await page.getByRole('button', { name: 'Undo' }).waitFor({ state: 'detached' });
  await page.getByRole('button', { name: 'Open Blood tests' }).click();
  await shows(page, 'Blood tests is open.');
  await page.getByRole('button', { name: 'The day before' }).click();
  await page.getByRole('row', { name: 'Whole day' }).getByRole('cell').first().filter({ hasText: /^0$/ }).waitFor();
  await page.reload();
  await page.locator('canvas').first().waitFor();
});

scene('finished tickets are searched, read on, told of and downloaded', async (s) => {
  const page = await s.open({ url, path: '/supervisor/history', as: nina });
  const rows = page.locator('tbody tr');
  await rows.first().waitFor();
  assert.equal(await rows.count(), 50);
  assert.match(await rows.first().innerText(), /Oscar/);
  await page.getByRole('button', { name: 'Show more' }).click();
  await rows.nth(served).waitFor();
  assert.equal(await rows.count(), served + 1);
  await mustBeAccessible(page, 'history');
  await rows.first().getByRole('button').click();
  await page.getByRole('dialog').getByText('Completed').waitFor();
  await mustBeAccessible(page, 'a trail');
  await page.keyboard.press('Escape');
  const [file] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name: 'Download as CSV' }).click()]);
  assert.equal(readFileSync(await file.path(), 'utf8').trim().split('\r\n').length, served + 2);
  await page.getByLabel('Outcome').fill('something else');
  await page.getByRole('button', { name: 'Search' }).click();
  await shows(page, 'Nothing to show.');
  assert.match(page.url(), /outcome=something/);
  await admin.call('PATCH', '/queues/lab', { timezone: 'Asia/Kolkata' });
  await page.reload();
  await shows(page, 'Nothing to show.');

  // Of one queue the times are its own: an hour from now by UTC is hours ago there.
  await page.getByRole('button', { name: 'Clear' }).click();
  await rows.first().waitFor();
  await page.getByLabel('Queue').fill('lab');
  await shows(page, 'Times of Asia/Kolkata.');
  const soon = new Date(Date.now() + 3_600_000).toISOString().slice(0, 16);
  await page.getByLabel('Until').fill(soon);
  await page.getByRole('button', { name: 'Search' }).click();
  await shows(page, 'Nothing to show.');
  await page.getByLabel('Until').fill('');
  await page.getByLabel('From').fill(soon);
  await page.getByRole('button', { name: 'Search' }).click();
  await rows.first().waitFor();
});

scene('a wrong filter is said at its field, and another’s queue is not there', async (s) => {
  const page = await s.open({ url, path: '/supervisor/history', as: nina, allow: [/status of (404|422)/] });
  await page.locator('tbody tr').first().waitFor();
  await page.getByLabel('From').fill('2026-01-02T10:00');
  await page.getByLabel('Until').fill('2026-01-01T10:00');
  await page.getByRole('button', { name: 'Search' }).click();
  await shows(page, 'This must be later than the beginning.');
  assert.equal(await page.getByLabel('Until').getAttribute('aria-invalid'), 'true');
  assert.equal(await page.getByLabel('From').inputValue(), '2026-01-02T10:00');
  await page.getByRole('button', { name: 'Clear' }).click();
  await page.getByLabel('Queue').fill('bills');
  await page.getByRole('button', { name: 'Search' }).click();
  await shows(page, 'This queue is not there any more.');
});

scene('an overview of three hundred queues stays in hand, and says when it is stale', async (s) => {
  const [port, dir] = [await freePort(), folder()];
  let node = await Program.start({ port, dir });
  const boss = await Caller.login(node.url);
  const many = 300;
  for (let i = 0; i < many; i += 20) {
    await Promise.all(Array.from({ length: 20 }, (_, n) => boss.call('POST', '/queues', { id: `q${i + n}`, name: `Room ${i + n}` })));
  }
  await boss.call('POST', '/queues/q77/tickets', {});
  const page = await s.open({ url: node.url, path: '/supervisor', as: 'admin@localhost', allow: away });
  await page.locator('tbody tr').nth(many - 1).waitFor();
  assert.match(await page.locator('tbody tr').first().innerText(), /Room 77/);
  await page.setViewportSize(phone);
  await mustFit(page, 'an overview of many queues');
  await page.getByLabel('Find a queue').fill('room 299');
  await page.locator('tbody tr').nth(1).waitFor({ state: 'detached' });
  await page.setViewportSize({ width: 1280, height: 800 });
  await node.kill();
  await shows(page, 'Not live since');
  await eventually('nothing can be done', () => page.getByRole('button', { name: 'Pause Room 299' }).isDisabled());
  node = await Program.start({ port, dir });
  await eventually('it is live again', () => page.getByRole('button', { name: 'Pause Room 299' }).isEnabled());
  await page.getByText('Not live since').waitFor({ state: 'detached' });
  await node.kill();
});

// People without a login: check-in at a kiosk and on a phone, and the ticket's page.
import assert from 'node:assert/strict';

import { correction, generate } from 'lean-qr/nano';

import { away, begin, Caller, desktop, eventually, folder, freePort, mustBeAccessible, mustFit, phone, Program, scene, shows } from './harness.mjs';

const { url, admin } = await begin();
const missing = /status of 404/;

async function queue(id, fields = {}) {
  await admin.call('POST', '/queues', { id, name: `The ${id}`, public: true, max_active: 10, ...fields });
  return id;
}
const waiting = async (id) => (await admin.call('GET', `/queues/${id}/tickets?state=waiting`)).items;

scene('a kiosk gives one ticket for a double tap and a lost answer, prints it, and begins anew in its own language', async (s) => {
  await queue('passports', { services: ['Passport', 'Visa'], prefix: 'WWWW' });
  await queue('photos');
  const page = await s.open({ url, path: '/checkin/passports,photos?kiosk=1', allow: away });
  await page.evaluate(() => { window.print = () => { window.printed = (window.printed ?? 0) + 1; }; });
  await mustBeAccessible(page, 'the kiosk’s queues');
  let refused = 0;
  await page.route('**/public/queues/photos', (route) => { refused++; return route.fulfill({ status: 503 }); });
  await page.evaluate(() => { dispatchEvent(new Event('online')); }); // it looks at once, and soon again
  await eventually('one queue has no answer twice', () => refused > 1);
  for (const name of [/The passports/, /The photos/]) assert.ok(await page.getByRole('button', { name }).isEnabled());
  await page.unroute('**/public/queues/photos');
  await page.getByRole('button', { name: 'Deutsch' }).click();
  await page.getByRole('button', { name: /The passports/ }).click();
  await mustBeAccessible(page, 'the kiosk’s services');
  const offers = () => page.locator('input').evaluateAll((all) => all.map((i) => i.autocomplete));
  assert.deepEqual(await offers(), ['off', 'off'], 'one customer’s name is offered to the next');
  let lost = 0;
  await page.route('**/public/queues/*/tickets', async (route) => {
    if (lost++ > 0) { await route.continue(); return; }
    await route.fetch(); // it is done, and nobody hears of it
    await route.abort();
  });
  await page.getByRole('button', { name: 'Visa' }).dblclick();
  await shows(page, 'Ihre Nummer');
  assert.ok(lost > 1, 'the answer was not lost');
  const tickets = await waiting('passports');
  assert.deepEqual(tickets.map((t) => t.service), ['Visa']);
  await shows(page, tickets[0].number);
  await page.getByRole('img', { name: /Scannen/ }).waitFor();
  await page.waitForFunction(() => window.printed === 1);
  await page.getByRole('button', { name: 'Ich brauche mehr Zeit' }).click();
  await mustBeAccessible(page, 'the kiosk’s ticket');
  const printed = (await page.pdf({ preferCSSPageSize: true })).toString('latin1');
  assert.equal(printed.match(/\/Type \/Page\b/g).length, 1, 'the slip is one page');
  assert.equal(Math.round(/\/MediaBox \[0 0 ([\d.]+)/.exec(printed)[1] / 72 * 25.4), 80, 'mm of paper');
  await page.emulateMedia({ media: 'print' });
  await page.setViewportSize({ width: Math.floor(72 / 25.4 * 96), height: 600 }); // what the head of such a printer reaches
  await mustFit(page, 'the slip');
  const lines = (e) => Math.round(e.getBoundingClientRect().height / parseFloat(getComputedStyle(e).lineHeight));
  assert.equal(await page.locator('.slip .number').evaluate(lines), 1, 'the number is broken');
  await page.emulateMedia({ media: null });
  await page.setViewportSize(desktop);
  await page.getByRole('button', { name: 'Fertig' }).click();
  await shows(page, 'Where would you like to go?');
});

scene('a phone follows its ticket: place, call, transfer, leaving', async (s) => {
  await queue('desk-a');
  await queue('desk-b', { name: 'Second line' });
  await admin.call('POST', '/queues/desk-a/tickets', {});
  const page = await s.open({ url, path: '/checkin/desk-a', view: phone });
  await page.getByText('Add your name').click();
  await mustBeAccessible(page, 'check-in');
  await page.getByLabel('Name').fill('Ada Marsh');
  await page.getByRole('button', { name: 'Take a ticket' }).click();
  await page.waitForURL(/\/ticket#tk_/);
  await shows(page, '1 person is before you.');
  await mustBeAccessible(page, 'a waiting ticket');
  const [first, mine] = await waiting('desk-a');
  assert.equal(mine.customer.name, 'Ada Marsh');
  await admin.call('DELETE', `/queues/desk-a/tickets/${first.id}`);
  await shows(page, 'You are next.');
  await page.getByText('Open on another phone').click();
  const drawn = await page.getByRole('img', { name: /Scan the code/ }).locator('path').getAttribute('d');
  const code = generate(page.url(), { minCorrectionLevel: correction.M });
  const dark = Array.from({ length: code.size ** 2 }, (_, i) => [i % code.size, Math.trunc(i / code.size)]).filter(([x, y]) => code.get(x, y));
  assert.ok(drawn === dark.map(([x, y]) => `M${x} ${y}h1v1h-1z`).join(''), 'the code leads elsewhere');

  await page.context().grantPermissions(['notifications'], { origin: url });
  await page.getByRole('button', { name: 'Tell me' }).click();
  await shows(page, 'get a message');
  await page.evaluate(() => { navigator.vibrate = (pattern) => { globalThis.vibrated = pattern; }; });
  await admin.call('POST', '/queues/desk-a/call-next', { desk: '4' });
  await shows(page, 'It is your turn!');
  await shows(page, 'Please go to desk 4.');
  assert.ok((await page.evaluate(() => globalThis.vibrated))?.length > 0, 'it did not vibrate');
  await eventually('there is a notification', () => page.evaluate(async () => {
    const worker = await navigator.serviceWorker.ready;
    return (await worker.getNotifications()).some((n) => n.body === 'Please go to desk 4.');
  }));
  await mustBeAccessible(page, 'a called ticket');

  await admin.call('POST', `/queues/desk-a/tickets/${mine.id}/transfer`, { queue: 'desk-b' });
  await shows(page, 'You are now in the line Second line. You keep your number.');
  const [moved] = await waiting('desk-b'); // as another ticket
  await page.getByRole('button', { name: 'Leave the line' }).click();
  await mustBeAccessible(page, 'the question before leaving');
  const back = (position) => admin.call('POST', `/queues/desk-b/tickets/${moved.id}/requeue`, { position });
  // Brought back before the next look at it, of which there is one a second, it is as it was at the last one.
  await page.route('**/public/tickets/*', async (route) => {
    const answer = await route.fetch();
    await back(2);
    await route.fulfill({ response: answer });
  }, { times: 1 });
  const [urgent] = await admin.enqueue('desk-b', [{ priority: 9 }]);
  await shows(page, '1 person is before you.');
  await page.getByRole('button', { name: 'Yes, leave the line' }).click();
  await page.getByRole('dialog').waitFor({ state: 'detached' });
  await shows(page, '1 person is before you.');
  await admin.call('DELETE', `/queues/desk-b/tickets/${urgent.id}`);
  await admin.call('DELETE', `/queues/desk-b/tickets/${moved.id}`);
  await shows(page, 'Your ticket was taken out of the line.');
  await back(1);
  await shows(page, 'You are next.');
  await admin.call('POST', `/queues/desk-b/tickets/${moved.id}/hold`, {});
  await shows(page, 'Your ticket is on hold.');
  await back(1);
  await shows(page, 'You are next.');
  await page.getByRole('button', { name: 'Leave the line' }).click();
  await page.getByRole('button', { name: 'Yes, leave the line' }).click();
  await shows(page, 'You have left the line.');
  assert.deepEqual(await waiting('desk-b'), [], 'the second wish to leave was taken for the first');
});

scene('a ticket’s page says that it is not live, comes back by itself with what was missed, and knows an unknown ticket', async (s) => {
  const dir = folder();
  const port = await freePort();
  const node = await Program.start({ dir, port });
  let staff = await Caller.login(node.url);
  await staff.call('POST', '/queues', { id: 'post', public: true });
  const page = await s.open({ url: node.url, path: '/checkin/post', view: phone, allow: away });
  await page.getByRole('button', { name: 'Take a ticket' }).click();
  await shows(page, 'You are next.');
  await node.kill();
  await shows(page, 'Not live since');
  assert.ok(await page.getByRole('button', { name: 'Leave the line' }).isDisabled());
  await mustBeAccessible(page, 'a ticket without connection');
  const again = await Program.start({ dir, port });
  staff = await Caller.login(again.url);
  await staff.call('POST', '/queues/post/call-next', { desk: 'Room 5' });
  await shows(page, 'Please go to: Room 5.');
  await page.getByText('Not live since').waitFor({ state: 'detached' });
  await again.kill();

  const unknown = await s.open({ url, path: '/ticket#tk_wrong', view: phone });
  await shows(unknown, 'This ticket is not known any more.');
  await mustBeAccessible(unknown, 'an unknown ticket');
});

scene('each refusal has its sentence', async (s) => {
  await queue('shut');
  await admin.call('PATCH', '/queues/shut', { status: 'closed' });
  await queue('full', { capacity: 1 });
  await admin.call('POST', '/queues/full/tickets', {});
  await queue('hidden', { public: false });
  const closed = await s.open({ url, path: '/checkin/shut', view: phone });
  await shows(closed, 'Closed just now.');
  await mustBeAccessible(closed, 'a closed queue');
  const hidden = await s.open({ url, path: '/checkin/hidden', view: phone, allow: [missing] });
  await shows(hidden, 'You cannot check in here.');
  const full = await s.open({ url, path: '/checkin/full', view: phone, allow: [/status of 409/, ...away] });
  await full.getByText('Add your name').click();
  await full.getByLabel('Name').fill('Ada Marsh');
  await full.getByRole('button', { name: 'Take a ticket' }).click();
  await shows(full, 'The line is full just now.');
  await mustBeAccessible(full, 'a full queue');
  await full.getByRole('button', { name: 'Start again' }).click();
  await full.getByRole('button', { name: 'Take a ticket' }).waitFor();
  await full.context().setOffline(true);
  await shows(full, 'This page tries again by itself.');
  assert.ok(await full.getByRole('button', { name: 'Take a ticket' }).isDisabled());
  await full.context().setOffline(false);
  await eventually('a ticket can be taken', () => full.getByRole('button', { name: 'Take a ticket' }).isEnabled());
  assert.equal(await full.getByLabel('Name').inputValue(), 'Ada Marsh', 'what was written is gone');
});

scene('too many check-ins from one address are asked to wait', async (s) => {
  const slow = await begin({ args: ['--checkin-rate', '1'] });
  await slow.admin.call('POST', '/queues', { id: 'slow', public: true });
  const first = await s.open({ url: slow.url, path: '/checkin/slow', view: phone });
  await first.getByRole('button', { name: 'Take a ticket' }).click();
  await first.waitForURL(/\/ticket#tk_/);
  const page = await s.open({ url: slow.url, path: '/checkin/slow', view: phone, allow: [/status of 429/] });
  await page.getByRole('button', { name: 'Take a ticket' }).click();
  await shows(page, 'Please wait a minute');
});

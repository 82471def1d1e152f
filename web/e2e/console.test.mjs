// The attendant's console: a day at a desk, by mouse, by keys, on a phone, and through an outage.
import assert from 'node:assert/strict';

import { away, begin, eventually, folder, freePort, mustBeAccessible, phone, Program, scene, shows, user } from './harness.mjs';
import { offers } from './pages.mjs';

const [dir, port] = [folder(), await freePort()];
const { node, url, admin } = await begin({ dir, port });
await admin.call('POST', '/queues', { id: 'passports', name: 'Passports', services: ['Renewal', 'Collection'] });
await admin.call('POST', '/queues', { id: 'residence', name: 'Residence' });
const [ada, ben] = [await user(admin, 'Ada'), await user(admin, 'Ben')];

const waiting = async (queue) => (await admin.call('GET', `/queues/${queue}/tickets?state=waiting&limit=1000`)).items;
const numbers = async (queue) => (await waiting(queue)).map((t) => t.number);
const states = (queue, ticket) => admin.call('GET', `/queues/${queue}/tickets/${ticket.id}`).then((t) => t.state);
const button = (page, name) => page.getByRole('button', { name });
const hand = (page) => page.getByRole('region', { name: 'At your desk' });
/** Waits until a ticket is called to the desk; its number alone may only say that it is next. */
const atHand = (page, ticket) =>
  hand(page).locator('.ticket').filter({ hasText: 'called' }).filter({ hasText: ticket.number }).waitFor();
const row = (page, ticket) => page.locator(`[data-id="${ticket.id}"]`);
const said = (page, text) => page.locator('[aria-live]', { hasText: text }).waitFor({ state: 'attached' });

/** Leaves a queue empty and puts new tickets into it. */
async function fill(queue, bodies) {
  for (const state of ['called', 'serving', 'held', 'waiting']) {
    for (const t of (await admin.call('GET', `/queues/${queue}/tickets?state=${state}&limit=1000`)).items) {
      if (state === 'serving') await admin.call('POST', `/queues/${queue}/tickets/${t.id}/complete`, {});
      else await admin.call('DELETE', `/queues/${queue}/tickets/${t.id}`);
    }
  }
  return admin.enqueue(queue, bodies);
}

/** Opens the console and chooses desk and queues there. */
async function sit(s, options, desk, ...queues) {
  const page = await s.open({ url, path: '/console', ...options });
  await page.getByLabel('Desk', { exact: true }).fill(desk);
  for (const q of queues) await page.getByRole('checkbox', { name: q }).check();
  await button(page, 'Begin').click();
  await page.getByRole('list', { name: 'Line' }).waitFor({ state: 'attached' });
  return page;
}

scene('a ticket goes from the line to its end, and slips are taken back', async (s) => {
  const [first, second, third] = await fill('passports', [
    { customer: { name: 'Ana Souza' }, service: 'Renewal' }, { customer: { name: 'Jürgen Müller' } }, { customer: { name: 'Li Wei' } },
  ]);
  const page = await sit(s, { as: ada }, '1', 'Passports', 'Residence');
  await mustBeAccessible(page, 'the console');
  await button(page, 'Change desk or queues').click();
  await mustBeAccessible(page, 'the choice of a desk');
  await button(page, 'Cancel').click();
  await page.keyboard.press('Alt+n');
  await atHand(page, first);
  await said(page, `${first.number} is called to desk 1.`);
  await offers(page, 'Start');
  await page.keyboard.press('Alt+s');
  await shows(page, 'being served');
  await offers(page, 'Complete');
  await mustBeAccessible(page, 'the console with a ticket at hand');
  await page.getByLabel('Result (optional)').fill('Issued');
  await page.keyboard.press('Alt+c');
  await shows(page, `${first.number} is completed.`);
  assert.equal((await admin.call('GET', `/queues/passports/tickets/${first.id}`)).outcome, 'Issued');
  await button(page, 'Undo').click();
  await row(page, first).waitFor();
  assert.deepEqual(await numbers('passports'), [first, second, third].map((t) => t.number));

  await row(page, second).getByRole('button', { name: 'Jürgen Müller' }).click();
  await page.getByRole('dialog').getByRole('listitem').filter({ hasText: 'Joined' }).waitFor();
  await mustBeAccessible(page, 'a ticket');
  await button(page, 'Remove').click();
  await page.getByLabel('Reason (optional)').fill('Came twice');
  await button(page, `Remove ${second.number}`).click();
  await shows(page, `${second.number} is removed.`);
  assert.equal((await admin.call('GET', `/queues/passports/tickets/${second.id}`)).reason, 'Came twice');
  await page.keyboard.press('Alt+z');
  await row(page, second).waitFor();
  assert.deepEqual(await numbers('passports'), [first, second, third].map((t) => t.number));

  // The ticket that one looks at goes: so does its row, to which the focus would go back.
  await row(page, second).getByRole('button', { name: 'Jürgen Müller' }).click();
  await page.getByRole('dialog').waitFor();
  await admin.call('DELETE', `/queues/passports/tickets/${second.id}`);
  await row(page, second).waitFor({ state: 'detached' });
  await page.keyboard.press('Escape');
  await page.waitForFunction(() => document.activeElement.matches('li .open'));
  await admin.call('POST', `/queues/passports/tickets/${second.id}/requeue`, { position: 2 });

  await row(page, third).getByRole('button', { name: 'Li Wei' }).click();
  await button(page, 'Send on').click();
  await mustBeAccessible(page, 'a ticket to be sent on');
  await page.getByRole('dialog').getByRole('radio', { name: 'Residence' }).check();
  await button(page, 'Send on to Residence').click();
  await shows(page, `${third.number} is sent on to Residence.`);
  await page.locator('label', { hasText: 'Residence' }).click();
  await page.getByRole('list', { name: 'Line' }).getByText(third.number).waitFor();

  await page.locator('label', { hasText: 'Passports' }).click();
  const press = (name) => hand(page).getByRole('button', { name }).click();
  await press('Call next');
  await press('Call again');
  await shows(page, 'Called 3 times');
  await said(page, `${first.number} is called again.`);
  await press('Put on hold');
  await shows(page, `${first.number} is on hold.`);
  await button(page, `Put ${first.number} back in line`).click();
  await row(page, first).waitFor();
  await press('Call next');
  await press('Back in line');
  await shows(page, `${first.number} is back in line at position 1.`);
  await press('Call next');
  await press('No-show');
  await shows(page, `${first.number} is noted as a no-show.`);
  assert.equal(await states('passports', first), 'no_show');
  await button(page, 'Undo').click();
  await row(page, first).waitFor();
});

scene('two attendants: what one does is at the other’s desk, and each is told what concerns them', async (s) => {
  const [first, second] = await fill('passports', [{ customer: { name: 'Ana Souza' } }, { customer: { name: 'Li Wei' } }]);
  const a = await sit(s, { as: ada }, '1', 'Passports');
  const b = await sit(s, { as: ben }, '2', 'Passports');
  await row(b, first).getByRole('button', { name: 'Ana Souza' }).focus();
  await button(a, 'Call next').click();
  await b.getByRole('region', { name: 'At other desks' }).getByText(first.number).waitFor();
  await b.waitForFunction((id) => document.activeElement?.closest('li')?.dataset.id === id, second.id);
  assert.equal((await b.locator('[aria-live], [role=status], [role=alert]').allInnerTexts()).join('').trim(), '', 'it is said where it concerns nobody');

  // Ben calls another one while he serves: the way out is offered where he looks.
  const third = (await admin.enqueue('passports', [{ customer: { name: 'Eva Novak' } }]))[0];
  await b.keyboard.press('Alt+n');
  await atHand(b, second);
  await row(b, third).getByRole('button', { name: 'Eva Novak' }).click();
  await button(b, 'Call now').click();
  await button(b, `Complete ${second.number} first, then call`).click();
  await atHand(b, third);
  assert.equal(await states('passports', second), 'completed');

  // Somebody else ends what is at Ada's desk.
  await admin.call('POST', `/queues/passports/tickets/${first.id}/no-show`, {});
  await said(a, `Somebody else noted ${first.number} as a no-show.`);
  await hand(a).getByText('Nobody is waiting.').first().waitFor();
  await admin.call('PATCH', '/queues/passports', { status: 'paused' });
  await a.getByText('Paused: people may join, but nobody can be called.').waitFor();
  await mustBeAccessible(a, 'a paused queue');
  await admin.call('PATCH', '/queues/passports', { status: 'open' });

  // What somebody else has gone on with is not taken from them.
  await offers(b, 'Start');
  await b.keyboard.press('Alt+c');
  await button(b, 'Undo').waitFor();
  await admin.call('POST', `/queues/passports/tickets/${third.id}/requeue`, { position: 1 });
  await button(b, 'Undo').waitFor({ state: 'detached' });
});

scene('search finds by number and by name, wherever the ticket is', async (s) => {
  const all = await fill('passports', Array.from({ length: 60 }, (_, i) => ({ customer: { name: i === 50 ? 'Jürgen Müller' : `Person ${i}` } })));
  await admin.call('POST', `/queues/passports/tickets/${all[50].id}/hold`, {});
  await fill('residence', [{ customer: { name: 'Zoë Quill' } }]);
  const page = await sit(s, { as: ada }, '1', 'Passports', 'Residence');
  await page.keyboard.press('Alt+f');
  await page.keyboard.type('muller');
  const found = page.getByRole('list', { name: 'Found' });
  await found.getByText(all[50].number).waitFor();
  await found.getByText('on hold').waitFor();
  await page.keyboard.press('Escape');
  await page.keyboard.type(all[41].number.toLowerCase());
  await found.getByText('Person 41').waitFor();
  await page.getByRole('status').filter({ hasText: '1 ticket found' }).waitFor({ state: 'attached' });
  await page.keyboard.press('Escape');
  await page.keyboard.type('zoe');
  await found.locator('li', { hasText: 'Zoë Quill' }).getByText('Residence').waitFor();
});

scene('a ticket is added at the desk, on a phone', async (s) => {
  await fill('passports', []);
  const page = await sit(s, { as: ada, view: phone }, '1', 'Passports');
  await shows(page, 'Nobody is waiting.');
  await button(page, 'Add ticket').click();
  const dialog = page.getByRole('dialog');
  await dialog.getByLabel('Service').selectOption('Collection');
  await dialog.getByLabel('Priority').selectOption('5');
  await dialog.getByLabel('Name').fill('Ana Souza');
  await dialog.getByRole('button', { name: 'Add ticket' }).click();
  await page.getByRole('list', { name: 'Line' }).getByText('Ana Souza').waitFor();
  const [ticket] = await waiting('passports');
  assert.deepEqual([ticket.service, ticket.priority, ticket.customer.name], ['Collection', 5, 'Ana Souza']);
  // A change here leaves alone what somebody else changes meanwhile.
  await row(page, ticket).getByRole('button', { name: 'Ana Souza' }).click();
  await dialog.getByRole('button', { name: 'Change' }).click();
  await dialog.getByLabel('Name').fill('Ana Lima');
  await admin.call('PATCH', `/queues/passports/tickets/${ticket.id}`, { service: 'Renewal', customer: { name: 'Ana Souza', ref: 'P-17' } });
  await button(page, 'Save').click();
  await page.getByRole('list', { name: 'Line' }).getByText('Ana Lima').waitFor();
  const [{ service, customer }] = await waiting('passports');
  assert.deepEqual([service, customer.name, customer.ref], ['Renewal', 'Ana Lima', 'P-17']);
  await button(page, 'Call next').click();
  await button(page, 'Start').click();
  await button(page, 'Complete').click();
  await shows(page, `${ticket.number} is completed.`);
});

/** Clicks on what there is to do next as soon as that has come to be something else, as the second click of a double one does. */
const clickOn = (page, name) => page.evaluate((n) => new Promise((done) => {
  const big = document.querySelector('button.big');
  let since = 0;
  new MutationObserver(() => { if (big.textContent.trim().startsWith(n)) since ||= performance.now(); }).observe(big, { childList: true, characterData: true, subtree: true });
  const click = () => {
    if (since && performance.now() - since > 200) { done(); return; }
    if (since) big.click();
    requestAnimationFrame(click);
  };
  click();
}), name);

scene('keys can be switched off, and the desk is remembered', async (s) => {
  const [first, second] = await fill('passports', [{ customer: { name: 'Ana Souza' } }, { customer: { name: 'Li Wei' } }]);
  const page = await sit(s, { as: ada }, '7', 'Passports');
  await page.getByLabel('Keys').selectOption('off');
  await page.reload();
  await shows(page, 'Desk 7');
  await row(page, first).waitFor();
  // Had a key called somebody, there would be nothing to click.
  await page.keyboard.press('Alt+n');
  await page.keyboard.press('n');
  await button(page, 'Call next').click();
  await atHand(page, first);
  assert.equal((await admin.call('GET', `/queues/passports/tickets/${first.id}`)).desk, '7');

  await page.getByLabel('Keys').selectOption('plain');
  await page.getByLabel('Result (optional)').pressSequentially('sc');
  await button(page, 'Start').focus();
  await offers(page, 'Start');
  await page.keyboard.press('s');
  await offers(page, 'Complete');
  await page.keyboard.press('c');
  await shows(page, `${first.number} is completed.`);
  assert.equal((await admin.call('GET', `/queues/passports/tickets/${first.id}`)).outcome, 'sc');
  assert.equal(await states('passports', second), 'waiting');

  // Neither the second click of a double one nor a key that is held down is meant for what comes next.
  const again = clickOn(page, 'Start');
  await button(page, 'Call next').click();
  await again;
  await offers(page, 'Start');
  assert.equal(await states('passports', second), 'called');
  await page.locator('button.big').focus();
  for (let i = 0; i < 2; i++) {
    await page.keyboard.down('Enter');
    await offers(page, 'Complete');
  }
  await page.keyboard.up('Enter');
  assert.equal(await states('passports', second), 'serving');
});

scene('an outage is told, nothing can be pressed, and all is back by itself', async (s) => {
  const [first, second] = await fill('passports', [{ customer: { name: 'Ana Souza' } }, { customer: { name: 'Li Wei' } }]);
  const page = await sit(s, { as: ada, allow: away }, '1', 'Passports');
  await button(page, 'Call next').click();
  await atHand(page, first);
  await row(page, second).getByRole('button', { name: 'Li Wei' }).focus();
  await node.kill();
  await shows(page, /^Not live since/);
  const on = await page.locator('.work').getByRole('button', { disabled: false }).allInnerTexts();
  assert.deepEqual(on.filter((name) => !name.includes(second.number)), ['Details'], 'what would do nothing can be pressed');
  const again = await Program.start({ dir, port });
  try {
    await page.getByText(/^Not live since/).waitFor({ state: 'detached' });
    await page.waitForFunction((id) => document.activeElement?.closest('li')?.dataset.id === id, second.id);
    await button(page, 'Start').click();
    await eventually('the start is in the journal', async () => (await states('passports', first)) === 'serving');
  } finally {
    await again.kill();
  }
});

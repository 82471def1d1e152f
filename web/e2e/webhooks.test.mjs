// What administrators do with webhooks, by keyboard alone, before a receiver that checks signatures by itself.
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import http from 'node:http';
import { after } from 'node:test';

import { administrator, begin, eventually, mustBeAccessible, mustFit, phone, scene, shows } from './harness.mjs';

const { url, admin } = await begin({ args: ['--webhook-private-networks', '127.0.0.0/8'] });

/** What came, and how it is answered. */
const came = [];
let status = 200;
const receiver = http.createServer((request, response) => {
  let body = '';
  request.on('data', (part) => { body += part; });
  request.on('end', () => {
    came.push({ body, headers: request.headers });
    response.writeHead(status).end();
  });
});
await new Promise((yes) => receiver.listen(0, '127.0.0.1', yes));
after(() => receiver.close());

/** Whether a request bears a secret's signature. */
function signed({ body, headers }, secret) {
  const key = Buffer.from(secret.slice('whsec_'.length), 'base64');
  const said = createHmac('sha256', key).update(`${headers['webhook-id']}.${headers['webhook-timestamp']}.${body}`).digest('base64');
  return headers['webhook-signature'].split(' ').includes(`v1,${said}`);
}

const event = (kind) => came.find((c) => JSON.parse(c.body).type === kind);

scene('a webhook is made, tested, told of events, given another secret, and what it refused is delivered again', async (s) => {
  const page = await s.open({ url, path: '/admin/webhooks', as: administrator, allow: [/status of 422/] });
  const press = (name) => page.getByRole('button', { name, exact: true }).press('Enter');
  await shows(page, 'There are no webhooks.');
  await press('New webhook');
  const address = page.getByLabel('Address');
  await address.fill('https://10.1.2.3/hooks');
  await address.press('Enter');
  await shows(page, 'This address may not be called.');
  assert.equal(await address.getAttribute('aria-invalid'), 'true');
  await mustBeAccessible(page, 'a new webhook that was refused');
  await page.getByLabel('What it is for').fill('Reports');
  await page.getByLabel('All events, new kinds too').press('Space');
  for (const kind of ['ticket.enqueued', 'ticket.called']) await page.getByLabel(kind, { exact: true }).press('Space');
  await address.fill(`http://127.0.0.1:${receiver.address().port}/hooks`);
  await address.press('Enter');
  await shows(page, 'it is never shown again');
  const first = await page.getByRole('textbox', { name: 'Secret' }).inputValue();
  await mustBeAccessible(page, 'a new webhook with its secret');
  await page.getByRole('link', { name: 'To the webhook' }).press('Enter');
  await page.getByRole('heading', { name: 'Reports' }).waitFor();
  assert.ok(!(await page.content()).includes(first));

  await press('Send a test');
  await shows(page, 'Delivered: answered with 200');
  assert.ok(signed(event('ping'), first));

  await admin.call('POST', '/queues', { id: 'desk' });
  const { id } = await admin.call('POST', '/queues/desk/tickets', { customer: { name: 'Ada Marsh' } });
  await eventually('the event came', () => event('ticket.enqueued'));
  const told = event('ticket.enqueued');
  assert.ok(signed(told, first) && !told.body.includes('Ada') && !event('queue.configured'));
  assert.equal(JSON.parse(told.body).data.data.id, id);

  await press('Make a new secret');
  await shows(page, 'The secret of before still signs too');
  const second = await page.getByRole('textbox', { name: 'Secret' }).inputValue();
  await mustBeAccessible(page, 'a webhook with two secrets');
  status = 410;
  await admin.call('POST', '/queues/desk/call-next', {});
  const hook = `/webhooks/${page.url().split('/').pop()}`;
  await eventually('the receiver is given up', async () => (await admin.call('GET', hook)).gone);
  assert.ok(signed(event('ticket.called'), first) && signed(event('ticket.called'), second));
  await press('Drop the secret of before');
  await page.getByRole('dialog').getByRole('button', { name: 'Drop the secret of before' }).press('Enter');
  await page.getByRole('dialog').waitFor({ state: 'detached' });
  assert.equal((await admin.call('GET', hook)).old_secret_until, null);

  await page.reload();
  await shows(page, 'disabled: the receiver wants nothing any more');
  await shows(page, 'answered with 410');
  await mustBeAccessible(page, 'a webhook with something that was not delivered');
  status = 200;
  came.length = 0;
  await page.getByLabel('Enabled').press('Space');
  await press('Save');
  await shows(page, 'Saved.');
  await page.getByRole('button', { name: /^Deliver again: ticket.called of desk/ }).press('Enter');
  await shows(page, '1 event will be delivered again.');
  await eventually('it came again', () => event('ticket.called'));
  assert.ok(signed(event('ticket.called'), second) && !signed(event('ticket.called'), first));
  await shows(page, 'Everything could be delivered.');

  await press('Delete this webhook');
  await page.getByRole('dialog').getByRole('button', { name: 'Delete', exact: true }).press('Enter');
  await page.waitForURL('**/admin/webhooks');
  await shows(page, 'There are no webhooks.');
  await page.setViewportSize(phone);
  await mustFit(page, 'webhooks on a phone');
});

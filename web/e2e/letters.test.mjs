// Requests from RabbitMQ that could not succeed. Three wait for a queue that is not
// there when the node starts: pages_test.go has sent them.
import assert from 'node:assert/strict';

import { administrator, begin, eventually, mustBeAccessible, scene, shows } from './harness.mjs';

const { url, admin } = await begin({ args: ['--amqp-url', process.env.PAGES_AMQP_URL] });

scene('dead letters say what they died of, are sent again and deleted', async (s) => {
  await eventually('the requests are dead', async () => (await admin.call('GET', '/dead-letters')).items.length === 3);
  const page = await s.open({ url, path: '/admin/dead-letters', as: administrator });
  await page.getByRole('row', { name: /order-3/ }).waitFor();
  assert.match(await page.getByRole('row', { name: /order-1/ }).innerText(), /No such queue/);
  await page.getByText('order-1', { exact: true }).click();
  await shows(page, '"service": "order-1"');
  await mustBeAccessible(page, 'dead letters');
  await admin.call('POST', '/queues', { id: 'desk' });
  await page.getByLabel('Choose letter order-2').check();
  await page.getByRole('button', { name: 'Send 1 again' }).click();
  await shows(page, '1 request was sent again.');
  await eventually('its ticket is there', async () => (await admin.call('GET', '/queues/desk/tickets')).items[0]?.service === 'order-2');
  await page.getByLabel('Choose all that are shown').check();
  await page.getByRole('button', { name: 'Delete 2' }).click();
  assert.equal((await admin.call('GET', '/dead-letters')).items.length, 2);
  await page.getByRole('button', { name: 'Delete', exact: true }).click();
  await shows(page, '2 requests were deleted.');
  await shows(page, 'There are no dead letters.');
  assert.equal((await admin.call('GET', '/dead-letters')).items.length, 0);
  assert.equal((await admin.call('GET', '/queues/desk/tickets')).items.length, 1);
});

// What administrators have: queues, rules, users and keys, nodes, the audit log, personal data.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';

import { administrator, begin, eventually, mustBeAccessible, mustFit, phone, scene, shows, user } from './harness.mjs';

const { url, admin } = await begin();
await admin.call('POST', '/queues', { id: 'desk', name: 'Reception' });
await admin.call('POST', '/queues', { id: 'visas', name: 'Visas' });
const nina = await user(admin, 'Nina', 'supervisor', ['desk']);
await user(admin, 'Board', 'viewer');
const open = (s, path, more = {}) => s.open({ url, path, as: administrator, ...more });
const refusals = { allow: [/status of (4|5)\d\d/] };
const button = (page, name) => page.getByRole('button', { name, exact: true });

scene('a queue is made and configured, and a refused form keeps what was written', async (s) => {
  const page = await open(s, '/admin', refusals);
  await page.getByRole('link', { name: 'Reception' }).waitFor();
  await mustBeAccessible(page, 'queues');
  await button(page, 'New queue').click();
  await page.getByLabel('Id', { exact: true }).fill('No Good');
  await page.getByLabel('Name', { exact: true }).fill('Passport office');
  await button(page, 'Create').click();
  await shows(page, 'A small letter or digit, then');
  assert.equal(await page.getByLabel('Id', { exact: true }).getAttribute('aria-invalid'), 'true');
  assert.equal(await page.getByLabel('Name', { exact: true }).inputValue(), 'Passport office');
  await mustBeAccessible(page, 'a new queue that was refused');
  await page.getByLabel('Id', { exact: true }).fill('passports');
  await button(page, 'Create').click();
  await page.waitForURL('**/admin/queues/passports');
  await page.getByLabel('Target wait in minutes').fill('2.5');
  await page.getByLabel('Services').fill('Passports\n\n Visas ');
  await page.getByLabel('Time zone').fill('Atlantis/Capital');
  await page.getByLabel('Open to the public').check();
  await button(page, 'Save').click();
  await shows(page, 'This is no known time zone');
  assert.equal(await page.getByLabel('Services').inputValue(), 'Passports\n\n Visas ');
  await page.getByLabel('Time zone').fill('Europe/Lisbon');
  await button(page, 'Save').click();
  await shows(page, 'Saved.');
  const made = await admin.call('GET', '/queues/passports');
  assert.deepEqual(
    [made.name, made.target_wait_seconds, made.services, made.timezone, made.public, made.capacity],
    ['Passport office', 150, ['Passports', 'Visas'], 'Europe/Lisbon', true, null],
  );
  await page.getByRole('img', { name: /QR code/ }).waitFor();
  await button(page, 'Save').click();
  await shows(page, 'Nothing was changed.');
  await mustBeAccessible(page, 'a queue');
});

scene('a queue in which people are is not deleted, an empty one is', async (s) => {
  await admin.call('POST', '/queues', { id: 'brief', name: 'Brief' });
  const { id } = await admin.call('POST', '/queues/brief/tickets', {});
  const page = await open(s, '/admin/queues/brief', refusals);
  await button(page, 'Delete this queue').click();
  await button(page, 'Delete').click();
  await shows(page, 'People are still in this queue.');
  await admin.call('DELETE', `/queues/brief/tickets/${id}`);
  await button(page, 'Delete').click();
  await page.waitForURL('**/admin/queues');
  await page.getByRole('link', { name: 'Reception' }).waitFor();
  assert.equal(await page.getByRole('link', { name: 'Brief' }).count(), 0);
});

scene('rules are tried out, refused at their field, saved, and not lost to another’s', async (s) => {
  const page = await open(s, '/admin/queues/desk', refusals);
  for (const [name, when] of [['No tests', 'request.payload.test =='], ['Visas go upstairs', 'request.service == "Visas"']]) {
    await button(page, 'Add a rule').click();
    const rule = page.locator('fieldset').last();
    await rule.getByLabel('Name').fill(name);
    await rule.getByLabel('Condition (CEL)').fill(when);
  }
  const [first, second] = [page.getByRole('group', { name: 'Rule 1' }), page.getByRole('group', { name: 'Rule 2' })];
  await first.getByLabel('Then').selectOption('refuse');
  await second.getByLabel('Into another queue').selectOption('visas');
  await second.getByLabel('Priority').fill('7');
  await button(page, 'Save rules').click();
  await first.locator('[aria-invalid=true]').waitFor();
  assert.equal(await second.locator('[aria-invalid=true]').count(), 0);
  await mustBeAccessible(page, 'rules that were refused');
  await first.getByLabel('Condition (CEL)').fill('has(request.payload.test)');
  await page.getByText('Try the rules out').click();
  await button(page, 'Try it').click();
  await shows(page, 'Taken into visas with priority 7.');
  await shows(page, 'The rule “Visas go upstairs” decides.');
  await page.getByLabel('Sample request').fill('{"payload":{"test":1}}');
  await button(page, 'Try it').click();
  await shows(page, 'The rule “No tests” decides.');
  assert.deepEqual((await admin.call('GET', '/queues/desk/rules')).items, []);
  await admin.call('PUT', '/queues/desk/rules', { items: [{ name: 'Another’s', when: 'true', action: 'take' }] });
  await button(page, 'Move rule 2 up').click();
  await button(page, 'Save rules').click();
  await shows(page, 'Somebody else has changed these rules meanwhile.');
  await button(page, 'Save over them').click();
  await shows(page, 'Saved.');
  const { items } = await admin.call('GET', '/queues/desk/rules');
  assert.deepEqual(items.map((r) => [r.name, r.action, r.queue, r.priority]), [['Visas go upstairs', 'take', 'visas', 7], ['No tests', 'refuse', null, null]]);
});

scene('a user is made, changed and deleted, and a key is shown once', async (s) => {
  const page = await open(s, '/admin/users', refusals);
  await button(page, 'New user').waitFor();
  await mustBeAccessible(page, 'users');
  await button(page, 'New user').click();
  const form = page.getByRole('dialog');
  await form.getByLabel('Name').fill('Till');
  await form.getByLabel('E-mail').fill('till@example.org');
  await form.getByLabel('Password').fill('password');
  await form.getByText('Reception').click();
  await button(page, 'Create').click();
  await shows(page, 'one of those that are tried first');
  assert.equal(await form.getByLabel('Name').inputValue(), 'Till');
  await mustBeAccessible(page, 'a new user that was refused');
  await form.getByLabel('Level').selectOption('integration');
  await form.getByLabel('Password').fill('');
  await button(page, 'Create').click();
  await page.getByRole('heading', { name: 'Till' }).waitFor();
  await page.getByLabel('What it is for').fill('The till');
  await button(page, 'Make a key').click();
  const key = await page.getByRole('textbox', { name: 'API keys' }).inputValue();
  const works = async () => (await fetch(`${url}/api/v1/queues/desk`, { headers: { Authorization: `Bearer ${key}` } })).status;
  assert.equal(await works(), 200);
  await mustBeAccessible(page, 'a user with a new key');
  await page.reload();
  await page.getByRole('row', { name: /The till/ }).waitFor();
  assert.ok(!(await page.content()).includes(key));
  await button(page, 'Revoke The till').click();
  await button(page, 'Revoke').click();
  await shows(page, 'There are no keys.');
  assert.equal(await works(), 401);
  await page.getByLabel('Disabled').check();
  const path = `/users/${page.url().split('/').at(-1)}`;
  await admin.call('PATCH', path, { name: 'The till', queues: ['visas'] }); // which stays as it is then
  await button(page, 'Save').click();
  await shows(page, 'Saved.');
  const till = await admin.call('GET', path);
  assert.deepEqual([till.disabled, till.level, till.name, till.queues], [true, 'integration', 'The till', ['visas']]);
  await button(page, 'Delete this user').click();
  await button(page, 'Delete').click();
  await page.waitForURL('**/admin/users');
  await page.getByRole('link', { name: 'Nina' }).waitFor();
  assert.equal(await page.getByRole('link', { name: 'The till' }).count(), 0);
});

scene('the last administrator stays one, and says so', async (s) => {
  const page = await open(s, '/admin/users', refusals);
  await page.getByRole('row', { name: /admin@localhost/ }).getByRole('link').click();
  await page.getByLabel('Level').selectOption('viewer');
  await button(page, 'Save').click();
  await shows(page, 'This is the last administrator.');
});

scene('a link for a display holds a key that is good', async (s) => {
  const page = await open(s, '/admin/queues/desk');
  await button(page, 'Make a link').click();
  const link = await page.getByRole('textbox', { name: 'Display on a wall' }).inputValue();
  const said = new URLSearchParams(new URL(link).hash.slice(1));
  assert.equal(said.get('queues'), 'desk');
  const answer = await fetch(`${url}/api/v1/me`, { headers: { Authorization: `Bearer ${said.get('key')}` } });
  assert.equal((await answer.json()).level, 'viewer');
});

scene('nodes, keys and the audit log are there to see', async (s) => {
  const page = await open(s, '/admin/cluster');
  await page.getByRole('row', { name: /answers this page/ }).waitFor();
  const keys = page.getByRole('row', { name: /(Data|Logins) in use/ });
  await eventually('each ring has a key of a known age', async () => {
    await page.reload();
    await keys.nth(1).waitFor();
    return (await keys.allInnerTexts()).every((text) => /\d\smin/.test(text));
  });
  await mustBeAccessible(page, 'nodes and keys');
  await page.getByRole('link', { name: 'Audit log' }).click();
  await page.getByRole('row', { name: /Queue created/ }).first().waitFor();
  await mustBeAccessible(page, 'audit log');
  await page.getByLabel('Act').fill('user.created');
  await button(page, 'Search').click();
  await page.getByRole('row', { name: /Queue created/ }).first().waitFor({ state: 'detached' });
  await page.getByRole('row', { name: /User created/ }).first().waitFor();
});

scene('what is kept of a person is given out, and erased when asked twice', async (s) => {
  const { id } = await admin.call('POST', '/queues/desk/tickets', { customer: { name: 'Ada Marsh', phone: '+44 20 7946 0018' } });
  const page = await open(s, '/admin/people');
  assert.ok(await button(page, 'Erase').isDisabled());
  await page.getByLabel('Phone number').fill('0044 20 79460018');
  const [file] = await Promise.all([page.waitForEvent('download'), button(page, 'Export as a file').click()]);
  assert.equal(JSON.parse(readFileSync(await file.path(), 'utf8')).items[0].ticket.customer.name, 'Ada Marsh');
  await button(page, 'Erase').click();
  await mustBeAccessible(page, 'asking before a person is erased');
  await page.getByRole('dialog').getByRole('button', { name: 'Erase' }).click();
  await shows(page, 'Done: emptied in');
  assert.equal((await admin.call('GET', `/queues/desk/tickets/${id}`)).customer, null);
  await mustBeAccessible(page, 'personal data');
});

scene('a supervisor has its own queues here, and nothing else', async (s) => {
  const page = await s.open({ url, path: '/admin', as: nina, view: phone, ...refusals });
  await page.getByRole('link', { name: 'Reception' }).waitFor();
  assert.equal(await page.getByRole('link', { name: 'Visas' }).count(), 0);
  assert.equal(await button(page, 'New queue').count(), 0);
  assert.equal(await page.getByRole('link', { name: 'Users' }).count(), 0);
  await page.goto(`${url}/admin/users`);
  await shows(page, 'Only administrators may see this.');
  await page.goto(`${url}/admin/dead-letters`);
  await shows(page, 'This node has no RabbitMQ');
  await page.goto(`${url}/admin/queues/visas`);
  await shows(page, 'This queue is not there any more.');
  await page.goto(`${url}/admin/queues/desk`);
  await page.getByLabel('Most people waiting').fill('40');
  await button(page, 'Save').click();
  await shows(page, 'Saved.');
  assert.equal((await admin.call('GET', '/queues/desk')).capacity, 40);
  assert.equal(await button(page, 'Delete this queue').count(), 0);
  await mustFit(page, 'a queue on a phone');
});

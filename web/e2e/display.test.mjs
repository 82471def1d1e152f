// The board on the wall: what it shows, and what it says.
import assert from 'node:assert/strict';

import { away, begin, Caller, desktop, eventually, folder, freePort, mustBeAccessible, password, Program, scene, shows, wall } from './harness.mjs';

const { url, admin } = await begin();

async function keyOf(caller) {
  const { id } = await caller.call('POST', '/users', { email: 'board@example.org', name: 'Board', level: 'viewer', queues: ['*'], password: 'a long enough password' });
  return (await caller.call('POST', `/users/${id}/keys`, { name: 'Hall' })).key;
}
const key = await keyOf(admin);

async function queue(id, tickets) {
  await admin.call('POST', '/queues', { id, name: `The ${id}`, max_active: 100 });
  return admin.enqueue(id, Array(tickets).fill({}));
}
const spoken = await queue('spoken', 4);
await admin.call('POST', '/queues/spoken/call-next', { desk: '9' });
const firstCall = Date.now();

const hero = (page) => page.locator('.hero .number');
const link = (queues, more = '') => `/display#key=${key}&queues=${queues}&langs=en,de${more}`;

/** Any press will do. */
async function unlock(page) {
  await page.mouse.click(500, 5);
  await page.getByRole('button', { name: 'Turn on sound' }).waitFor({ state: 'detached' });
}

// CI has no voices: these say nothing and write down what they were to say.
const voices = () => {
  const said = (globalThis.said = []);
  const sounds = (globalThis.sounds = []);
  const { start } = AudioScheduledSourceNode.prototype;
  OscillatorNode.prototype.start = function (...at) { sounds.push('tone'); return start.apply(this, at); };
  const voice = (lang, localService) => ({ lang, localService, default: false, name: lang, voiceURI: lang });
  const list = [voice('en-US', false), voice('en-GB', true), voice('de-DE', true)];
  let speaking = false;
  const synthesis = Object.assign(new EventTarget(), {
    getVoices: () => list,
    cancel: () => {},
    speak: (u) => {
      sounds.push('speech');
      said.push({ text: u.text, lang: u.lang, alone: !speaking });
      speaking = true;
      setTimeout(() => { speaking = false; u.onend(); }, 50);
    },
  });
  Object.defineProperty(globalThis, 'speechSynthesis', { value: synthesis });
  globalThis.SpeechSynthesisUtterance = class { constructor(text) { this.text = text; } };
};

scene('a display set up by hand shows several queues, newest call first, and recalls', async (s) => {
  const first = await queue('north', 4);
  await queue('south', 2);
  const page = await s.open({ url, path: '/display', view: wall });
  await page.getByLabel('API key of a viewer').fill(key);
  await page.getByRole('button', { name: 'Show the queues' }).click();
  await page.getByLabel('The north').check();
  await page.getByLabel('The south').check();
  await page.getByLabel('Deutsch').check();
  await mustBeAccessible(page, 'the setup of a display');
  await page.getByRole('button', { name: 'Start with sound' }).click();
  await shows(page, 'Please wait until your number is called.');
  await admin.call('POST', '/queues/north/call-next', { desk: '1' });
  await shows(page, first[0].number);
  const { number } = await admin.call('POST', '/queues/south/call-next', { desk: 'Room 2' });
  await hero(page).getByText(number).waitFor();
  await shows(page, 'Room 2');
  await page.setViewportSize(wall);
  // Capitals 25 mm high on a display of 55 inches can be read from ten metres.
  const numbers = await page.locator('.number, .desk, .lines li').evaluateAll((all) => all.map((e) => parseFloat(getComputedStyle(e).fontSize) * 0.7 * 685 / innerHeight));
  assert.ok(numbers.length >= 4 && numbers.every((mm) => mm > 25), `${numbers}`);
  await admin.call('POST', `/queues/north/tickets/${first[0].id}/recall`);
  await hero(page).getByText(first[0].number).waitFor();
  // A wall that is less wide for its height cuts no number and breaks no word.
  await page.setViewportSize(desktop);
  assert.deepEqual(await page.locator('.lines li, .hero .label span').evaluateAll((all) => all.filter((e) => {
    const [own, around] = [e, e.parentElement].map((b) => b.getBoundingClientRect());
    return own.right > around.right + 1 || own.height > 1.8 * parseFloat(getComputedStyle(e).fontSize);
  }).map((e) => e.textContent)), []);
  await admin.call('POST', `/queues/north/tickets/${first[0].id}/complete`, {});
  await hero(page).getByText(number).waitFor();
  await mustBeAccessible(page, 'the board');
  await page.reload();
  await hero(page).getByText(number).waitFor();
});

scene('somebody’s own sign-in is enough for a board, which says when it has ended', async (s) => {
  await queue('own', 1);
  const { id, email } = await admin.call('POST', '/users', { email: 'eve@example.org', name: 'Eve', level: 'viewer', queues: ['own'], password });
  const page = await s.open({ url, as: email, view: wall, allow: [/status of (401|502)/] });
  await page.waitForURL('**/display');
  await shows(page, 'Signed in as Eve.');
  await page.getByLabel('The own').waitFor();
  await page.getByRole('button', { name: 'Start with sound' }).click();
  await shows(page, 'Please wait until your number is called.');
  const { number } = await admin.call('POST', '/queues/own/call-next', { desk: '1' });
  await hero(page).getByText(number).waitFor();
  await page.route('**/api/v1/auth/refresh', (route) => route.fulfill({ status: 502 }));
  await page.reload(); // and the server cannot say just now who this is
  await hero(page).getByText(number).waitFor();
  await page.unroute('**/api/v1/auth/refresh');
  await admin.call('PATCH', `/users/${id}`, { disabled: true });
  await shows(page, 'This display’s access is not valid.');
});

scene('a board without connection says so, blanks its calls, and hears on its return what was called meanwhile, once', async (s) => {
  const [dir, port] = [folder(), await freePort()];
  let node = await Program.start({ dir, port });
  let staff = await Caller.login(node.url);
  await staff.call('POST', '/queues', { id: 'post', max_active: 10 });
  await staff.enqueue('post', [{}, {}, {}]);
  const viewer = await keyOf(staff);
  const context = await s.context({ url: node.url, view: wall });
  await context.addInitScript(voices);
  const page = await s.open({ url: node.url, path: `/display#key=${viewer}&queues=post&langs=en`, context, allow: away });
  await staff.call('POST', '/queues/post/call-next', { desk: '1' });
  await hero(page).getByText('A001').waitFor();
  await unlock(page);
  await node.kill();
  await shows(page, 'No connection since');
  await mustBeAccessible(page, 'a board without connection');
  await shows(page, 'This display has no connection just now.');
  assert.equal(await hero(page).count(), 0, 'old calls are shown');
  await page.evaluate(() => { globalThis.said.length = 0; });
  node = await Program.start({ dir, port });
  staff = await Caller.login(node.url);
  const meanwhile = Date.now();
  await staff.call('POST', '/queues/post/call-next', { desk: '2' });
  await hero(page).getByText('A002').waitFor();
  const fresh = Date.now() - meanwhile < 15_000;
  await staff.call('POST', '/queues/post/call-next', { desk: '3' });
  const said = () => page.evaluate(() => globalThis.said.map((h) => h.text));
  const last = 'Number A, zero, zero, three, please go to desk 3.';
  await eventually('the last call is said', async () => (await said()).at(-1) === last);
  assert.deepEqual(await said(), [...(fresh ? ['Number A, zero, zero, two, please go to desk 2.'] : []), last]);
  await node.kill();
});

scene('calls are said one at a time, in each language, and none that is old', async (s) => {
  await eventually('the first call is old', () => Date.now() - firstCall > 21_000);
  const context = await s.context({ url, view: wall });
  await context.addInitScript(voices);
  const page = await s.open({ url, path: link('spoken'), context });
  await hero(page).getByText(spoken[0].number).waitFor();
  assert.equal(new URL(page.url()).hash, '', 'the key stands in the address bar');
  await unlock(page);
  // What it shows from the start is not news, even where it can be heard.
  await page.evaluate(() => { globalThis.before = true; location.reload(); });
  await page.waitForFunction(() => !globalThis.before);
  await hero(page).getByText(spoken[0].number).waitFor();
  await unlock(page);
  for (const desk of ['3', 'Room 5']) await admin.call('POST', '/queues/spoken/call-next', { desk });
  const said = () => page.evaluate(() => globalThis.said);
  await eventually('all is said', async () => (await said()).length === 4);
  const heard = await said();
  assert.ok(heard.every((h) => h.alone), 'two were said at once');
  assert.deepEqual(heard.map((h) => h.lang), ['en-GB', 'de-DE', 'en-GB', 'de-DE']);
  const call = ['tone', 'tone', 'speech', 'speech'];
  // Where the browser wanted a press, that was heard before.
  assert.deepEqual((await page.evaluate(() => globalThis.sounds)).slice(-2 * call.length), [...call, ...call], 'at each call the chime, then the languages');
  const letter = spoken[0].number[0];
  assert.deepEqual(heard.map((h) => h.text), [
    `Number ${letter}, zero, zero, two, please go to desk 3.`, `Nummer ${letter}, null, null, zwei, bitte zu Schalter 3.`,
    `Number ${letter}, zero, zero, three, please go to: Room 5.`, `Nummer ${letter}, null, null, drei, bitte hierhin: Room 5.`,
  ]);
});

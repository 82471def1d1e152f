// The board on the wall: what it shows, what it says, and how it takes a new program.
import assert from 'node:assert/strict';
import http from 'node:http';
import net from 'node:net';

import { away, begin, Caller, eventually, folder, freePort, mustBeAccessible, password, Program, scene, shows, wall } from './harness.mjs';

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
  const voice = (lang, localService) => ({ lang, localService, default: false, name: lang, voiceURI: lang });
  const list = [voice('en-US', false), voice('en-GB', true), voice('de-DE', true)];
  let speaking = false;
  const synthesis = Object.assign(new EventTarget(), {
    getVoices: () => list,
    cancel: () => {},
    speak: (u) => {
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
  await admin.call('POST', `/queues/north/tickets/${first[0].id}/recall`);
  await hero(page).getByText(first[0].number).waitFor();
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

/**
 * Stands before a node and gives the page as a later program would: with another
 * name for its entry, whose file comes when it is let.
 */
async function deploy(entry, next) {
  const state = { later: false, file: false, looked: 0, pages: 0 };
  const sockets = new Set();
  const host = { host: '127.0.0.1', port: new URL(url).port };
  const front = http.createServer((request, answer) => {
    if (request.url === '/display' && request.headers['sec-fetch-dest'] === 'empty') state.pages++;
    if (request.url === next) {
      if (request.headers['sec-fetch-dest'] !== 'script') state.looked++; // before it would load it
      if (!state.file) { answer.writeHead(404).end(); return; }
    }
    const path = request.url === next ? entry : request.url;
    const headers = { ...request.headers, 'accept-encoding': 'identity' };
    request.pipe(http.request({ ...host, path, method: request.method, headers }, (found) => {
      if (!state.later || path !== '/display') {
        answer.writeHead(found.statusCode, found.headers);
        found.pipe(answer);
        return;
      }
      const parts = [];
      found.on('data', (p) => parts.push(p));
      found.on('end', () => {
        const { 'content-length': _, ...rest } = found.headers;
        answer.writeHead(found.statusCode, rest).end(Buffer.concat(parts).toString().replaceAll(entry, next));
      });
    }).on('error', () => answer.destroy()));
  });
  front.on('upgrade', (request, socket, head) => {
    const far = net.connect(host, () => {
      const lines = Object.entries(request.headers).map(([n, v]) => `${n}: ${v}\r\n`).join('');
      far.write(`GET ${request.url} HTTP/1.1\r\n${lines}\r\n`);
      far.write(head);
      socket.pipe(far).pipe(socket);
    });
    for (const [one, other] of [[socket, far], [far, socket]]) one.on('error', () => other.destroy());
    sockets.add(socket);
  });
  await new Promise((yes) => front.listen(0, '127.0.0.1', yes));
  return {
    state, url: `http://127.0.0.1:${front.address().port}`,
    cut: () => { for (const socket of sockets) socket.destroy(); },
    close: () => { for (const socket of sockets) socket.destroy(); front.closeAllConnections(); front.close(); },
  };
}

scene('a board takes the program that its server has by now, when all of it is there, and goes on', async (s) => {
  await queue('deployed', 2);
  const text = await (await fetch(`${url}/display`)).text();
  const entry = /<script type="module"[^>]* src="([^"]+)"/.exec(text)[1];
  const next = '/assets/index-next.js';
  const front = await deploy(entry, next);
  try {
    const page = await s.open({ url: front.url, path: link('deployed'), view: wall, allow: [...away, /status of 404/] });
    const running = () => page.evaluate(() => document.querySelector('script[type=module]')?.getAttribute('src'));
    await shows(page, 'Please wait until your number is called.');
    front.state.later = true; // but its file comes from a node that is still the old one
    for (let i = 0; i < 2; i++) {
      const before = front.state.looked;
      front.cut();
      await eventually('it has looked for the new program, and runs on', () => front.state.looked > before);
    }
    const { number } = await admin.call('POST', '/queues/deployed/call-next', { desk: '1' });
    await hero(page).getByText(number).waitFor();
    assert.equal(await running(), entry, 'it went over to a program that is not there');
    front.state.file = true;
    front.cut();
    await eventually('it runs the new program', async () => (await running().catch(() => '')) === next);
    await hero(page).getByText(number).waitFor();
    front.state.later = false; // a node that is still the old one answers
    for (let i = 0; i < 4; i++) { // it looks twice before it goes over
      const before = front.state.pages;
      front.cut();
      await eventually('it has looked again', () => front.state.pages > before);
    }
    await hero(page).getByText(number).waitFor();
    assert.equal(await running(), next, 'it went back to the program that it had left');
  } finally {
    front.close();
  }
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
  const letter = spoken[0].number[0];
  assert.deepEqual(heard.map((h) => h.text), [
    `Number ${letter}, zero, zero, two, please go to desk 3.`, `Nummer ${letter}, null, null, zwei, bitte zu Schalter 3.`,
    `Number ${letter}, zero, zero, three, please go to: Room 5.`, `Nummer ${letter}, null, null, drei, bitte hierhin: Room 5.`,
  ]);
});

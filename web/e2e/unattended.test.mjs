// Pages that nobody has a hand on, a board and a kiosk: how they take a new program, and wake up.
import assert from 'node:assert/strict';
import http from 'node:http';
import net from 'node:net';

import { away, begin, eventually, scene, shows, wall } from './harness.mjs';
import { board, displayKey, openDisplay } from './pages.mjs';

const { url, admin } = await begin();
const key = await displayKey(admin);

async function queue(id) {
  await admin.call('POST', '/queues', { id, name: `The ${id}`, public: true });
  await admin.call('POST', `/queues/${id}/tickets`, {});
}

const next = '/assets/index-next.js';
const running = (page) => page.evaluate(() => document.querySelector('script[type=module]')?.getAttribute('src'));

/** Gives a page the time to do what it should not: more than it takes to look for another program twice. */
const linger = (page) => page.evaluate(async () => {
  for (let i = 0; i < 10; i++) await (await fetch(location.pathname, { cache: 'no-cache' })).text();
});

/**
 * Stands before a node and gives the page at a path as a later program would
 * (or only once): with another name for its entry, whose file comes when it is let.
 */
async function deploy(at) {
  const entry = /<script type="module"[^>]* src="([^"]+)"/.exec(await (await fetch(url)).text())[1];
  const state = { later: false, once: false, file: false, looked: 0, pages: 0 };
  const sockets = new Map();
  const host = { host: '127.0.0.1', port: new URL(url).port };
  const front = http.createServer((request, answer) => {
    if (request.url === at && request.headers['sec-fetch-dest'] === 'empty') state.pages++;
    if (request.url === next) {
      if (request.headers['sec-fetch-dest'] !== 'script') state.looked++; // before it would load it
      if (!state.file) { answer.writeHead(404).end(); return; }
    }
    const path = request.url === next ? entry : request.url;
    const headers = { ...request.headers, 'accept-encoding': 'identity' };
    request.pipe(http.request({ ...host, path, method: request.method, headers }, (found) => {
      if (!state.later || path.split('?')[0] !== at) {
        answer.writeHead(found.statusCode, found.headers);
        found.pipe(answer);
        return;
      }
      state.later = !state.once;
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
    sockets.set(socket, far);
  });
  await new Promise((yes) => front.listen(0, '127.0.0.1', yes));
  return {
    state, entry, url: `http://127.0.0.1:${front.address().port}`,
    cut: () => { for (const socket of sockets.keys()) socket.destroy(); },
    /** Nothing comes through any more, and nobody is told. */
    mute: () => { for (const [socket, far] of sockets) { socket.unpipe(); far.unpipe(); far.destroy(); } },
    close: () => { for (const socket of sockets.keys()) socket.destroy(); front.closeAllConnections(); front.close(); },
  };
}

scene('a board takes the program that its server has by now, when all of it is there, and goes on', async (s) => {
  await queue('deployed');
  const front = await deploy('/display');
  const { state, entry } = front;
  try {
    const page = await openDisplay(s, { url: front.url, key, queues: ['deployed'], view: wall, allow: [...away, /status of 404/] });
    await shows(page, 'Please wait until your number is called.');
    state.later = true; // but its file comes from a node that is still the old one
    for (let i = 0; i < 2; i++) {
      const before = state.looked;
      front.cut();
      await eventually('it has looked for the new program, and runs on', () => state.looked > before);
    }
    const { number } = await admin.call('POST', '/queues/deployed/call-next', { desk: '1' });
    await page.locator(board.serving, { hasText: number }).first().waitFor();
    assert.equal(await running(page), entry, 'it went over to a program that is not there');
    state.file = state.once = true; // and the server that has it leaves between two looks
    await page.evaluate(() => { globalThis.stayed = true; });
    const before = state.pages;
    front.cut();
    await eventually('it has looked twice', () => state.pages >= before + 2);
    await page.locator(board.serving, { hasText: number }).first().waitFor();
    assert.ok(await page.evaluate(() => globalThis.stayed), 'it went into a server that was leaving');
    Object.assign(state, { later: true, once: false });
    front.cut();
    await eventually('it runs the new program', async () => (await running(page).catch(() => '')) === next);
    await page.locator(board.serving, { hasText: number }).first().waitFor();
    state.later = false; // a node that is still the old one answers
    const looks = state.pages;
    front.cut();
    await eventually('it has looked again', () => state.pages > looks);
    await linger(page);
    assert.equal(await running(page), next, 'it went back to the program that it had left');
  } finally {
    front.close();
  }
});

scene('a kiosk takes the new program while nobody is at it', async (s) => {
  for (const id of ['hall', 'yard']) await queue(id);
  const path = '/checkin/hall,yard';
  const front = await deploy(path);
  try {
    const context = await s.context({ url: front.url, view: wall });
    await context.clock.install();
    const page = await s.open({ url: front.url, path: `${path}?kiosk=1`, context });
    await page.getByRole('button', { name: 'The hall' }).waitFor();
    Object.assign(front.state, { later: true, file: true });
    let go;
    await page.route(`**${next}`, async (route) => {
      await new Promise((done) => { go = done; });
      await route.continue();
    }, { times: 1 });
    await page.clock.fastForward('10:00');
    await eventually('it looks for the new program', () => go);
    await page.getByRole('button', { name: 'The hall' }).click(); // somebody has come
    const looked = page.waitForResponse(`**${next}`);
    go();
    await looked;
    await linger(page);
    assert.equal(await running(page), front.entry, 'it went over under somebody’s hand');
    await page.getByRole('button', { name: 'Take a ticket' }).waitFor();
    await page.clock.fastForward('10:00');
    await eventually('it runs the new program', async () => (await running(page).catch(() => '')) === next);
    await page.getByRole('button', { name: 'The hall' }).waitFor();
  } finally {
    front.close();
  }
});

scene('a board whose device has slept is right again by itself, and by the server’s clock', async (s) => {
  await queue('night');
  const front = await deploy('/display');
  try {
    const page = await openDisplay(s, { url: front.url, key, queues: ['night'], view: wall, allow: away });
    await shows(page, 'Please wait until your number is called.');
    const devtools = await page.context().newCDPSession(page);
    await devtools.send('Page.setWebLifecycleState', { state: 'frozen' });
    front.mute(); // its connection has died, and nobody tells it
    const { number } = await admin.call('POST', '/queues/night/call-next', { desk: '1' });
    await devtools.send('Page.setWebLifecycleState', { state: 'active' });
    await page.locator(board.serving, { hasText: number }).first().waitFor();
    const time = page.locator('.wall .clock');
    for (const wrong of [-3, 3]) {
      const looked = front.state.pages;
      await page.evaluate((hours) => { const { now } = Date; Date.now = () => now() + hours * 3_600_000; }, wrong);
      await eventually('it has asked what time it is', () => front.state.pages > looked);
      await eventually('it shows the right time', async () => Number((await time.innerText()).split(':')[0]) === new Date().getHours());
    }
  } finally {
    front.close();
  }
});

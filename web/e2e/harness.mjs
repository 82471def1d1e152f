// Actors in one Chromium per file, each in a browser profile of its own, before
// the real program. A console error or warning of any page fails the test that
// had it open, and so does a live event that is missing or comes twice.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

import { launch } from './chromium.mjs';
import { Caller, eventually, password, patience, Program } from './program.mjs';

export { administrator, Caller, eventually, folder, freePort, password, patience, Program } from './program.mjs';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

export const desktop = { width: 1280, height: 800 };
export const wall = { width: 1920, height: 1080 };
export const phone = { width: 360, height: 740 };
/** 1280 px at a zoom of 200 %. */
export const zoomed = { width: 640, height: 400 };

/** What Chromium itself writes while a server is away. */
export const away = [/net::ERR_/, /^WebSocket connection to .* failed/, /Failed to load resource: .* 503/];

const browser = await launch();
after(() => browser.close());

/** A node with queues for the tests of one file, and its administrator. */
export async function begin(options) {
  const node = await Program.start(options);
  after(() => node.kill());
  const admin = await Caller.login(node.url);
  return { node, url: node.url, admin };
}

/** Makes a user and gives what a page needs to be signed in as that one. */
export async function user(admin, name, level = 'attendant', queues = ['*']) {
  const email = `${name.toLowerCase().replaceAll(' ', '.')}@example.org`;
  await admin.call('POST', '/users', { email, name, level, queues, password });
  return email;
}

/** A test with actors; name it by what it proves. */
export function scene(name, act) {
  test(name, { timeout: 6 * patience }, async () => {
    const s = new Scene();
    try {
      await act(s);
      s.mustBeQuiet();
    } catch (error) {
      await s.describe();
      throw error;
    } finally {
      await s.close();
    }
  });
}

class Scene {
  #pages = [];
  #contexts = [];

  /**
   * Opens a page. options: url of the node, path, as: who is signed in (an
   * e-mail address), view, dark, still (reduced motion), locale, allow: what the
   * console may say.
   */
  async open({ url, path = '/', as, view = desktop, dark = false, still = false, locale = 'en-GB', allow = [], storage = {}, context }) {
    context ??= await this.context({ url, as, view, dark, still, locale, storage });
    const page = await context.newPage();
    const watched = { page, trouble: [], allow };
    this.#pages.push(watched);
    watch(watched);
    await page.goto(url + path);
    return page;
  }

  async context({ url, as, view = desktop, dark = false, still = false, locale = 'en-GB', storage = {} }) {
    const kept = { ...storage, ...(as ? { 'signed-in': 'yes' } : {}) };
    const context = await browser.newContext({
      viewport: view, locale, colorScheme: dark ? 'dark' : 'light', reducedMotion: still ? 'reduce' : 'no-preference',
      hasTouch: view === phone, isMobile: view === phone,
      storageState: { cookies: [], origins: [{ origin: url, localStorage: Object.entries(kept).map(([n, value]) => ({ name: n, value })) }] },
    });
    this.#contexts.push(context);
    context.setDefaultTimeout(patience);
    if (as) {
      const answer = await context.request.post(`${url}/api/v1/auth/login`, {
        data: { email: as, password, cookie: true }, headers: { 'X-Requested-With': 'nowserving', Origin: url },
      });
      assert.equal(answer.status(), 200, await answer.text());
    }
    return context;
  }

  mustBeQuiet() {
    for (const { page, trouble } of this.#pages) assert.deepEqual(trouble, [], page.url());
  }

  /** Shows what the pages showed when a test failed. */
  async describe() {
    for (const { page, trouble } of this.#pages) {
      const text = await page.evaluate(() => document.body.innerText, undefined).catch((e) => `(${e.message})`);
      console.log(`-- ${page.url()}\n${text.slice(0, 3000)}\n${trouble.join('\n')}`);
    }
  }

  async close() {
    for (const c of this.#contexts) await c.close();
  }
}

/** Collects what is wrong with a page: in its console, and in what it is sent. */
function watch({ page, trouble, allow }) {
  const say = (text) => { if (!allow.some((a) => a.test(text))) trouble.push(text); };
  page.on('console', (m) => { if (m.type() === 'error' || m.type() === 'warning') say(`${m.text()} (${m.location().url})`); });
  page.on('pageerror', (e) => say(String(e.stack ?? e)));
  page.on('crash', () => say('the page crashed'));
  const versions = new Map();
  page.on('websocket', (socket) => socket.on('framereceived', ({ payload }) => {
    const f = JSON.parse(String(payload));
    const had = versions.get(f.queue);
    if (f.type === 'snapshot') versions.set(f.queue, f.version);
    if (f.type === 'resumed') {
      if (f.version > had) trouble.push(`${f.queue} went on from ${f.version} after ${had}`);
      versions.set(f.queue, f.version);
    }
    if (f.type !== 'event') return;
    if (f.version !== had + 1) trouble.push(`${f.queue}: version ${f.version} came after ${had}`);
    versions.set(f.queue, f.version);
  }));
}

/** Signs in as a person does. */
export async function signIn(page, email, secret = password) {
  await page.getByLabel('E-mail').fill(email);
  await page.getByLabel('Password').fill(secret);
  await page.getByRole('button', { name: 'Sign in', exact: true }).click();
}

/** Waits until a page shows a text. */
export const shows = (page, text) => page.getByText(text).filter({ visible: true }).first().waitFor();

const tags = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'];

/** No violation of WCAG 2.2 AA that axe-core can find, and nothing to scroll sideways; light, dark, wide, narrow. */
export async function mustBeAccessible(page, what) {
  if (!(await page.evaluate(() => 'axe' in globalThis))) await page.evaluate(axe);
  for (const view of [desktop, phone]) {
    await page.setViewportSize(view);
    await mustFit(page, what);
    for (const colorScheme of ['light', 'dark']) {
      await page.emulateMedia({ colorScheme });
      const found = await page.evaluate(async (values) => {
        await Promise.allSettled(document.getAnimations().map((a) => a.finished));
        const { violations } = await globalThis.axe.run(document, { runOnly: { type: 'tag', values }, resultTypes: ['violations'] });
        return violations.flatMap((v) => v.nodes.map((n) => `${v.id}: ${n.target.join(' ')}: ${n.failureSummary}`));
      }, tags);
      assert.deepEqual(found, [], `${what}, ${colorScheme}, ${view.width} px wide`);
    }
  }
  await page.emulateMedia({ colorScheme: null });
  await page.setViewportSize(desktop);
}

/** The page is no wider than its window. */
export async function mustFit(page, what) {
  const width = await page.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(width <= page.viewportSize().width, `${what} is ${width} px wide in a window of ${page.viewportSize().width}`);
}

/** The value below which that share of the values is, by nearest rank. */
const percentile = (values, share) => [...values].sort((a, b) => a - b)[Math.max(0, Math.ceil(values.length * share) - 1)];

/**
 * Of the times that a series took, in milliseconds, by what they are of, that
 * share is below the limit. The promise is one of the program: where a machine
 * stood still meanwhile, another series may show it, but no more than five.
 */
export async function within(limit, share, series) {
  for (let left = 4; ; left--) {
    const took = Object.entries(await series());
    const [median, most] = [0.5, share].map((p) => took.map(([, times]) => percentile(times, p)));
    const shown = took.map(([what, times], i) =>
      `${what}: p50 ${median[i].toFixed(1)}, p${share * 100} ${most[i].toFixed(1)}, worst ${Math.max(...times).toFixed(1)} ms of ${times.length}`).join('; ');
    console.log(shown);
    if (most.every((ms) => ms < limit)) return;
    assert.ok(left > 0, shown);
  }
}

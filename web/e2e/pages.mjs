// What the pages are like, for the tests: how they are opened, and what is where.

/** What says that a page is not live. */
export const notLive = '.banner, .stale';

// The console.

/** A row of the line. */
export const row = (ticket) => `ul[aria-label="Line"] [data-id="${ticket.id}"]`;
/** Tickets at other desks. */
export const elsewhere = '[aria-labelledby="elsewhere"] li';
/** A queue of this desk, with how many wait in it. */
export const tab = (queue) => `label:has([name="queue"][value="${queue}"]) .count`;
/** The one next thing to do at a desk: what its button says, and its key. */
export const next = { call: ['Call next', 'Alt+n'], start: ['Start', 'Alt+s'], complete: ['Complete', 'Alt+c'] };

/** Opens the console and chooses a desk and queues there, by their names. */
export async function openConsole(s, { desk, queues, ...options }) {
  const page = await s.open({ path: '/console', ...options });
  await page.getByLabel('Desk', { exact: true }).fill(desk);
  for (const name of queues) await page.getByRole('checkbox', { name }).check();
  await page.getByRole('button', { name: 'Begin' }).click();
  await page.getByRole('list', { name: 'Line' }).waitFor({ state: 'attached' });
  return page;
}

/** Waits until the last command is answered and this is the next thing to do: then its key means it. */
export const offers = (page, name) => page.waitForFunction((n) =>
  document.querySelector('button.big')?.textContent.trim().startsWith(n) &&
  [...document.querySelectorAll('button[aria-keyshortcuts]')].every((b) => b.ariaDisabled !== 'true'), name);

export const button = {
  callNext: (page) => page.getByRole('button', { name: 'Call next' }),
  start: (page) => page.getByRole('button', { name: 'Start' }),
  complete: (page) => page.getByRole('button', { name: 'Complete' }),
  grip: (page, ticket) => page.getByRole('button', { name: `Move ${ticket.number}` }),
};

/** The numbers of the line as it is drawn, from the top. */
export const line = (page) => page.evaluate(() =>
  [...document.querySelectorAll('ul[aria-label="Line"] > li')]
    .sort((a, b) => a.ariaPosInSet - b.ariaPosInSet)
    .map((li) => li.querySelector('.number').textContent));

// The display.

export const board = {
  /** A ticket that is called or served. */
  serving: '.now .number',
  stale: '.stale',
};

/** A key for a display that sees all queues. */
export async function displayKey(admin) {
  const { id } = await admin.call('POST', '/users', { email: 'wall@example.org', name: 'Wall', level: 'viewer', queues: ['*'] });
  return (await admin.call('POST', `/users/${id}/keys`, { name: 'Hall' })).key;
}

const displayPath = (key, queues, langs = 'en') => `/display#${new URLSearchParams({ key, queues: queues.join(), langs, speech: 'off' })}`;

export async function openDisplay(s, { key, queues, langs, ...options }) {
  const page = await s.open({ path: displayPath(key, queues, langs), ...options });
  await page.locator('.lines').waitFor();
  return page;
}

// The supervisor's overview.

/** How many wait in a queue, at a glance. */
export const glance = (queue) => `tr:has(a[href="/supervisor/queues/${queue}"]) td.waiting`;

export async function openSupervisor(s, options) {
  const page = await s.open({ path: '/supervisor', ...options });
  await page.getByRole('table').waitFor();
  return page;
}

// Makes the pictures of the pages for the README, from a demo: npm run pictures.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import { launch } from './chromium.mjs';

const most = 150_000; // bytes of a picture
const enough = { waiting: 9, served: 40 };
const root = fileURLToPath(new URL('../..', import.meta.url));
const out = path.join(root, 'docs', 'pictures');
const made = mkdtempSync(path.join(tmpdir(), 'pictures-'));
process.env.PAGES_BINARY = path.join(made, 'nowserving');
execFileSync('go', ['build', '-o', process.env.PAGES_BINARY, '.'], { cwd: root, stdio: 'inherit' });
const { Caller, eventually, patience, Program } = await import('./program.mjs');

const node = await Program.demo();
const { url } = node;
await eventually('the demo has people', () => /stop +Ctrl-C/.test(node.said));
const login = Object.fromEntries([...node.said.matchAll(/^ +(admin|supervisor|attendant) +(\S+), password (\S+)$/gm)].map(([, who, email, password]) => [who, { email, password }]));
const key = /#key=(\S+)/.exec(node.said)[1];
const boss = await Caller.login(url, login.supervisor.email, login.supervisor.password);
let busiest;
await eventually('there is something to see', async () => {
  const { items } = await boss.call('GET', '/overview');
  busiest = items.filter((q) => q.within_target_today < 1).sort((a, b) => b.waiting - a.waiting)[0];
  return busiest?.waiting >= enough.waiting && items.reduce((n, q) => n + q.served_today, 0) >= enough.served;
}, 10 * patience);

/** This machine need not have letters for every name: those that it may lack get others. */
async function rename() {
  const names = ['Ada Marsh', 'Jörg Weiß', 'Begoña Peñalver', 'Inês Duarte', 'Tomasz Wójcik', 'Siobhán Byrne', 'Nguyễn Văn Đức', 'Zoë Jansen', 'Léa Fournier'];
  const { items } = await boss.call('GET', `/queues/${busiest.id}/tickets?limit=1000`);
  for (const [i, { id, customer }] of items.entries()) {
    if (!/[^\p{Script=Latin}\P{Letter}]/u.test(customer?.name ?? '')) continue;
    await boss.call('PATCH', `/queues/${busiest.id}/tickets/${id}`, { customer: { ...customer, name: names[i % names.length] } }).catch(() => {}); // it may be gone by now
  }
}

const browser = await launch();
mkdirSync(out, { recursive: true });

async function open(at, { as, width = 1280, height = 800, dark = false, phone = false } = {}) {
  const context = await browser.newContext({
    viewport: { width, height }, colorScheme: dark ? 'dark' : 'light', locale: 'en-GB', isMobile: phone, hasTouch: phone,
    // What moves is not seen in a picture.
    reducedMotion: 'reduce',
  });
  const page = await context.newPage();
  await page.goto(url + at);
  if (as) {
    await page.getByLabel('E-mail').fill(as.email);
    await page.getByLabel('Password').fill(as.password);
    await page.getByRole('button', { name: 'Sign in', exact: true }).click();
  }
  return page;
}

async function take(page, name) {
  const file = path.join(out, `${name}.png`);
  await page.waitForLoadState('networkidle');
  await page.screenshot({ path: file });
  const { size } = statSync(file);
  console.log(`${name}.png: ${size} bytes`);
  assert.ok(size < most, `${name} is too large`);
}

/** The console of somebody who serves. */
async function desk(name, options, place) {
  const page = await open('/console', { as: login.attendant, ...options });
  await page.getByLabel('Desk', { exact: true }).fill(place);
  await page.getByRole('checkbox', { name: busiest.name }).check();
  await page.getByRole('button', { name: 'Begin' }).click();
  const next = page.locator('button.big:not([aria-disabled])');
  await rename();
  await next.filter({ hasText: 'Call next' }).click();
  await next.filter({ hasText: 'Start' }).click();
  await next.filter({ hasText: 'Complete' }).waitFor();
  await take(page, name);
  await next.filter({ hasText: 'Complete' }).click();
  await page.getByRole('button', { name: 'Undo' }).waitFor();
  await page.context().close();
}

await desk('console', {}, '12');
await desk('console-dark', { dark: true }, '12');
await desk('console-phone', { width: 360, height: 740, phone: true }, '12');

const display = await open(`/display#key=${key}&queues=passports,parking,clinic&langs=en,de&speech=off`, { width: 1280, height: 720 });
await display.locator('.hero .number').waitFor();
await display.keyboard.press('Space'); // any press lets it sound
await display.getByRole('button', { name: 'Turn on sound' }).waitFor({ state: 'detached' });
await take(display, 'display');

const kiosk = await open('/checkin/passports,parking,clinic?kiosk=1', { width: 1024, height: 640 });
await kiosk.getByRole('button', { name: /passports/ }).waitFor();
await take(kiosk, 'check-in');

const { token } = await boss.call('POST', '/public/queues/clinic/tickets', {});
const ticket = await open(`/ticket#${token}`, { width: 360, height: 640, phone: true });
await ticket.getByText('Your number').first().waitFor();
await take(ticket, 'ticket-phone');

const overview = await open('/supervisor', { as: login.supervisor });
await overview.getByRole('table').waitFor();
await take(overview, 'overview');

const admin = await open(`/admin/queues/${busiest.id}`, { as: login.admin });
await admin.getByRole('heading', { name: busiest.name }).waitFor();
await take(admin, 'administration');

await browser.close();
await node.stop();
rmSync(made, { recursive: true });
process.exit();

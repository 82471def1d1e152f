// The line is put in another order, and others see it.
import assert from 'node:assert/strict';

import { begin, eventually, scene, user } from './harness.mjs';
import { button, line, openConsole, row } from './pages.mjs';

const { url, admin } = await begin();
const [ada, ben] = [await user(admin, 'Ada'), await user(admin, 'Ben')];

for (const [how, move] of Object.entries({
  async drag(page, from, to) {
    const [a, b] = [await page.locator(row(from)).boundingBox(), await page.locator(row(to)).boundingBox()];
    await page.mouse.move(a.x + a.width / 2, a.y + a.height / 2);
    await page.mouse.down();
    await page.mouse.move(b.x + b.width / 2, b.y + b.height / 2, { steps: 10 });
    await page.mouse.move(b.x + b.width / 2, b.y + b.height - 2, { steps: 3 });
    await page.mouse.up();
  },
  async keys(page, from) {
    await button.grip(page, from).focus();
    for (const press of ['Space', 'ArrowDown', 'ArrowDown', 'ArrowDown', 'Space']) await page.keyboard.press(press);
  },
})) {
  scene(`the first is put fourth by ${how}, and the other attendant sees it`, async (s) => {
    await admin.call('POST', '/queues', { id: how, name: how });
    const tickets = await admin.enqueue(how, Array(6).fill({}));
    const [a, b] = [await openConsole(s, { url, as: ada, desk: '1', queues: [how] }), await openConsole(s, { url, as: ben, desk: '2', queues: [how] })];
    await b.locator(row(tickets[5])).waitFor();
    const held = how === 'drag' ? tickets[0] : tickets[3]; // the one that moves, and one that is passed
    await b.locator(row(held)).locator('.open').focus();
    await move(a, tickets[0], tickets[3]);
    const wanted = [1, 2, 3, 0, 4, 5].map((i) => tickets[i].number).join();
    for (const page of [a, b]) await eventually(`the line is ${wanted}`, async () => (await line(page)).join() === wanted);
    assert.equal(await b.evaluate(() => document.activeElement.closest('li')?.dataset.id), held.id, 'the focus was lost');
    const { items } = await admin.call('GET', `/queues/${how}/tickets?state=waiting`);
    assert.equal(items.map((t) => t.number).join(), wanted);
  });
}

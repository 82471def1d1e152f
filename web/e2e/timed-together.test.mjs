// Two attendants and a display look at one queue at once.
import { begin, scene, user, wall, within } from './harness.mjs';
import { board, displayKey, elsewhere, next, offers, openConsole, openDisplay } from './pages.mjs';
import { arm, clockKeys, press, seen } from './seen.mjs';

const promised = 300; // ms at p99, from the click to what the others see
const rounds = 70; // of three acts each

const { url, admin } = await begin();
await admin.call('POST', '/queues', { id: 'post', name: 'Post office' });
const [ada, ben] = [await user(admin, 'Ada'), await user(admin, 'Ben')];
const key = await displayKey(admin);

scene(`each sees the other’s act within ${promised} ms at p99`, async (s) => {
  const [a, b, d] = await Promise.all([
    openConsole(s, { url, as: ada, desk: '1', queues: ['Post office'] }),
    openConsole(s, { url, as: ben, desk: '2', queues: ['Post office'] }),
    openDisplay(s, { url, key, queues: ['post'], view: wall }),
  ]);
  await Promise.all([clockKeys(a), clockKeys(b)]);
  await within(promised, 0.99, async () => {
    const took = { attendant: [], display: [] };
    async function act(actor, [name, key], others) {
      await offers(actor, name);
      await Promise.all(others.map(([page, look]) => arm(page, look)));
      const at = await press(actor, key);
      for (const [page, look] of others) took[page === d ? 'display' : 'attendant'].push((await seen(page, look)) - at);
    }
    const tickets = await admin.enqueue('post', Array(rounds).fill({}));
    for (const [i, ticket] of tickets.entries()) {
      const [actor, other] = i % 2 === 0 ? [a, b] : [b, a];
      const { number } = ticket;
      const onBoard = { selector: board.serving, texts: [number] };
      await act(actor, next.call, [[other, { selector: elsewhere, texts: [number, 'called'] }], [d, onBoard]]);
      await act(actor, next.start, [[other, { selector: elsewhere, texts: [number, 'being served'] }]]);
      await act(actor, next.complete, [[other, { selector: elsewhere, texts: [number], gone: true }], [d, { ...onBoard, gone: true }]]);
    }
    return took;
  });
});

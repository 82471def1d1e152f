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
    // In turn: a key means something again only some time after what was done last at a desk.
    for (let i = 0; i < tickets.length; i += 2) {
      const desks = [[a, b, tickets[i]], [b, a, tickets[i + 1]]];
      for (const step of ['call', 'start', 'complete']) {
        for (const [actor, other, { number }] of desks) {
          const onBoard = [d, { selector: board.serving, texts: [number], gone: step === 'complete' }];
          const atOther = {
            call: { selector: elsewhere, texts: [number, 'called'] },
            start: { selector: elsewhere, texts: [number, 'being served'] },
            complete: { selector: elsewhere, texts: [number], gone: true },
          }[step];
          await act(actor, next[step], [[other, atOther], ...(step === 'start' ? [] : [onBoard])]);
        }
      }
    }
    return took;
  });
});

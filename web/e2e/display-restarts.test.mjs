// The display on the wall while its server is replaced again and again.
import { away, Caller, folder, freePort, Program, scene, wall } from './harness.mjs';
import { board, displayKey, openDisplay } from './pages.mjs';

const restarts = 20;

scene(`the display lives through ${restarts} restarts of its server without a hand`, async (s) => {
  const [port, dir] = [await freePort(), folder()];
  let node = await Program.start({ port, dir });
  try {
    const admin = await Caller.login(node.url);
    await admin.call('POST', '/queues', { id: 'post', name: 'Post office', max_active: 1000 });
    await admin.enqueue('post', Array(restarts + 1).fill({}));
    const page = await openDisplay(s, { url: node.url, key: await displayKey(admin), queues: ['post'], view: wall, allow: away });
    for (let i = 0; i < restarts; i++) {
      await (i % 2 ? node.kill() : node.stop());
      // It says that it is not live, while nothing can be.
      if (i === 0) await page.locator(board.stale).waitFor();
      node = await Program.start({ port, dir });
      const { number } = await admin.call('POST', '/queues/post/call-next', { desk: String(i) });
      await page.locator(board.serving, { hasText: number }).first().waitFor();
      await page.locator(board.stale).waitFor({ state: 'hidden' });
    }
  } finally {
    await node.kill();
  }
});

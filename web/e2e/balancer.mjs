import { once } from 'node:events';
import net from 'node:net';

/**
 * A load balancer before several nodes: a connection goes to the first of them
 * that takes it, in the order that prefer says.
 */
export class Balancer {
  #order;
  #server;
  #open = new Set();

  static async before(urls) {
    const b = new Balancer();
    b.prefer(urls);
    b.#server = net.createServer((client) => b.#pass(client, [...b.#order]));
    b.#server.listen(0, '127.0.0.1');
    await once(b.#server, 'listening');
    b.url = `http://127.0.0.1:${b.#server.address().port}`;
    return b;
  }

  /** New connections go to these nodes, the first one first. */
  prefer(urls) { this.#order = urls.map((u) => Number(new URL(u).port)); }

  #pass(client, ports) {
    const port = ports.shift();
    if (port === undefined) { client.destroy(); return; }
    const node = net.connect(port, '127.0.0.1');
    let through = false;
    const end = () => { client.destroy(); node.destroy(); };
    node.once('connect', () => {
      through = true;
      this.#open.add(client);
      client.once('close', () => this.#open.delete(client));
      client.pipe(node).pipe(client);
    });
    node.on('error', () => { if (through || client.destroyed) end(); else this.#pass(client, ports); });
    node.on('close', () => { if (through) end(); });
    if (client.listenerCount('error') === 0) {
      client.on('error', end);
      client.on('close', () => { if (through) node.destroy(); });
    }
  }

  close() {
    for (const c of this.#open) c.destroy();
    this.#server.close();
  }
}

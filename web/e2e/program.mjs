// The program under test: nodes as processes, and REST as an administrator has it.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import readline from 'node:readline';

/** How long a test waits for what only must come. */
export const patience = Number(process.env.PAGES_PATIENCE ?? 60_000); // ms
export const password = 'correct horse battery staple';
export const administrator = 'admin@localhost';

const binary = process.env.PAGES_BINARY;
if (!binary) throw new Error('PAGES_BINARY is not set: run these by `go test -run TestPages .`');

const running = new Set();
const folders = new Set();
process.on('exit', () => {
  for (const p of running) p.kill('SIGKILL');
  for (const dir of folders) rmSync(dir, { recursive: true, force: true });
});
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1));

/** A folder that is gone when this process is. */
export function folder() {
  const dir = mkdtempSync(path.join(tmpdir(), 'pages-'));
  folders.add(dir);
  return dir;
}

/** A port for a server that comes back on it: none that an outgoing connection could have meanwhile. */
export async function freePort() {
  for (;;) {
    const port = 20_000 + Math.floor(Math.random() * 10_000);
    const probe = net.createServer();
    const free = await new Promise((yes) => {
      probe.once('error', () => yes(false));
      probe.listen(port, '127.0.0.1', () => yes(true));
    });
    if (free) {
      await new Promise((yes) => probe.close(yes));
      return port;
    }
  }
}

/** A running node. */
export class Program {
  said = '';
  #process;

  /** Starts one and waits until it serves. */
  static async start({ dir = folder(), port = 0, args = [] } = {}) {
    const p = new Program();
    const all = ['--http-addr', `127.0.0.1:${port}`, '--data-dir', dir, '--checkin-rate', '100000', ...args];
    await p.#run(all);
    return p;
  }

  /** Starts `nowserving demo`. */
  static async demo(args = []) {
    const p = new Program();
    await p.#run(['demo', '--http-addr', '127.0.0.1:0', ...args]);
    return p;
  }

  async #run(args) {
    const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('NOWSERVING_')));
    env.NOWSERVING_ADMIN_PASSWORD = password;
    // It ends with this process, however that ends.
    const bound = existsSync('/usr/bin/setpriv') ? ['/usr/bin/setpriv', '--pdeathsig', 'KILL', '--'] : [];
    const [command, ...rest] = [...bound, binary, ...args];
    const child = spawn(command, rest, { env, stdio: ['ignore', 'pipe', 'pipe'] });
    this.#process = child;
    running.add(child);
    child.once('exit', () => running.delete(child));
    this.url = await new Promise((yes, no) => {
      const hear = (line) => {
        this.said += `${line}\n`;
        const found = /"msg":"serving".*"url":"([^"]+)"/.exec(line) ?? /"url":"([^"]+)".*"msg":"serving"/.exec(line);
        if (found) yes(found[1]);
      };
      readline.createInterface({ input: child.stderr }).on('line', hear);
      readline.createInterface({ input: child.stdout }).on('line', hear);
      child.once('error', no);
      child.once('exit', () => no(new Error(`the node does not serve:\n${this.said}`)));
      setTimeout(() => no(new Error(`the node does not serve:\n${this.said}`)), patience).unref();
    });
    await eventually('the node is ready', async () => (await fetch(`${this.url}/readyz`)).status === 200);
  }

  /** Ends it as kill -9 does. */
  async kill() { await this.#end('SIGKILL'); }

  /** Ends it as an operator does. */
  async stop() { await this.#end('SIGTERM'); }

  async #end(signal) {
    if (!running.has(this.#process)) return;
    const gone = once(this.#process, 'exit');
    this.#process.kill(signal);
    await gone;
  }
}

/** Asks again until the answer is true. */
export async function eventually(what, ask, within = patience) {
  const until = Date.now() + within;
  for (;;) {
    if (await ask()) return;
    if (Date.now() > until) throw new Error(`it did not come to be: ${what}`);
    await new Promise((yes) => setTimeout(yes, 25));
  }
}

/** One user's REST client. */
export class Caller {
  #token = '';
  constructor(url) { this.url = url; }

  static async login(url, email = administrator, secret = password) {
    const c = new Caller(url);
    c.#token = (await c.call('POST', '/auth/login', { email, password: secret })).access_token;
    return c;
  }

  /** Sends a request that has to succeed; gives the answer's body, null where it has none. */
  async call(method, at, body, key) {
    const headers = { 'Content-Type': 'application/json' };
    if (key) headers['Idempotency-Key'] = key;
    if (this.#token) headers.Authorization = `Bearer ${this.#token}`;
    const answer = await fetch(`${this.url}/api/v1${at}`, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${method} ${at}: ${answer.status} ${text}`);
    return text ? JSON.parse(text) : null;
  }

  /** Many tickets into one queue, in this order. */
  async enqueue(queue, bodies) {
    const made = [];
    for (const body of bodies) made.push(await this.call('POST', `/queues/${queue}/tickets`, body));
    return made;
  }

  /** Very many, in any order. */
  async crowd(queue, bodies) {
    const rest = bodies.values();
    const some = async () => { for (const body of rest) await this.call('POST', `/queues/${queue}/tickets`, body); };
    await Promise.all(Array.from({ length: 32 }, some));
  }
}

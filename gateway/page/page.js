// The plain page: sign in, see the queues, follow one and make it move.
// Everything that it knows of the line comes over the WebSocket; after a cut it goes on from the version that it has.

const $ = (id) => document.getElementById(id);
const api = '/api/v1';
const shown = 200; // tickets of the line on screen
let login = null; // {user, until}; the tokens are in cookies that no script can read
let socket = null;
let ready = false;
let cutAt = null; // since when the page is not live
let tries = 0;
let retry = 0;
let selected = sessionStorage.getItem('queue');
let state = null; // of the selected queue: {id, version, epoch, fields, waiting, active, held}
let replies = new Map();
let lastId = 0;
let drawing = false;

// --- REST ---

async function call(method, path, body, again = true) {
  const answer = await fetch(api + path, {
    method, headers: { 'X-Requested-With': 'nowserving', ...(body && { 'Content-Type': 'application/json' }) }, body: body && JSON.stringify(body),
  });
  if (answer.status === 401 && again && await renew()) return call(method, path, body, false);
  const data = answer.status === 204 ? null : await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(explain(data) || `The server answered ${answer.status}.`);
  return data;
}
const explain = (p) => p.errors ? p.errors.map((e) => `${e.field} ${e.message}`).join('; ') : p.detail;
function keep(s) {
  login = s && { user: s.user, until: Date.now() + s.expires_in * 1000 };
  if (login) localStorage.setItem('signed-in', 'yes'); else localStorage.removeItem('signed-in'); // what a reload looks for
}
let renewing = null; // a refresh token works once, so only one renewal at a time
const renew = () => renewing ||= doRenew().finally(() => { renewing = null; });
async function doRenew() {
  const answer = await fetch(api + '/auth/refresh', {
    method: 'POST', headers: { 'X-Requested-With': 'nowserving', 'Content-Type': 'application/json' }, body: '{"cookie":true}',
  });
  if (answer.status === 401) {
    if (login) signOut('Your sign-in has ended. Please sign in again.'); else keep(null);
    return false;
  }
  if (!answer.ok) return answer.status === 503; // another page may have renewed it just now
  const s = await answer.json();
  if (login && s.user.id !== login.user.id) { location.reload(); return false; } // somebody else has signed in here
  keep(s);
  stale = true;
  return true;
}
let stale = false; // the live session began with a token that was renewed since

// --- the live session ---

const send = (frame) => socket.send(JSON.stringify(frame));
function connect() {
  clearTimeout(retry);
  socket?.close();
  const mine = socket = new WebSocket(`${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}${api}/ws`, 'nowserving.v1');
  stale = false;
  mine.onmessage = (m) => { if (mine === socket) take(JSON.parse(m.data)); };
  mine.onclose = (e) => {
    if (mine !== socket) return;
    ready = false;
    cutAt ||= new Date();
    replies.forEach((r) => r.no(new Error('The connection was cut before an answer came. Look at the line before you try again.')));
    replies.clear();
    const wait = Math.min(15_000, 300 * 2 ** tries++) * (0.5 + Math.random());
    retry = setTimeout(async () => {
      if (e.code === 4401 && !stale) await renew().catch(() => {});
      if (login) connect();
    }, e.code === 4401 && tries < 2 ? 0 : wait);
    draw();
  };
}
function subscribe() {
  if (!selected || !ready) return;
  const from = state && state.id === selected && state.whole ? { since: state.version, epoch: state.epoch } : {};
  send({ type: 'subscribe', id: selected, queue: selected, ...from });
}
function take(f) {
  if (f.type === 'ready') {
    ready = true; tries = 0; cutAt = null;
    subscribe();
    listQueues();
  } else if (f.type === 'reply') {
    const waits = replies.get(f.id);
    replies.delete(f.id);
    if (waits) f.ok ? waits.yes(f.data) : waits.no(new Error(explain(f.error)));
    else if (!f.ok) { say(explain(f.error)); if (f.id === selected) forget(); }
  } else if (f.queue === selected) {
    follow(f);
  }
  draw();
}
function follow(f) {
  if (f.type === 'snapshot') {
    const { waiting, active, held, waiting_total, ...fields } = f.data;
    state = { id: f.queue, version: f.version, epoch: f.epoch, fields, waiting, active, held, whole: waiting.length >= waiting_total, total: waiting_total };
  } else if (f.type === 'snapshot_part') {
    state.waiting.push(...f.waiting);
    state.whole = state.waiting.length >= state.total;
  } else if (f.type === 'gone') {
    say('This queue was deleted.');
    forget();
    listQueues();
  } else if (f.type === 'event') {
    state.version = f.version;
    if (f.event.startsWith('queue.')) Object.assign(state.fields, f.data);
    else place(f.data);
  }
}

// place puts a ticket where it is now; the others keep their order.
function place(t) {
  for (const list of ['waiting', 'active', 'held']) {
    const at = state[list].findIndex((o) => o.id === t.id);
    if (at >= 0) state[list].splice(at, 1);
  }
  if (t.state === 'waiting') state.waiting.splice(t.position - 1, 0, t);
  else if (t.state === 'called' || t.state === 'serving') state.active.push(t);
  else if (t.state === 'held') state.held.push(t);
}
function command(name, args = {}) {
  if (!ready) return Promise.reject(new Error('There is no connection just now.'));
  const id = 'c' + ++lastId;
  send({ type: 'command', id, queue: selected, command: name, args, idempotency_key: crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}` });
  return new Promise((yes, no) => replies.set(id, { yes, no }));
}

// --- what is on screen ---

let queues = [];
let listing = 0;
let listed = false;
async function listQueues() {
  clearTimeout(listing);
  if (!login) return;
  try {
    const all = [];
    let after = '';
    do {
      const page = await call('GET', '/queues?limit=1000' + (after && '&after=' + encodeURIComponent(after)));
      all.push(...page.items);
      after = page.next;
    } while (after && all.length < 5000);
    queues = all;
    listed = true;
    if (!selected && queues.length) choose(queues[0].id);
    draw();
  } catch { /* the banner tells whether there is a connection */ }
  clearTimeout(listing);
  if (login) listing = setTimeout(listQueues, 1000); // new queues, and counts of the queues that are not followed
}
function choose(id) {
  if (ready && selected && selected !== id) send({ type: 'unsubscribe', id: 'u', queue: selected });
  selected = id;
  state = null;
  sessionStorage.setItem('queue', id);
  subscribe();
  draw();
}
function forget() { selected = null; state = null; sessionStorage.removeItem('queue'); }
function say(text) { $('said').textContent = text || ''; $('said').hidden = !text; }

// make builds an element; text never becomes markup.
function make(tag, props = {}, ...inner) {
  const e = Object.assign(document.createElement(tag), props);
  e.append(...inner.filter((i) => i !== null));
  return e;
}
const may = (...levels) => login && levels.includes(login.user.level);
const what = (t) => [t.service, t.customer?.name].filter(Boolean).join(' · ');
function act(label, name, t, args = {}) {
  return make('button', {
    type: 'button', textContent: label, ariaLabel: `${label} ${t.number}`, disabled: !ready,
    onclick: () => attempt(() => command(name, { ticket: t.id, ...args })), id: `${name}-${t.id}`,
  });
}
function card(t) {
  const operates = may('admin', 'supervisor', 'attendant');
  const acts = { called: [['Start', 'start'], ['No-show', 'no_show'], ['Hold', 'hold']], serving: [['Complete', 'complete'], ['Hold', 'hold']],
    held: [['Back in line', 'requeue']] }[t.state];
  return make('li', {}, make('b', { textContent: t.number }),
    make('span', { className: 'what', textContent: [t.desk && `desk ${t.desk}`, t.state, what(t)].filter(Boolean).join(' · ') }),
    operates ? make('span', { className: 'acts' }, ...acts.map(([label, name]) => act(label, name, t))) : null);
}
const none = (text) => make('li', { className: 'none', textContent: text });

// refill replaces a list and leaves the focus on the same button, if it is still there.
function refill(list, items) {
  const focus = list.contains(document.activeElement) ? document.activeElement.id : '';
  list.replaceChildren(...items);
  if (focus) document.getElementById(focus)?.focus();
}
function draw() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => { drawing = false; paint(); });
}
function paint() {
  $('door').hidden = !!login;
  $('room').hidden = $('who').hidden = !login;
  $('link').hidden = !login;
  if (!login) return;
  $('name').textContent = `${login.user.name || login.user.email} (${login.user.level})`;
  $('link').className = ready ? 'live' : 'off';
  const link = ready ? '● Live' : cutAt ? `Not live since ${cutAt.toLocaleTimeString()}. What you see may be old; trying to connect again.` : 'Connecting …';
  if ($('link').textContent !== link) $('link').textContent = link;
  $('new').hidden = !may('admin');
  if (listed && !queues.length) $('new').open = true;
  $('no-queues').hidden = !listed || queues.length > 0;
  refill($('queues'), queues.map((q) => {
    const mine = state && state.id === q.id;
    const [waiting, active, status] = mine ? [state.waiting.length, state.active.length, state.fields.status] : [q.waiting, q.active, q.status];
    return make('li', {}, make('button', { type: 'button', id: 'q-' + q.id, ariaCurrent: String(q.id === selected), onclick: () => { say(); choose(q.id); } },
      make('b', { textContent: q.name }), make('small', { textContent: `${status}, ${waiting} waiting, ${active} active` })));
  }));
  $('queue').hidden = !state;
  if (state) paintQueue();
}
function paintQueue() {
  const f = state.fields;
  $('queue').classList.toggle('stale', !ready);
  $('queue-title').textContent = f.name;
  $('status').textContent = f.status;
  $('status').className = 'tag ' + f.status;
  $('counts').textContent = `${state.waiting.length} waiting, ${state.active.length} active`;
  refill($('active'), state.active.length ? state.active.map(card) : [none('Nobody is being served.')]);
  refill($('line'), state.waiting.length ? state.waiting.slice(0, shown).map((t, i) => make('li', {},
    make('span', { className: 'place', textContent: i + 1 }), make('b', { textContent: t.number }),
    make('span', { className: 'what', textContent: what(t) }))) : [none('Nobody is waiting.')]);
  $('more').textContent = state.waiting.length > shown ? `and ${state.waiting.length - shown} more` : '';
  $('parked').hidden = !state.held.length;
  refill($('held'), state.held.map(card));
  $('next').hidden = !may('admin', 'supervisor', 'attendant');
  $('enqueue').hidden = !may('admin', 'supervisor', 'attendant', 'integration');
  for (const form of ['next', 'enqueue']) $(form).querySelector('button').disabled = !ready;
  refill($('services'), f.services.map((s) => make('option', { value: s })));
}

// --- what the user does ---

async function attempt(what) {
  say();
  try { return await what(); } catch (e) { say(e.message); }
}
function onSubmit(id, act) {
  $(id).addEventListener('submit', (e) => {
    e.preventDefault();
    attempt(() => act(e.target.elements, e.target));
  });
}
onSubmit('login', async (f, form) => {
  keep(await call('POST', '/auth/login', { email: f.email.value, password: f.password.value, cookie: true }, false));
  form.reset();
  connect();
  draw();
});
onSubmit('create', async (f, form) => {
  const q = await call('POST', '/queues', { id: f.id.value, ...(f.name.value && { name: f.name.value }) });
  form.reset();
  $('new').open = false;
  queues.push(q);
  choose(q.id);
});
onSubmit('next', async (f) => {
  if (!await command('call_next', f.desk.value ? { desk: f.desk.value } : {})) say('Nobody is waiting.');
});
onSubmit('enqueue', async (f, form) => {
  await command('enqueue', {
    priority: Number(f.priority.value), ...(f.service.value && { service: f.service.value }),
    ...(f.name.value && { customer: { name: f.name.value } }),
  });
  form.reset();
  f.service.focus();
});
function signOut(why) {
  keep(null);
  forget();
  queues = []; listed = false; ready = false; cutAt = null; tries = 0;
  clearTimeout(retry); clearTimeout(listing);
  const old = socket;
  socket = null;
  old?.close();
  say(why);
  draw();
}
$('leave').addEventListener('click', () => attempt(async () => {
  try { await call('POST', '/auth/logout'); } finally { signOut(); }
}));

// The token is renewed a minute before it ends, and the live session begun anew
// where the old one was, when no answer is awaited.
setInterval(() => {
  if (login && Date.now() > login.until - 60_000) renew().catch(() => {});
  if (stale && ready && !replies.size) { ready = false; connect(); }
}, 10_000);
window.addEventListener('online', () => { if (login && !ready) { tries = 0; connect(); } });
const signInSaid = {
  again: 'The sign-in took too long, or began in another window. Please try again.', refused: 'Your organisation did not sign you in.',
  forbidden: 'You are known to your organisation, but may not come in here. Please ask an administrator.',
  unavailable: 'Your organisation’s sign-in cannot be reached just now. Please try again.',
};
async function begin() {
  const word = new URLSearchParams(location.hash.slice(1)).get('sign-in');
  if (word) history.replaceState(null, '', location.pathname);
  if (word === 'done') localStorage.setItem('signed-in', 'yes'); else say(signInSaid[word]);
  call('GET', '/auth', undefined, false).then((m) => { $('elsewhere').hidden = !m.oidc; }, () => {});
  if (!localStorage.getItem('signed-in')) return;
  await attempt(async () => {
    if (!await renew()) return;
    if (!login) keep({ user: await call('GET', '/me'), expires_in: 120 }); // another page has just renewed it
    connect();
  });
  draw();
}
begin();
draw();

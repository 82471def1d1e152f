/** How far this device's clock is behind the server's, in milliseconds. */
let behind = 0;

/** Learns the server's time from an answer's `Date`, which is in whole seconds. */
export function hearTime(date: string | null) {
  const off = date ? Date.parse(date) + 500 - Date.now() : NaN;
  if (Math.abs(off - behind) > 1500) behind = off;
}

/** Calls back when this device's clock was set, or has slept: what was learnt of the server's is wrong by as much. Gives how to stop. */
export function onClockSet(f: () => void): () => void {
  const wall = () => Date.now() - performance.now();
  let was = wall();
  const timer = setInterval(() => {
    const by = wall() - was;
    was += by;
    if (Math.abs(by) > 1000) f();
  }, 1000);
  return () => clearInterval(timer);
}

/** The server's time, in milliseconds since 1970. */
export const now = () => Date.now() + behind;

/** The server's time in steps of a second, for what grows on screen. */
export const ticking = new (class {
  now = $state(now());
  constructor() {
    setInterval(() => { this.now = now(); }, 1000);
  }
})();

/** How far this device's clock is behind the server's, in milliseconds. */
let behind = 0;

/** Learns the server's time from an answer's `Date`, which is in whole seconds. */
export function hearTime(date: string | null) {
  const off = date ? Date.parse(date) + 500 - Date.now() : NaN;
  if (Math.abs(off - behind) > 1500) behind = off;
}

/** Learns from a live event that it is that late at least. */
export function hearEvent(at: string) {
  const off = Date.parse(at) - Date.now();
  if (off > behind) behind = off;
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

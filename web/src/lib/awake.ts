/** Keeps the screen on while the page is shown, where the browser can. Gives how to stop. */
export function keepAwake(): () => void {
  let lock: WakeLockSentinel | null = null;
  let wanted = true;
  const take = async () => {
    if (!wanted || document.visibilityState !== 'visible' || !navigator.wakeLock || (lock && !lock.released)) return;
    lock = await navigator.wakeLock.request('screen').catch(() => null);
    if (!wanted) void lock?.release();
  };
  void take();
  document.addEventListener('visibilitychange', take);
  const timer = setInterval(take, 60_000); // a low battery takes it away
  return () => {
    wanted = false;
    clearInterval(timer);
    document.removeEventListener('visibilitychange', take);
    void lock?.release();
  };
}

import { language } from '../i18n/index.svelte';

const two = () => new Intl.NumberFormat(language.locale, { minimumIntegerDigits: 2, useGrouping: false });

/** Minutes and seconds, as a stopwatch shows them; from an hour on with hours. */
export function stopwatch(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  const parts = h > 0 ? [h, m, s] : [m, s];
  return parts.map((n, i) => (i === 0 ? new Intl.NumberFormat(language.locale).format(n) : two().format(n))).join(':');
}

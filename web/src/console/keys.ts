/** How the console's keys are pressed: not at all, with Alt, or alone (then never while somebody types). */
export type KeyMode = 'off' | 'alt' | 'plain';

const shortcuts = { next: 'n', start: 's', complete: 'c', recall: 'r', undo: 'z', find: 'f' } as const;
export type Shortcut = keyof typeof shortcuts;

/** Which shortcut a press means, if any. A key that is held down means nothing more. */
export function meant(e: KeyboardEvent, mode: KeyMode): Shortcut | null {
  if (mode === 'off' || e.repeat || e.ctrlKey || e.metaKey || e.shiftKey || e.altKey !== (mode === 'alt')) return null;
  if (mode === 'plain' && types(e.target)) return null;
  // With Alt some keyboards give another character; then the key's place counts.
  const letter = /^[a-z]$/i.test(e.key) ? e.key.toLowerCase() : e.code.replace(/^Key/, '').toLowerCase();
  return (Object.keys(shortcuts) as Shortcut[]).find((s) => shortcuts[s] === letter) ?? null;
}

/** How a shortcut is written on its button. */
export const written = (s: Shortcut, mode: KeyMode): string | null =>
  mode === 'off' ? null : (mode === 'alt' ? 'Alt + ' : '') + shortcuts[s].toUpperCase();

/** The same for `aria-keyshortcuts`. */
export const spoken = (s: Shortcut, mode: KeyMode): string | undefined =>
  mode === 'off' ? undefined : (mode === 'alt' ? 'Alt+' : '') + shortcuts[s].toUpperCase();

const types = (target: EventTarget | null) =>
  target instanceof HTMLElement && (target.isContentEditable || /^(input|textarea|select)$/i.test(target.tagName));

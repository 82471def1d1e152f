// When something was done and when others saw it, measured in their pages: in
// milliseconds since 1970 by the one clock of this machine.
import { patience } from './program.mjs';

/**
 * Has a page note when it first shows an element with these texts, or, with
 * gone, when it shows it no more; that must not be so yet.
 */
export const arm = (page, look) => page.evaluate(({ selector, texts, gone = false }) => {
  const is = () => [...document.querySelectorAll(selector)].some((e) => texts.every((t) => e.textContent.includes(t))) !== gone;
  if (is()) throw new Error(`it is so already: ${selector} ${gone ? 'without' : 'with'} ${texts}`);
  globalThis.noted = new Promise((yes) => {
    const watch = new MutationObserver(() => {
      if (!is()) return;
      watch.disconnect();
      yes(performance.timeOrigin + performance.now());
    });
    watch.observe(document.body, { subtree: true, childList: true, characterData: true, attributes: true });
  });
}, look);

/** When an armed page showed it. */
export async function seen(page, look) {
  const at = await page.evaluate((most) => Promise.race([globalThis.noted, new Promise((no) => setTimeout(no, most, null))]), patience);
  if (at === null) throw new Error(`${page.url()} never showed ${JSON.stringify(look)}`);
  return at;
}

/** Has a page note when a key is pressed. */
export const clockKeys = (page) => page.evaluate(() => {
  addEventListener('keydown', (e) => { globalThis.pressed = performance.timeOrigin + e.timeStamp; }, { capture: true });
});

/** Presses a key and gives when that was. */
export async function press(page, key) {
  await page.keyboard.press(key);
  return page.evaluate(() => globalThis.pressed);
}

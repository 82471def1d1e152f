import type { Locale, Texts } from '../i18n/index.svelte';

const longest = 20_000; // ms for one sentence; some voices never say that they have ended

/** The voice for a language: one that needs no network, if there is any. */
export function voiceFor(locale: Locale): SpeechSynthesisVoice | null {
  const fit = (globalThis.speechSynthesis?.getVoices() ?? []).filter((v) => v.lang.slice(0, 2).toLowerCase() === locale);
  const here = fit.filter((v) => v.localService);
  return here.find((v) => v.default) ?? here[0] ?? fit[0] ?? null;
}

/** Calls back now and whenever the browser has found voices. Gives how to stop. */
export function onVoices(f: () => void): () => void {
  const voices = globalThis.speechSynthesis;
  f();
  voices?.addEventListener('voiceschanged', f);
  return () => voices?.removeEventListener('voiceschanged', f);
}

/** Says a sentence; done when it is said, or cannot be. */
export function say(sentence: string, locale: Locale): Promise<void> {
  const voice = voiceFor(locale);
  if (!voice) return Promise.resolve();
  return new Promise((done) => {
    const spoken = new SpeechSynthesisUtterance(sentence);
    spoken.voice = voice;
    spoken.lang = voice.lang;
    spoken.rate = 0.9;
    const timer = setTimeout(() => { speechSynthesis.cancel(); done(); }, longest);
    spoken.onend = spoken.onerror = () => { clearTimeout(timer); done(); };
    speechSynthesis.speak(spoken);
  });
}

/** A number as it is said: sign by sign, so that A042 cannot be heard as anything else. */
export function spell(number: string, digits: Texts['display']['digits']): string {
  const letters = number.replace(/\d+$/, '').split('');
  const rest = number.slice(letters.length).split('').map((d) => digits[Number(d)] ?? d);
  return [...letters.map((l) => (/\d/.test(l) ? digits[Number(l)]! : l.toUpperCase())), ...rest].join(', ');
}

/** A desk that is only a sign, `3` or `B2`, is called a desk; any other name speaks for itself. */
export const sign = (desk: string) => /^([A-Za-z]?\d{1,3}|\d{1,3}[A-Za-z]|[A-Za-z])$/.test(desk);

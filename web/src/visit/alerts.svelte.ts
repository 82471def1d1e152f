import { sound } from '../lib/sound.svelte';

const pattern = [400, 200, 400, 200, 800]; // ms, of vibration
const helper = '/notify.js';

/** Telling the holder of a ticket that it is their turn, also while they look at something else. */
class Alerts {
  /** Whether the holder has asked to be told. */
  wanted = $state(false);
  /** Whether messages may be shown; null where this browser has none. */
  messages = $state<boolean | null>(null);
  #worker: ServiceWorkerRegistration | null = null;

  /** To be called by the press of a button: browsers allow sound and ask for messages only then. */
  async ask() {
    this.wanted = true;
    const unlocked = sound.unlock();
    if ('Notification' in globalThis) {
      const granted = (await Notification.requestPermission().catch(() => 'denied')) === 'granted';
      if (granted) this.#worker = await register().catch(() => null);
      this.messages = granted;
    }
    await unlocked;
  }

  /** Sounds, vibrates and shows a message. */
  tell(title: string, body: string) {
    if (!this.wanted) return;
    void sound.chime();
    navigator.vibrate?.(pattern);
    if (!this.messages) return;
    const options: NotificationOptions = { body, tag: 'ticket', icon: '/icon.svg', requireInteraction: true };
    // Browsers of phones show messages through a worker only.
    if (this.#worker) void this.#worker.showNotification(title, options).catch(() => {});
    else new Notification(title, options);
  }
}

interface Policies { createPolicy(name: string, rules: { createScriptURL(url: string): string }): { createScriptURL(url: string): string } }

async function register(): Promise<ServiceWorkerRegistration | null> {
  if (!navigator.serviceWorker) return null;
  // The pages' policy lets a script's address come only from here.
  const { trustedTypes } = globalThis as { trustedTypes?: Policies };
  const url = trustedTypes?.createPolicy('notify', { createScriptURL: () => helper }).createScriptURL(helper) ?? helper;
  await navigator.serviceWorker.register(url);
  return navigator.serviceWorker.ready;
}

export const alerts = new Alerts();

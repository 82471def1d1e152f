import { t } from '../i18n/index.svelte';
import type { components } from '../lib/openapi';

export type Webhook = components['schemas']['Webhook'];

/** The kinds of events that there are. */
export const kinds = [
  'ticket.enqueued', 'ticket.called', 'ticket.recalled', 'ticket.started', 'ticket.completed', 'ticket.held', 'ticket.no_show', 'ticket.requeued',
  'ticket.transferred', 'ticket.moved', 'ticket.updated', 'ticket.removed', 'queue.configured', 'queue.opened', 'queue.paused', 'queue.closed',
] as const satisfies Webhook['events'];

/** What a webhook is called: an address may be long, and hold a secret. */
export function nameOf(w: Webhook): string {
  if (w.description) return w.description;
  return w.url && URL.canParse(w.url) ? new URL(w.url).host : w.id;
}

/** Why something was not delivered. */
export function reason(word: string): string {
  return word.startsWith('http_') ? t.webhooks.answered(word.slice('http_'.length)) : (t.webhooks.reasons[word] ?? word);
}

export const stateOf = (w: Webhook) => (w.enabled ? t.webhooks.active : w.gone ? t.webhooks.gone : t.webhooks.disabled);

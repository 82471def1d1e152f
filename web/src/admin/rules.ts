import type { components } from '../lib/openapi';

type Rule = components['schemas']['Rule'];
type RuleInput = components['schemas']['RuleInput'];

/** A rule as it stands in the form. */
export interface RuleFields { id: number; name: string; when: string; action: 'take' | 'refuse'; queue: string; priority: string }

let last = 0;

export const newRule = (r?: Rule): RuleFields => ({
  id: ++last, name: r?.name ?? '', when: r?.when ?? '', action: r?.action ?? 'take', queue: r?.queue ?? '', priority: r?.priority === null || r === undefined ? '' : String(r.priority),
});

/** As it is saved: a priority that is a number goes as one, anything else as an expression. */
export function inputOf(r: RuleFields): RuleInput {
  const rule: RuleInput = { name: r.name.trim(), when: r.when.trim(), action: r.action };
  if (r.action === 'refuse') return rule;
  const priority = r.priority.trim();
  return { ...rule, queue: r.queue || null, priority: priority === '' ? null : /^\d+$/.test(priority) ? Number(priority) : priority };
}

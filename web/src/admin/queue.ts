import type { components } from '../lib/openapi';
import type { Queue } from '../lib/types';

type Configure = components['schemas']['QueueConfigure'];

/** A queue's configuration as it stands in the form: what may be empty is text. */
export const formOf = (q: Queue) => ({
  name: q.name,
  prefix: q.prefix,
  capacity: q.capacity as number | null | undefined,
  public: q.public,
  target: (q.target_wait_seconds === null ? null : q.target_wait_seconds / 60) as number | null | undefined,
  max_active: q.max_active as number | null | undefined,
  timezone: q.timezone,
  services: q.services.join('\n'),
  retention_days: q.retention_days as number | null | undefined,
});
export type QueueFields = ReturnType<typeof formOf>;

/** What the form says that is not so yet; what nobody touched is not sent, so that it does not undo another's change. */
export function changes(before: QueueFields, now: QueueFields): Configure {
  const lines = (text: string) => text.split('\n').map((l) => l.trim()).filter(Boolean);
  const all: Required<Configure> = {
    name: now.name.trim(),
    prefix: now.prefix.trim(),
    capacity: now.capacity ?? null,
    public: now.public,
    target_wait_seconds: typeof now.target === 'number' ? Math.round(now.target * 60) : null,
    max_active: now.max_active ?? 1,
    timezone: now.timezone.trim(),
    services: lines(now.services),
    retention_days: now.retention_days ?? null,
  };
  const source = (name: string) => (name === 'target_wait_seconds' ? 'target' : name) as keyof QueueFields;
  const touched = Object.entries(all).filter(([name]) => (before[source(name)] ?? null) !== (now[source(name)] ?? null));
  return Object.fromEntries(touched) as Configure;
}

import type { Ticket } from '../lib/types';

/** The line as it would be with a ticket at another index. */
export function moved(line: Ticket[], id: string, index: number): Ticket[] {
  const ticket = line.find((t) => t.id === id);
  if (!ticket) return line;
  const rest = line.filter((t) => t.id !== id);
  rest.splice(Math.min(index, rest.length), 0, ticket);
  return rest;
}

/**
 * How to ask for the place that a ticket has in a line as it is shown: by its
 * neighbour, for the line may have moved on by the time that it is read.
 */
export function asked(shown: Ticket[], id: string): object {
  const i = shown.findIndex((t) => t.id === id);
  const [next, previous] = [shown[i + 1], shown[i - 1]];
  if (next) return { ticket: id, before: next.id };
  return previous ? { ticket: id, after: previous.id } : { ticket: id, position: 1 };
}

/** The indexes from the first row seen to behind the last one, with some more on both sides. */
export function seen(top: number, bottom: number, row: number, count: number, more: number): [number, number] {
  const first = Math.max(0, Math.min(count, Math.floor(top / row) - more));
  return [first, Math.max(first, Math.min(count, Math.ceil(bottom / row) + more))];
}

/** How far the line has shifted under the one who reads it: by the first seen row that is still there. */
export function shift(old: Ticket[], from: number, to: number, now: Map<string, number>): number {
  for (let i = from; i < Math.min(to, old.length); i++) {
    const j = now.get(old[i]!.id);
    if (j !== undefined) return j - i;
  }
  return 0;
}

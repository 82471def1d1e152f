import type { CommandName, Ticket } from '../lib/types';

/** What can be taken back. */
export type Undoable = 'complete' | 'no_show' | 'remove' | 'hold' | 'move' | 'requeue' | 'enqueue';

/** Where a ticket was before something was done to it. */
export interface Was {
  state: Ticket['state'];
  /** Its place in the line, from 1; 0 where it had none. */
  position: number;
  /** Who stood behind it. */
  next: string | null;
}

export interface Step { queue: string; ticket: string; number: string; did: Undoable; was: Was }

export function before(ticket: Ticket, waiting: Ticket[]): Was {
  const i = ticket.state === 'waiting' ? waiting.findIndex((t) => t.id === ticket.id) : -1;
  return { state: ticket.state, position: i + 1, next: i < 0 ? null : (waiting[i + 1]?.id ?? null) };
}

/** The state in which a step leaves a ticket. */
const left: Record<Undoable, Ticket['state']> = {
  complete: 'completed', no_show: 'no_show', remove: 'removed', hold: 'held', move: 'waiting', requeue: 'waiting', enqueue: 'waiting',
};

/** Whether an event may be a step's own; any other on its ticket means that somebody has gone on with it. */
export const own = (step: Step, by: string | null, me: string, state: Ticket['state']) => by === me && state === left[step.did];

/** Whether a ticket, as it is in its queue now, stands where a step left it, or where it was if that is not shown yet. */
export function stands({ did, was }: Step, now: Ticket | undefined, me: string): boolean {
  if (!now) return true; // it has ended, as after most steps
  if ((now.state === 'called' || now.state === 'serving') && now.attendant !== me) return false;
  return now.state === left[did] || now.state === was.state;
}

/** Whether a step has a way back: a call that was put back in line would have to be called again. */
export const hasWayBack = (did: Undoable, was: Was) => did !== 'requeue' || was.state === 'held';

/** The commands that take a step back, given the line as it is now without the ticket. */
export function wayBack({ ticket, did, was }: Step, line: Ticket[]): [CommandName, object][] {
  const behind = was.next === null ? -1 : line.findIndex((t) => t.id === was.next);
  const place = behind < 0 ? Math.min(was.position, line.length + 1) : behind + 1;
  switch (did) {
    case 'enqueue':
      return [['remove', { ticket }]];
    case 'requeue':
      return [['hold', { ticket }]];
    case 'move':
      return [['move', { ticket, position: place }]];
    default:
      if (was.state === 'waiting') return [['requeue', { ticket, position: place }]];
      // What was held is held again; who was at the desk is the next one there.
      return [['requeue', { ticket, position: 1 }], ...(was.state === 'held' ? [['hold', { ticket }] as [CommandName, object]] : [])];
  }
}

import type { components } from './openapi';

type Schemas = components['schemas'];
export type Ticket = Schemas['Ticket'];
export type Queue = Schemas['Queue'];
export type User = Schemas['User'];
export type PublicTicket = Schemas['PublicTicket'];
export type PublicQueue = Schemas['PublicQueue'];
export type ErrorCode = Schemas['ErrorCode'];
export type ProblemBody = Schemas['Problem'];

export type CommandName =
  | 'enqueue' | 'move' | 'remove' | 'call_next' | 'call' | 'recall' | 'start' | 'complete' | 'hold' | 'no_show'
  | 'requeue' | 'transfer' | 'update' | 'open' | 'pause' | 'close';

/** What the server sends over a live session; asyncapi.yaml describes each. */
export type Frame =
  | { type: 'ready'; session: string; user: User | null; expires_at: string | null }
  | { type: 'snapshot'; id: string; queue: string; version: number; epoch: string; data: Snapshot }
  | { type: 'snapshot_part'; queue: string; version: number; waiting: Ticket[] }
  | { type: 'resumed'; id: string; queue: string; version: number; epoch: string }
  | QueueEvent
  | { type: 'reply'; id: string; ok: true; version?: number; data?: unknown }
  | { type: 'reply'; id: string | null; ok: false; error: ProblemBody }
  | { type: 'ticket'; data: PublicTicket }
  | { type: 'gone'; queue: string }
  | { type: 'pong' };

/** A queue without its counts, which a follower sees in the lists. */
export type QueueFields = Omit<Queue, 'waiting' | 'active'>;

type Snapshot = QueueFields & { waiting: Ticket[]; waiting_total: number; active: Ticket[]; held: Ticket[] };

export interface QueueEvent {
  type: 'event';
  queue: string;
  version: number;
  event: string;
  at: string;
  by: string | null;
  data: Ticket | QueueFields;
}

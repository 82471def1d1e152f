import type { QueueEvent } from '../lib/types';

const markFor = 1_600; // ms
const most = 60; // more than these at once are a flood, in which nobody looks for one
const marked = new Set(['ticket.enqueued', 'ticket.moved', 'ticket.requeued', 'ticket.updated']);

/** Which rows are new or have changed just now. */
export class Marks {
  ids = $state.raw<ReadonlySet<string>>(new Set());

  hear(e: QueueEvent) {
    if (!marked.has(e.event) || this.ids.size >= most || !('number' in e.data)) return;
    const { id } = e.data;
    this.ids = new Set(this.ids).add(id);
    setTimeout(() => { this.ids = new Set([...this.ids].filter((o) => o !== id)); }, markFor);
  }
}

import type { Component } from 'svelte';

import type { Area } from './i18n/index.svelte';
import type { User } from './lib/types';

export type Level = User['level'];

/** A page: where it is, what it loads, and who may see it (nobody named: no login needed). */
export interface Page {
  path: RegExp;
  load: () => Promise<{ default: Component }>;
  texts: Area[];
  levels?: Level[];
  /** Signed-in pages have the bar with the way to the others. */
  bar?: keyof typeof import('./i18n/en/common').default.pages;
}

const operators: Level[] = ['attendant', 'supervisor', 'admin'];

export const pages: Page[] = [
  { path: /^\/console$/, load: () => import('./pages/Console.svelte'), texts: ['console'], levels: operators, bar: 'console' },
  { path: /^\/supervisor(\/history|\/queues\/[a-z0-9-]+)?$/, load: () => import('./pages/Supervisor.svelte'), texts: ['supervise', 'forms'], levels: ['supervisor', 'admin'], bar: 'supervisor' },
  { path: /^\/admin(\/(queues|users|webhooks)(\/[a-z0-9-]+)?|\/(cluster|dead-letters|audit|people))?$/, load: () => import('./pages/Admin.svelte'), texts: ['admin', 'forms', 'webhooks'], levels: ['supervisor', 'admin'], bar: 'admin' },
  { path: /^\/display$/, load: () => import('./pages/Display.svelte'), texts: ['display'] },
  { path: /^\/checkin\/[a-z0-9-]+(,[a-z0-9-]+)*$/, load: () => import('./pages/CheckIn.svelte'), texts: ['visit'] },
  { path: /^\/ticket$/, load: () => import('./pages/Ticket.svelte'), texts: ['visit'] },
];

/** Where somebody of a level begins. */
export const home: Record<Level, string> = {
  admin: '/supervisor', supervisor: '/supervisor', attendant: '/console', viewer: '/display', integration: '/console',
};

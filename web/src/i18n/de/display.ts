import { sign } from '../../display/speech';
import type en from '../en/display';
import { plural } from '../index.svelte';

const p = plural('de');

export default {
  nowServing: 'Jetzt an der Reihe',
  next: 'Als Nächste',
  desk: 'Schalter',
  waiting: (n) => `${n} ${p(n, 'Person wartet', 'Personen warten')}`,
  idle: 'Bitte warten Sie, bis Ihre Nummer aufgerufen wird.',
  closed: 'Geschlossen',
  paused: 'Pause',
  noOne: 'Niemand wartet.',
  queueGone: 'Diese Warteschlange gibt es nicht mehr.',
  stale: (since) => `Keine Verbindung seit ${since}.`,
  blank: 'Diese Anzeige hat gerade keine Verbindung. Bitte achten Sie auf die Ansagen des Personals.',
  refused: 'Der Zugang dieser Anzeige gilt nicht. Die Administration kann ihn erneuern.',
  digits: ['null', 'eins', 'zwei', 'drei', 'vier', 'fünf', 'sechs', 'sieben', 'acht', 'neun'],
  announce: (number, desk) =>
    `Nummer ${number}, ${desk === null ? 'bitte kommen Sie nach vorn' : sign(desk) ? `bitte zu Schalter ${desk}` : `bitte hierhin: ${desk}`}.`,
  soundOff: 'Ton einschalten',
  settings: 'Einstellungen',
  setup: {
    title: 'Diese Anzeige einrichten',
    about: 'Was Sie hier einstellen, bleibt auf diesem Gerät.',
    key: 'API-Schlüssel mit Leserecht',
    keyHint: 'Die Administration legt ihn für diese Anzeige an. Er beginnt mit nsk_. Ohne Schlüssel gilt Ihre eigene Anmeldung.',
    signedIn: (name) => `Angemeldet als ${name}.`,
    signIn: 'Anmelden',
    look: 'Warteschlangen anzeigen',
    queues: 'Warteschlangen auf dieser Anzeige',
    noQueues: 'Mit diesem Zugang ist keine Warteschlange zu sehen.',
    pickQueue: 'Wählen Sie mindestens eine Warteschlange.',
    languages: 'Sprachen der Anzeige und der Ansage',
    pickLanguage: 'Wählen Sie mindestens eine Sprache.',
    order: 'Die zuerst gewählte steht an erster Stelle.',
    speech: 'Aufrufe nach dem Gong ansagen',
    voiceHere: 'Stimme auf diesem Gerät',
    voiceRemote: 'Stimme, die das Internet braucht',
    voiceNone: 'keine Stimme auf diesem Gerät: nur Gong',
    start: 'Mit Ton starten',
    startHint: 'Browser erlauben Ton erst nach einem Knopfdruck: Beim Start sollten Sie den Gong hören.',
    wall: 'Für eine Anzeige, die von selbst startet, öffnen Sie Chromium mit --autoplay-policy=no-user-gesture-required und --kiosk.',
  },
} satisfies typeof en;

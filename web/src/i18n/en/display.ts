import { sign } from '../../display/speech';
import { plural } from '../index.svelte';

const p = plural('en');

export default {
  nowServing: 'Now serving',
  next: 'Next',
  desk: 'Desk',
  waiting: (n: number) => `${n} ${p(n, 'person waits', 'people wait')}`,
  idle: 'Please wait until your number is called.',
  closed: 'Closed',
  paused: 'On a break',
  noOne: 'Nobody waits.',
  queueGone: 'This queue is not there any more.',
  stale: (since: string) => `No connection since ${since}.`,
  blank: 'This display has no connection just now. Please listen for the staff.',
  refused: 'This display’s access is not valid. An administrator can renew it.',
  digits: ['zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine'],
  /** What is said aloud; the number comes spelled. */
  announce: (number: string, desk: string | null) =>
    `Number ${number}, ${desk === null ? 'please come forward' : sign(desk) ? `please go to desk ${desk}` : `please go to: ${desk}`}.`,
  soundOff: 'Turn on sound',
  settings: 'Settings',
  setup: {
    title: 'Set up this display',
    about: 'What you set here stays on this device.',
    key: 'API key of a viewer',
    keyHint: 'An administrator makes one for this display. It begins with nsk_. Leave it empty to use your own sign-in.',
    signedIn: (name: string) => `Signed in as ${name}.`,
    signIn: 'Sign in',
    look: 'Show the queues',
    queues: 'Queues on this display',
    noQueues: 'There is no queue that this access may see.',
    pickQueue: 'Choose at least one queue.',
    languages: 'Languages of the board and of the voice',
    pickLanguage: 'Choose at least one language.',
    order: 'The first one you choose comes first.',
    speech: 'Say calls aloud after the chime',
    voiceHere: 'a voice on this device',
    voiceRemote: 'a voice that needs the internet',
    voiceNone: 'no voice on this device: chime only',
    start: 'Start with sound',
    startHint: 'Browsers allow sound only after a press: you should hear the chime when you start.',
    wall: 'For a wall that starts by itself, open Chromium with --autoplay-policy=no-user-gesture-required and --kiosk.',
  },
};

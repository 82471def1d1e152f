import { sign } from '../../display/speech';
import type en from '../en/display';
import { plural } from '../index.svelte';

const p = plural('es');

export default {
  nowServing: 'Turno actual',
  next: 'Siguientes',
  desk: 'Mostrador',
  waiting: (n) => `${n} ${p(n, 'persona espera', 'personas esperan')}`,
  idle: 'Por favor, espere hasta que llamen a su número.',
  closed: 'Cerrado',
  paused: 'En pausa',
  noOne: 'No espera nadie.',
  queueGone: 'Esta cola ya no existe.',
  stale: (since) => `Sin conexión desde las ${since}.`,
  blank: 'Esta pantalla no tiene conexión en este momento. Por favor, esté atento a las indicaciones del personal.',
  refused: 'El acceso de esta pantalla no es válido. Un administrador puede renovarlo.',
  digits: ['cero', 'uno', 'dos', 'tres', 'cuatro', 'cinco', 'seis', 'siete', 'ocho', 'nueve'],
  announce: (number, desk) =>
    `Número ${number}, ${desk === null ? 'por favor, acérquese' : sign(desk) ? `por favor, pase al mostrador ${desk}` : `por favor, diríjase a: ${desk}`}.`,
  soundOff: 'Activar el sonido',
  settings: 'Ajustes',
  setup: {
    title: 'Configurar esta pantalla',
    about: 'Lo que ajuste aquí se guarda en este dispositivo.',
    key: 'Clave de API de lectura',
    keyHint: 'Un administrador la crea para esta pantalla. Empieza por nsk_. Sin clave se usa su propia sesión.',
    signedIn: (name) => `Sesión iniciada como ${name}.`,
    signIn: 'Iniciar sesión',
    look: 'Mostrar las colas',
    queues: 'Colas en esta pantalla',
    noQueues: 'Este acceso no permite ver ninguna cola.',
    pickQueue: 'Elija al menos una cola.',
    languages: 'Idiomas de la pantalla y de la voz',
    pickLanguage: 'Elija al menos un idioma.',
    order: 'El primero que elija aparece primero.',
    speech: 'Anunciar las llamadas en voz alta después del aviso sonoro',
    voiceHere: 'voz en este dispositivo',
    voiceRemote: 'voz que necesita internet',
    voiceNone: 'ninguna voz en este dispositivo: solo aviso sonoro',
    start: 'Empezar con sonido',
    startHint: 'Los navegadores solo permiten sonido después de una pulsación: al empezar debería oír el aviso.',
    wall: 'Para una pantalla que arranca sola, abra Chromium con --autoplay-policy=no-user-gesture-required y --kiosk.',
  },
} satisfies typeof en;

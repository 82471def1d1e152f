import { sign } from '../../display/speech';
import type en from '../en/display';
import { plural } from '../index.svelte';

const p = plural('pt');

export default {
  nowServing: 'Em atendimento',
  next: 'A seguir',
  desk: 'Balcão',
  waiting: (n) => `${n} ${p(n, 'pessoa aguarda', 'pessoas aguardam')}`,
  idle: 'Por favor, aguarde até que a sua senha seja chamada.',
  closed: 'Fechado',
  paused: 'Em pausa',
  noOne: 'Ninguém aguarda.',
  queueGone: 'Esta fila já não existe.',
  stale: (since) => `Sem conexão desde ${since}.`,
  blank: 'Este painel está sem conexão neste momento. Por favor, siga as indicações da equipe.',
  refused: 'O acesso deste painel não é válido. Um administrador pode renová-lo.',
  digits: ['zero', 'um', 'dois', 'três', 'quatro', 'cinco', 'seis', 'sete', 'oito', 'nove'],
  announce: (number, desk) =>
    `Senha ${number}, ${desk === null ? 'por favor, aproxime-se' : sign(desk) ? `por favor, dirija-se ao balcão ${desk}` : `por favor, dirija-se a: ${desk}`}.`,
  soundOff: 'Ativar o som',
  settings: 'Configurações',
  setup: {
    title: 'Configurar este painel',
    about: 'O que definir aqui fica guardado neste dispositivo.',
    key: 'Chave de API de leitura',
    keyHint: 'Um administrador cria a chave para este painel. Ela começa por nsk_. Sem chave, vale o seu próprio acesso.',
    signedIn: (name) => `Sessão iniciada como ${name}.`,
    signIn: 'Entrar',
    look: 'Mostrar as filas',
    queues: 'Filas neste painel',
    noQueues: 'Este acesso não permite ver nenhuma fila.',
    pickQueue: 'Escolha pelo menos uma fila.',
    languages: 'Idiomas do painel e da voz',
    pickLanguage: 'Escolha pelo menos um idioma.',
    order: 'O primeiro que escolher aparece primeiro.',
    speech: 'Anunciar as chamadas em voz alta depois do sinal sonoro',
    voiceHere: 'voz neste dispositivo',
    voiceRemote: 'voz que precisa da internet',
    voiceNone: 'nenhuma voz neste dispositivo: apenas sinal sonoro',
    start: 'Iniciar com som',
    startHint: 'Os navegadores só permitem som depois de um toque: ao iniciar, deverá ouvir o sinal sonoro.',
    wall: 'Para um painel que inicia sozinho, abra o Chromium com --autoplay-policy=no-user-gesture-required e --kiosk.',
  },
} satisfies typeof en;

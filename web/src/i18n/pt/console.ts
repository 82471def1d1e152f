import type en from '../en/console';

export default {
  title: 'console',
} satisfies typeof en;

import type en from '../en/supervise';

export default {
  title: 'supervise',
} satisfies typeof en;

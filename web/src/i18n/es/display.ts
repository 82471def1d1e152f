import type en from '../en/display';

export default {
  title: 'display',
} satisfies typeof en;

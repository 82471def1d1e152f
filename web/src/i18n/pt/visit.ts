import type en from '../en/visit';

export default {
  title: 'visit',
} satisfies typeof en;

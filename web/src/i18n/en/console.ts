export default {
  title: 'console',
};

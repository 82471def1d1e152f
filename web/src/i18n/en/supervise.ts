export default {
  title: 'supervise',
};

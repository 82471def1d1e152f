export default {
  title: 'display',
};

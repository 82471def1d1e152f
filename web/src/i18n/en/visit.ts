export default {
  title: 'visit',
};

export { default } from '../en/supervise';

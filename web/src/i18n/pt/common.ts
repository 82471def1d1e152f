export { default } from '../en/common';

export { default } from '../en/forms';

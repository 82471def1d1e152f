import { mount } from 'svelte';

import App from './App.svelte';
import { language } from './i18n/index.svelte';
import './lib/program';
import { session } from './lib/session.svelte';
import './styles.css';

await Promise.all([language.load('common'), session.begin()]);
mount(App, { target: document.getElementById('app')! });

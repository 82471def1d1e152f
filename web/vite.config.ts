import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vite';

const node = process.env.NOWSERVING_URL ?? 'http://127.0.0.1:8080';

// The built files are part of the program: they go where gateway/page.go embeds
// them, and are committed.
export default defineConfig({
  plugins: [svelte()],
  build: {
    outDir: '../gateway/page',
    emptyOutDir: true,
    assetsInlineLimit: 0, // a data: URL would need a looser policy
    modulePreload: { polyfill: false },
    target: 'es2022',
  },
  server: { proxy: { '/api': { target: node, ws: true } } },
});

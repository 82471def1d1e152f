// The way in: sign-in, languages, what is not there.
import assert from 'node:assert/strict';

import { begin, mustBeAccessible, password, scene, shows, signIn, user } from './harness.mjs';

const { url, admin } = await begin();
const ada = await user(admin, 'Ada');

scene('a wrong password is told, the right one leads to the desk, and the keyboard is enough', async (s) => {
  const page = await s.open({ url, allow: [/status of 401/] });
  await mustBeAccessible(page, 'sign-in');
  await signIn(page, ada, 'wrong');
  await shows(page, 'E-mail or password is wrong.');
  await mustBeAccessible(page, 'sign-in that was refused');
  await page.getByLabel('E-mail').focus();
  await page.keyboard.press('Tab');
  await page.keyboard.type(password);
  await page.keyboard.press('Enter');
  await page.waitForURL('**/console');
  await page.getByRole('button', { name: 'Sign out' }).click();
  await page.waitForURL(`${url}/`);
  await page.reload();
  await page.getByRole('button', { name: 'Sign in', exact: true }).waitFor();
});

scene('the language is the browser’s, can be changed, and stays', async (s) => {
  const page = await s.open({ url, locale: 'de-AT' });
  const language = () => page.evaluate(() => document.documentElement.lang);
  await page.getByRole('combobox').waitFor();
  assert.equal(await language(), 'de');
  for (const name of ['Português', 'Español', 'English', 'Deutsch']) {
    await page.getByRole('combobox').selectOption({ label: name });
    await page.waitForFunction((n) => document.querySelector(`option[lang="${document.documentElement.lang}"]`)?.textContent === n, name);
  }
  await page.getByRole('combobox').selectOption({ label: 'Español' });
  await page.waitForFunction(() => document.documentElement.lang === 'es');
  await page.reload();
  await page.getByRole('combobox').waitFor();
  assert.equal(await language(), 'es');
});

scene('what is not there says so', async (s) => {
  const page = await s.open({ url, path: '/supervisor', as: ada });
  await shows(page, 'You may not do this.');
  await mustBeAccessible(page, 'a page for others');
  await page.goto(`${url}/checkin/Nowhere`);
  await shows(page, 'There is no such page.');
});

scene('the pages can be installed', async (s) => {
  const page = await s.open({ url });
  const devtools = await page.context().newCDPSession(page);
  const { installabilityErrors } = await devtools.send('Page.getInstallabilityErrors');
  // Chromium installs nothing from a window that forgets all.
  assert.deepEqual(installabilityErrors.map((e) => e.errorId).filter((id) => id !== 'in-incognito'), []);
});

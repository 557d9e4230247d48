// The picture of the README: a conversation with a real model, photographed.
//
//   tsumugi serve runs/quickstart/chat --port 8091 &
//   node tools/browser/picture.mjs http://127.0.0.1:8091/ docs/images/chat.png

import { existsSync } from 'node:fs';

import { Browser } from './chromium.mjs';

const [url, to] = process.argv.slice(2);
const executable = [process.env.CHROMIUM, '/usr/bin/chromium'].find((path) => path && existsSync(path));
if (!url || !to || !executable) {
  console.error('usage: picture.mjs URL FILE.png; needs Chromium');
  process.exit(2);
}

const QUESTIONS = ['What news, my lord?', 'Shall we to the Tower, then?'];
const browser = new Browser(executable);
try {
  const page = await browser.newPage();
  await page.size(1000, 760);
  await page.open(url);
  await page.until(() => !document.getElementById('welcome').hidden);
  for (const [index, question] of QUESTIONS.entries()) {
    await page.click('#composer-text');
    await page.type(question);
    await page.press('Enter');
    await page.until((n) => document.querySelectorAll('.message.assistant').length > n, index);
    await page.until(() => document.getElementById('stop').hidden);
  }
  await page.screenshot(to);
} finally {
  await browser.close();
}

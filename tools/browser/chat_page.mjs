// The chat page in a real browser: node tools/browser/chat_page.mjs URL [--out FOLDER] [--any-model | --key KEY]
//
// --key: the server asks for this API key, and only that is checked.
// Without --any-model the server must be the example `mock_server` with a context of 128 (see run.sh), whose answers
// are known. With it, only what holds for every model is checked. Screenshots go to FOLDER. CHROMIUM names the browser.

import assert from 'node:assert/strict';
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

import { Browser } from './chromium.mjs';

const { values: options, positionals: [url] } = parseArgs({
  allowPositionals: true,
  options: { out: { type: 'string' }, key: { type: 'string' }, 'any-model': { type: 'boolean', default: false } },
});
const installed = ['chromium', 'chromium-browser', 'google-chrome'].map((name) => `/usr/bin/${name}`);
const executable = [process.env.CHROMIUM, ...installed].find((path) => path && existsSync(path));
if (!url || !executable) {
  const usage = 'usage: chat_page.mjs URL [--out FOLDER] [--any-model | --key KEY]';
  console.error(url ? 'no Chromium found: apt-get install chromium, or set CHROMIUM' : usage);
  process.exit(2);
}
if (options.out) mkdirSync(options.out, { recursive: true });

const browser = new Browser(executable);
const page = await browser.newPage();

const shot = (name) => options.out && page.screenshot(join(options.out, `${name}.png`));
const texts = (selector) =>
  page.evaluate((wanted) => [...document.querySelectorAll(wanted)].map((node) => node.textContent), selector);
const isWriting = () => !document.getElementById('stop').hidden;
const isIdle = () => document.getElementById('stop').hidden;
const answers = () => texts('.message.assistant .text');

async function say(text) {
  await page.click('#composer-text');
  await page.type(text);
  await page.press('Enter');
}

/** As on a first visit. */
async function startFresh() {
  await page.evaluate(() => document.getElementById('new-chat').click());
  await page.evaluate(() => localStorage.clear());
  await page.reload();
  await page.until(() => !document.getElementById('welcome').hidden);
}

async function sayAndWait(text) {
  const before = (await answers()).length;
  await say(text);
  await page.until((n) => document.querySelectorAll('.message.assistant').length > n, before);
  await page.until(isIdle);
}

/** Nothing is wider than the window, and every control that is shown can be hit with a finger. */
async function assertFits() {
  await new Promise((resolve) => setTimeout(resolve, 250)); // for the settings to have slid in
  const found = await page.evaluate(() => {
    const wide = [...document.querySelectorAll('body *')].filter(
      (node) => node.getBoundingClientRect().right > innerWidth + 1 && !node.closest('.hidden, .wide, .skip'),
    );
    const small = [...document.querySelectorAll('header button, #composer button')].filter((node) => {
      const box = node.getBoundingClientRect();
      return box.width > 0 && (box.width < 40 || box.height < 40);
    });
    return {
      scroll: document.documentElement.scrollWidth - innerWidth,
      wide: wide.map((node) => node.outerHTML.slice(0, 90)),
      small: small.map((node) => node.id),
    };
  });
  assert.deepEqual(found, { scroll: 0, wide: [], small: [] });
}

/** WCAG contrast of everything that shows text: at least 4.5. */
async function assertReadable() {
  const poor = await page.evaluate(() => {
    const canvas = Object.assign(document.createElement('canvas'), { width: 1, height: 1 });
    const context = canvas.getContext('2d', { willReadFrequently: true });
    const rgba = (color) => {
      context.clearRect(0, 0, 1, 1);
      context.fillStyle = color;
      context.fillRect(0, 0, 1, 1);
      return [...context.getImageData(0, 0, 1, 1).data];
    };
    const luminance = ([r, g, b]) => {
      const linear = [r, g, b].map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
      return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
    };
    const background = (node) => {
      for (let at = node; at; at = at.parentElement) {
        const color = rgba(getComputedStyle(at).backgroundColor);
        if (color[3] === 255) return color;
      }
      return [255, 255, 255, 255];
    };
    const poor = [];
    for (const node of document.querySelectorAll('body *')) {
      const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim());
      const box = node.getBoundingClientRect();
      if (!own || box.width < 2 || box.height < 2 || !node.checkVisibility()) continue;
      if (node.closest('.hidden, .skip, :disabled')) continue;
      const [a, b] = [luminance(rgba(getComputedStyle(node).color)), luminance(background(node))];
      const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
      if (contrast < 4.5) poor.push(`${contrast.toFixed(2)} ${node.outerHTML.slice(0, 90)}`);
    }
    return poor;
  });
  assert.deepEqual(poor, []);
}

const checks = [];
const check = (name, run, { anyModel = false, key = false } = {}) => checks.push({ name, run, anyModel, key });

function applies({ anyModel, key }) {
  if (options.key) return key;
  return options['any-model'] ? anyModel : !key && anyModel !== 'only';
}

check('a server that asks for a key gets it from the settings', async () => {
  await page.size(1200, 820);
  await page.open(url);
  await page.until(() => document.getElementById('settings').open);
  assert.equal(await page.evaluate(() => document.activeElement.id), 'api-key');
  await page.type('wrong');
  await page.press('Escape');
  await page.until(() => document.getElementById('settings').open);
  await shot('key');
  await page.evaluate(() => document.getElementById('api-key').select());
  await page.type(options.key);
  await page.click('#settings .primary');
  await page.until(() => !document.getElementById('welcome').hidden);
  await sayAndWait('Good morrow');
  assert.match((await answers())[0], /Good morrow/);
  await page.reload();
  await page.until(() => document.querySelectorAll('.message').length === 2);
  assert.equal(await page.evaluate(() => document.getElementById('settings').open), false);
}, { key: true });

check('the page opens, greets and is ready to type', async () => {
  await page.size(1200, 820);
  await page.scheme('light');
  await page.open(url);
  await page.until(() => !document.getElementById('welcome').hidden);
  assert.equal(await page.evaluate(() => document.activeElement.id), 'composer-text');
  assert.equal(await page.evaluate(() => document.getElementById('send').disabled), true);
  await assertFits();
  await assertReadable();
  await shot('01-welcome-light');
}, { anyModel: true });

check('a character is chosen, a message sent with Enter, the answer streams', async () => {
  await page.click('#characters .chip:nth-child(2)');
  assert.deepEqual(await texts('#characters .chip[aria-pressed=true]'), ['JULIET']);
  await say('Good morrow to thee');
  await page.until(() => (document.querySelector('.message.assistant .text')?.textContent.length ?? 0) > 3);
  const early = (await answers())[0];
  assert.ok(await page.evaluate(isWriting), 'it is still being written');
  await shot('02-streaming-light');
  await page.until(isIdle);
  const whole = (await answers())[0];
  assert.ok(whole.startsWith(early) && whole.length > early.length, 'it grew');
  assert.match(whole, /^You said: “Good morrow to thee” .* me do\?$/);
  assert.deepEqual(await texts('.message.assistant .speaker'), ['JULIET']);
  assert.match((await texts('.message.assistant .figures'))[0], /^\d+ tokens · [\d.]+ tokens\/s$/);
  assert.match(await page.evaluate(() => document.getElementById('announcer').textContent), /^JULIET: You said/);
  const { messages } = JSON.parse(page.requests.findLast((request) => request.body).body);
  assert.deepEqual(messages.map((message) => message.role), ['system', 'user']);
  assert.equal(messages[0].content, 'You are JULIET.');
});

check('any model answers a message', async () => {
  await sayAndWait('Good morrow to thee');
  assert.ok((await answers()).at(-1).length > 0);
  await shot('02-answer-light');
}, { anyModel: 'only' });

check('Shift+Enter makes a new line and does not send', async () => {
  const before = (await texts('.message')).length;
  await page.click('#composer-text');
  await page.type('one');
  await page.press('Enter', 8);
  await page.type('two');
  assert.equal(await page.evaluate(() => document.getElementById('composer-text').value), 'one\ntwo');
  assert.equal((await texts('.message')).length, before);
  await page.evaluate(() => {
    const input = document.getElementById('composer-text');
    input.value = '';
    input.dispatchEvent(new Event('input'));
  });
}, { anyModel: true });

check('stop ends an answer, keeps what is there, and the server stops too', async () => {
  await say('forever');
  await page.until(() => document.querySelector('.writing .text')?.textContent.length > 20);
  await page.click('#stop');
  await page.until(isIdle);
  const kept = (await answers()).at(-1);
  assert.ok(kept.length > 20, kept);
  assert.match((await texts('.message.assistant .figures')).at(-1), /stopped$/);
  await page.until(() => fetch('/health').then((response) => response.json()).then((health) => health.running === 0));
  assert.equal((await answers()).at(-1), kept);
});

check('Escape stops too, and regenerate answers again', async () => {
  await page.evaluate(() => {
    [...document.querySelectorAll('.details .link')].findLast((link) => link.textContent === 'Regenerate').click();
  });
  await page.until(() => document.querySelector('.writing .text')?.textContent.length > 5);
  await page.press('Escape');
  await page.until(isIdle);
  assert.equal((await texts('.message.user')).length, 2);
  assert.equal((await answers()).length, 2);
});

check('settings are changed with mouse and keyboard and reach the server', async () => {
  await page.click('#open-settings');
  await page.until(() => document.getElementById('settings').open);
  await shot('03-settings-light');
  await assertReadable();
  await page.evaluate(() => document.getElementById('temperature').focus());
  for (let i = 0; i < 4; i++) await page.press('ArrowRight');
  assert.deepEqual(await texts('#temperature-value'), ['1']);
  await page.evaluate(() => {
    for (const [id, value] of [['top_k', '40'], ['max_tokens', '30'], ['seed', '7'], ['user-name', 'ROMEO']]) {
      const input = document.getElementById(id);
      input.value = value;
      input.dispatchEvent(new Event('input', { bubbles: true }));
    }
  });
  await page.press('Escape');
  await page.until(() => !document.getElementById('settings').open);
  await sayAndWait('show me');
  const shown = (await answers()).at(-1);
  assert.match(shown, /temperature: 1\.0, top_k: Some\(40\), top_p: 0\.95, min_p: 0\.0, .*seed: 7/);
  assert.match(shown, /Some\(30\)/);
  const sent = JSON.parse(page.requests.findLast((request) => request.body).body);
  assert.equal(sent.messages.at(-1).name, 'ROMEO');
});

check('text is only ever text', async () => {
  await sayAndWait('odd <img src=x onerror=alert(1)>');
  const shown = '<b>bold</b> <script>alert(1)</script> &amp; 日本語 👩‍👩‍👧 שלום\n\nA new paragraph:\n    indented, and ';
  assert.equal((await answers()).at(-1).slice(0, shown.length), shown);
  assert.equal(await page.evaluate(() => document.querySelectorAll('#log b, #log script, #log img').length), 0);
  await shot('04-odd-text-light');
});

check('a reload keeps the conversation and the settings', async () => {
  const before = await texts('.message .text');
  await page.reload();
  await page.until(() => document.querySelectorAll('.message').length > 0);
  assert.deepEqual(await texts('.message .text'), before);
  await page.click('#open-settings');
  assert.deepEqual(await texts('#temperature-value'), options['any-model'] ? await texts('#temperature-value') : ['1']);
  await page.press('Escape');
}, { anyModel: true });

check('a reload in the middle of an answer keeps what was there', async () => {
  await say('forever');
  await page.until(() => document.querySelector('.writing .text')?.textContent.length > 20);
  await page.reload();
  await page.until(() => document.querySelectorAll('.message').length > 0);
  assert.match((await answers()).at(-1), /^on and on/);
  assert.match((await texts('.message.assistant .figures')).at(-1), /stopped$/);
});

check('a reload before the answer has begun keeps the question', async () => {
  const before = await texts('.message .text');
  await say('ponder this');
  await page.until(isWriting);
  await page.until(() => fetch('/health').then((response) => response.json()).then((health) => health.running === 1));
  await page.reload();
  await page.until(() => document.querySelectorAll('.message').length > 0);
  assert.deepEqual(await texts('.message .text'), [...before, 'ponder this']);
  await page.until(() => fetch('/health').then((response) => response.json()).then((health) => health.running === 0));
});

check('a new chat can be taken back', async () => {
  const before = await texts('.message .text');
  await page.click('#new-chat');
  assert.deepEqual(await texts('.message .text'), []);
  assert.equal(await page.evaluate(() => document.getElementById('welcome').hidden), false);
  await page.click('#notice-action');
  assert.deepEqual(await texts('.message .text'), before);
  await page.click('#new-chat');
}, { anyModel: true });

check('a conversation that outgrows the context drops its oldest turns and says so', async () => {
  await page.click('#open-settings');
  await page.click('#reset-settings');
  await page.press('Escape');
  for (let turn = 1; turn <= 5; turn++) await sayAndWait(`This is what I say in turn ${turn} of a long talk`);
  const notes = await texts('.note');
  assert.ok(notes.length > 0, 'there is a note');
  assert.match(notes[0], /^The oldest (turn|\d+ turns) no longer fit and (was|were) left out\.$/);
  assert.ok((await texts('.message.forgotten')).length >= 2);
  assert.deepEqual((await answers()).map((text) => text.endsWith('me do?')), Array(5).fill(true));
  const { messages } = JSON.parse(page.requests.findLast((request) => request.body).body);
  assert.deepEqual([messages[0].role, messages[1].role], ['system', 'user']);
  assert.ok(messages.length < 10, `${messages.length} messages were sent`);
  await page.evaluate(() => document.querySelector('.note').scrollIntoView({ block: 'center' }));
  await shot('05-overflow-light');
});

check('one message that is too long can be shortened', async () => {
  await page.click('#new-chat');
  await sayAndWait(`${'long '.repeat(150)}`);
  assert.match((await texts('.problem'))[0], /too long: the model holds 128 tokens/);
  await shot('06-too-long-light');
  await page.click('.problem .link');
  assert.equal(await page.evaluate(() => document.getElementById('composer-text').value), 'long '.repeat(150).trim());
  assert.deepEqual(await texts('.message'), []);
  await page.evaluate(() => {
    const input = document.getElementById('composer-text');
    input.value = '';
    input.dispatchEvent(new Event('input'));
  });
});

check('a failing model is told, and trying again is offered', async () => {
  await sayAndWait('fail');
  assert.match((await texts('.problem'))[0], /internal error: the mock was asked to.*Try again/);
  await sayAndWait('and now something else');
  assert.match((await answers()).at(-1), /something else/);
});

check('a model that does not converse continues text', async () => {
  await page.click('#new-chat');
  await page.click('#open-settings');
  await page.evaluate(() => {
    const select = document.getElementById('model');
    select.value = 'base-mock';
    select.dispatchEvent(new Event('change', { bubbles: true }));
  });
  assert.deepEqual(await texts('#system-suggestions .chip'), [], 'it has no characters');
  await page.press('Escape');
  await sayAndWait('Once upon a time');
  assert.match((await answers())[0], /Once upon a time/);
  assert.deepEqual(await texts('.message.assistant .speaker'), ['Continuation']);
  const sent = page.requests.findLast((request) => request.body);
  assert.match(sent.url, /\/v1\/completions$/);
});

check('everything is reached with the keyboard, in order', async () => {
  await startFresh();
  const reached = [];
  await page.evaluate(() => document.querySelector('.skip').focus());
  for (let i = 0; i < 40; i++) {
    const id = await page.evaluate(() => document.activeElement.id || document.activeElement.className);
    reached.push(id);
    if (id === 'composer-text') break;
    await page.press('Tab');
  }
  for (const id of ['skip', 'open-settings', 'composer-text']) assert.ok(reached.includes(id), `${id} in ${reached}`);
  const unnamed = await page.evaluate(() =>
    [...document.querySelectorAll('button, input, textarea, select')]
      .filter((node) => !(node.textContent.trim() || node.labels?.length || node.ariaLabel))
      .map((node) => node.outerHTML.slice(0, 80)));
  assert.deepEqual(unnamed, []);
}, { anyModel: true });

check('dark', async () => {
  await page.scheme('dark');
  await startFresh();
  await assertReadable();
  await shot('07-welcome-dark');
  await sayAndWait('What news from the city, cousin?');
  await sayAndWait('And the prince, what says he of the matter?');
  await assertReadable();
  await shot('08-chat-dark');
  await page.click('#open-settings');
  await assertReadable();
  await shot('09-settings-dark');
  await page.press('Escape');
}, { anyModel: true });

check('a phone', async () => {
  await page.size(390, 780, { phone: true, scale: 2 });
  await assertFits();
  await shot('10-phone-dark');
  await page.scheme('light');
  await shot('11-phone-light');
  await page.click('#open-settings');
  await assertFits();
  await shot('12-phone-settings');
  await page.press('Escape');
  await page.size(320, 568, { phone: true, scale: 2 });
  await assertFits();
  await page.click('#new-chat');
  await assertFits();
  await shot('13-small-phone-welcome');
}, { anyModel: true });

check('nothing was complained about, nothing came from outside', async () => {
  // Chromium logs every refused request; the page asked for these and told what they mean.
  const told = /status of (400|500) .*\/v1\/(chat\/)?completions$/;
  assert.deepEqual(page.complaints.filter((text) => !told.test(text)), []);
  const home = new URL(url).origin;
  const outside = page.requests.map((request) => request.url).filter((asked) => !asked.startsWith(home));
  assert.deepEqual(outside, []);
}, { anyModel: true });

let [passed, failed] = [0, 0];
for (const { name, run } of checks.filter(applies)) {
  try {
    await run();
    passed++;
    console.log(`ok    ${name}`);
  } catch (error) {
    failed++;
    console.log(`FAIL  ${name}\n${error.stack.replace(/^/gm, '      ')}`);
    await shot(`failed-${failed}`);
  }
}
await browser.close();
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);

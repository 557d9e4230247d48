// Drives a headless Chromium over its DevTools protocol through a pipe: no package needed beyond Chromium and Node.

import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const FLAGS = [
  '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync', '--disable-extensions', '--disable-default-apps', '--mute-audio',
  '--hide-scrollbars', '--force-color-profile=srgb', '--remote-debugging-pipe', 'about:blank',
];
const PATIENCE_MS = 20_000;

export class Browser {
  #process;
  #profile = mkdtempSync(join(tmpdir(), 'tsumugi-browser-'));
  #waiting = new Map();
  #listeners = [];
  #nextId = 1;
  #rest = '';

  constructor(executable) {
    const options = { stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'] };
    this.#process = spawn(executable, [`--user-data-dir=${this.#profile}`, ...FLAGS], options);
    this.#process.on('error', (error) => this.#fail(error));
    this.#process.on('exit', (code) => this.#fail(new Error(`Chromium ended with ${code}`)));
    this.#process.stdio[4].setEncoding('utf8').on('data', (text) => this.#receive(text));
  }

  #fail(error) {
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
  }

  #receive(text) {
    const messages = (this.#rest + text).split('\0');
    this.#rest = messages.pop();
    for (const message of messages.map((part) => JSON.parse(part))) {
      const waiting = this.#waiting.get(message.id);
      if (!waiting) {
        for (const listener of this.#listeners) listener(message);
        continue;
      }
      this.#waiting.delete(message.id);
      if (message.error) waiting.reject(new Error(message.error.message));
      else waiting.resolve(message.result);
    }
  }

  send(method, params = {}, sessionId = undefined) {
    const id = this.#nextId++;
    this.#process.stdio[3].write(`${JSON.stringify({ id, method, params, sessionId })}\0`);
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
    });
  }

  onEvent(listener) {
    this.#listeners.push(listener);
  }

  async newPage() {
    const { targetId } = await this.send('Target.createTarget', { url: 'about:blank' });
    const { sessionId } = await this.send('Target.attachToTarget', { targetId, flatten: true });
    const page = new Page(this, sessionId);
    for (const domain of ['Page', 'Runtime', 'Log', 'Network']) await page.send(`${domain}.enable`);
    return page;
  }

  async close() {
    const ended = new Promise((resolve) => this.#process.once('exit', resolve));
    await this.send('Browser.close').catch(() => {});
    await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, 3000))]);
    this.#process.kill('SIGKILL');
    rmSync(this.#profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  }
}

/** One tab. What goes wrong in it is collected in `complaints`. */
export class Page {
  complaints = [];
  requests = [];

  constructor(browser, sessionId) {
    this.browser = browser;
    this.sessionId = sessionId;
    browser.onEvent((event) => event.sessionId === sessionId && this.#note(event));
  }

  #note({ method, params }) {
    if (method === 'Runtime.exceptionThrown') {
      this.complaints.push(params.exceptionDetails.exception?.description ?? params.exceptionDetails.text);
    } else if (method === 'Runtime.consoleAPICalled' && ['error', 'warning', 'assert'].includes(params.type)) {
      this.complaints.push(params.args.map((argument) => argument.value ?? argument.description).join(' '));
    } else if (method === 'Log.entryAdded' && ['error', 'warning'].includes(params.entry.level)) {
      this.complaints.push(`${params.entry.text} ${params.entry.url ?? ''}`);
    } else if (method === 'Network.requestWillBeSent') {
      this.requests.push({ url: params.request.url, body: params.request.postData });
    }
  }

  send(method, params) {
    return this.browser.send(method, params, this.sessionId);
  }

  async open(url) {
    await this.send('Page.navigate', { url });
    await this.until(() => document.readyState === 'complete');
  }

  async reload() {
    await this.send('Page.reload');
    await new Promise((resolve) => setTimeout(resolve, 200));
    await this.until(() => document.readyState === 'complete');
  }

  /** Runs a function in the page and returns what it returns. */
  async evaluate(run, ...values) {
    const expression = `(${run})(...${JSON.stringify(values)})`;
    const answer = await this.send('Runtime.evaluate', { expression, awaitPromise: true, returnByValue: true });
    if (answer.exceptionDetails) {
      throw new Error(answer.exceptionDetails.exception?.description ?? answer.exceptionDetails.text);
    }
    return answer.result.value;
  }

  /** Waits until a function in the page returns something true, and returns it. */
  async until(run, ...values) {
    const end = Date.now() + PATIENCE_MS;
    while (Date.now() < end) {
      const value = await this.evaluate(run, ...values).catch((error) => {
        if (/context|navigat/i.test(error.message)) return false; // the page is being replaced
        throw error;
      });
      if (value) return value;
      await new Promise((resolve) => setTimeout(resolve, 40));
    }
    throw new Error(`did not become true within ${PATIENCE_MS} ms: ${run}`);
  }

  /** A real click, where the element is: it fails if something covers it. */
  async click(selector) {
    const at = await this.evaluate((wanted) => {
      const node = document.querySelector(wanted);
      node?.scrollIntoView({ block: 'nearest' });
      const box = node?.getBoundingClientRect();
      if (!box?.width) return null;
      const x = box.x + box.width / 2;
      const y = box.y + box.height / 2;
      const top = document.elementFromPoint(x, y);
      return { x, y, hit: node.contains(top), top: top?.outerHTML.slice(0, 80) };
    }, selector);
    if (!at) throw new Error(`${selector} is not on the page`);
    if (!at.hit) throw new Error(`${selector} is covered by ${at.top}`);
    for (const type of ['mousePressed', 'mouseReleased']) {
      await this.send('Input.dispatchMouseEvent', { type, x: at.x, y: at.y, button: 'left', clickCount: 1 });
    }
  }

  async type(text) {
    await this.send('Input.insertText', { text });
  }

  async press(key, modifiers = 0) {
    const codes = { Enter: 13, Escape: 27, Tab: 9, ArrowRight: 39, ArrowLeft: 37 };
    const text = key === 'Enter' ? '\r' : undefined;
    const common = { key, code: key, windowsVirtualKeyCode: codes[key], modifiers };
    await this.send('Input.dispatchKeyEvent', { type: text ? 'keyDown' : 'rawKeyDown', text, ...common });
    await this.send('Input.dispatchKeyEvent', { type: 'keyUp', ...common });
  }

  async size(width, height, { phone = false, scale = 1 } = {}) {
    await this.send('Emulation.setDeviceMetricsOverride', { width, height, deviceScaleFactor: scale, mobile: phone });
    await this.send('Emulation.setTouchEmulationEnabled', { enabled: phone });
  }

  async scheme(value) {
    await this.send('Emulation.setEmulatedMedia', { features: [{ name: 'prefers-color-scheme', value }] });
  }

  async screenshot(path) {
    await new Promise((resolve) => setTimeout(resolve, 250)); // for transitions to end
    const { data } = await this.send('Page.captureScreenshot', { format: 'png' });
    writeFileSync(path, Buffer.from(data, 'base64'));
  }
}

// The chat page: joins the conversation, the settings and the server.

import { answer, fetchInfo } from './api.js';
import { Settings } from './settings.js';
import { loadConversation, saveConversation } from './store.js';
import { drawLog, figures, leftOutText } from './view.js';

const element = (id) => document.getElementById(id);
const scroller = element('scroller');
const input = element('composer-text');

/** How often an answer that is being written is saved. */
const SAVE_EVERY_MS = 1000;
/** Nearer to the end than this the page scrolls along. */
const NEAR_END_PX = 96;

/** The settings have them all. */
const MAX_WELCOME_CHARACTERS = 14;

const settings = new Settings();
let conversation = loadConversation();
/** The controller of the answer that is being written. */
let writing = null;
let following = true;

// The conversation

function draw() {
  const last = drawLog(element('log'), conversation, { writing, actionsOf, problemActions });
  const empty = conversation.messages.length === 0;
  element('welcome').hidden = !empty || !settings.model;
  element('stop').hidden = !writing;
  element('send').hidden = Boolean(writing);
  element('log').setAttribute('aria-busy', String(Boolean(writing)));
  element('new-chat').disabled = empty;
  drawSend();
  drawGauge();
  if (empty) scroller.scrollTop = 0;
  else if (following) scrollToEnd();
  return last;
}

const drawSend = () => {
  element('send').disabled = input.value.trim() === '' || !settings.model;
};

function drawGauge() {
  const held = settings.model?.context_length;
  const used = Math.min(conversation.used, held ?? 0);
  element('gauge-text').textContent =
    held && used > 0 ? `${used.toLocaleString('en')} of ${held.toLocaleString('en')} tokens used` : '';
}

function actionsOf(index) {
  if (writing) return [];
  const message = conversation.messages[index];
  const lastIndex = conversation.messages.length - 1;
  const actions = [];
  if (message.role === 'assistant' && message.content) actions.push(['Copy', () => copy(message.content)]);
  if (message.problem) return actions; // its box has the rest
  if (message.role === 'assistant' && index === lastIndex) actions.push(['Regenerate', regenerate]);
  if (message.role === 'user' && index >= lastIndex - 1) actions.push(['Edit', () => edit(index)]);
  if (message.role === 'user' && index === lastIndex) actions.push(['Try again', regenerate]);
  return actions;
}

function problemActions(index) {
  if (writing || index !== conversation.messages.length - 1) return [];
  const { code } = conversation.messages[index];
  if (code === 'context_length_exceeded') return [['Shorten it', () => edit(index - 1)]];
  const again = ['Try again', regenerate];
  if (code === 'invalid_api_key') return [['Enter the API key', () => settings.open({ needsKey: true })], again];
  return [again];
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    announce('Copied');
    showNotice('Copied.');
  } catch {
    showNotice('The browser did not allow copying.');
  }
}

function regenerate() {
  const last = conversation.messages.at(-1);
  if (last?.role === 'assistant') conversation.messages.pop();
  write(last?.leftOut);
}

function edit(index) {
  input.value = conversation.messages[index].content;
  conversation.messages.length = index;
  conversation.left = Math.min(conversation.left, index);
  saveConversation(conversation);
  draw();
  resizeInput();
  input.focus();
}

function send(text) {
  const content = text.trim();
  if (!content || writing || !settings.model) return;
  hideNotice();
  // An answer that never came leaves its question without one: the two questions become one turn each.
  conversation.messages = conversation.messages.filter((message) => message.role === 'user' || message.content);
  conversation.messages.push({ role: 'user', content, speaker: settings.userName || 'You', name: settings.userName });
  following = true;
  write();
}

// An answer

/** The request whose oldest message is `start`. */
function bodyFrom(start) {
  const kept = conversation.messages.slice(start, -1); // the last is the answer that is being written
  const shared = { model: settings.model.id, ...settings.sampling() };
  if (!settings.model.chat) {
    const prompt = kept.map((message) => message.content).join('');
    return { max_tokens: settings.model.context_length, ...shared, prompt };
  }
  const messages = kept.map(({ role, content, name }) => (name ? { role, content, name } : { role, content }));
  if (settings.system.trim()) messages.unshift({ role: 'system', content: settings.system.trim() });
  return { ...shared, messages };
}

/** The user messages that may come first, oldest first; the last is the one to answer. */
function turnStarts() {
  const starts = [];
  conversation.messages.forEach((message, index) => {
    if (message.role === 'user' && index >= conversation.left) starts.push(index);
  });
  return starts;
}

/** A turn is dropped before an answer would be squeezed into less than this. */
function fairRoom() {
  const quarter = Math.max(1, Math.floor(settings.model.context_length / 4));
  return Math.min(quarter, settings.number('max_tokens') ?? quarter);
}

/** Has the last message answered, and shows the answer as it comes. `leftOut` turns were dropped for it before. */
async function write(leftOut = 0) {
  if (writing || conversation.messages.at(-1)?.role !== 'user' || !settings.model) return;
  const starts = turnStarts();
  const message = { role: 'assistant', content: '', speaker: settings.speaker, tokens: 0, seconds: 0, leftOut };
  conversation.messages.push(message);
  const controller = new AbortController();
  writing = controller;
  // A conversation that is replaced meanwhile must not be written over.
  const own = conversation;
  const shown = { ...draw(), savedAt: Date.now() };
  announce(`${message.speaker} is answering`);
  try {
    const pieces = answer({
      path: settings.model.chat ? '/v1/chat/completions' : '/v1/completions',
      bodyFrom, turnStarts: starts, fairRoom: fairRoom(), apiKey: settings.apiKey, signal: controller.signal,
    });
    for await (const piece of pieces) take(piece, message, own, shown);
  } catch (error) {
    fail(error, message, controller.signal);
  }
  finish(message, own, controller);
}

/** One piece of the answer. `shown` holds the nodes of the message on the page. */
function take(piece, message, own, shown) {
  if (piece.left !== undefined) {
    own.left = piece.left;
    if (piece.turns > 0) {
      message.leftOut += piece.turns;
      announce(leftOutText(piece.turns));
      Object.assign(shown, draw());
    }
  } else if (piece.text !== undefined) {
    const now = performance.now();
    shown.start ??= now;
    message.content += piece.text;
    message.tokens += 1; // a piece is a token or a little more, until the end tells
    message.seconds = (now - shown.start) / 1000;
    shown.text.append(piece.text);
    shown.told.textContent = figures({ ...message, seconds: message.tokens > 4 ? message.seconds : 0 });
    if (following) scrollToEnd();
    if (Date.now() - shown.savedAt > SAVE_EVERY_MS) {
      shown.savedAt = Date.now();
      saveConversation(own);
    }
  } else {
    message.finish = piece.finish ?? 'stop';
    message.tokens = piece.usage?.completion_tokens ?? message.tokens;
    message.seconds = piece.timings?.completion_seconds ?? message.seconds;
    own.used = piece.usage?.total_tokens ?? own.used;
  }
}

function fail(error, message, signal) {
  if (signal.aborted) {
    message.finish = 'stopped';
    return;
  }
  message.finish = 'failed';
  message.code = error.code ?? null;
  if (error.code === 'context_length_exceeded') {
    const held = settings.model.context_length.toLocaleString('en');
    message.problem = `Your message is too long: the model holds ${held} tokens, its answer counted.`;
  } else {
    message.problem = error.message;
  }
}

/** Takes a message out by identity: when the page closes, both `settle` and `finish` want the same one gone. */
function remove(message, own) {
  own.messages = own.messages.filter((other) => other !== message);
}

function finish(message, own, controller) {
  if (writing === controller) writing = null;
  if (message.finish === 'stopped' && !message.content) remove(message, own);
  if (own !== conversation) return;
  saveConversation(own);
  draw();
  announce(message.problem ?? `${message.speaker}: ${message.content}`);
}

// The page around it

function announce(text) {
  element('announcer').textContent = text;
}

function showNotice(text, label = '', run = null) {
  element('notice-text').textContent = text;
  element('notice-action').hidden = !run;
  element('notice-action').textContent = label;
  element('notice-action').onclick = run && (() => { hideNotice(); run(); });
  element('notice').hidden = false;
}

function hideNotice() {
  element('notice').hidden = true;
}

function stop() {
  writing?.abort();
}

function newChat() {
  const before = conversation;
  stop();
  conversation = { messages: [], left: 0, used: 0 };
  writing = null;
  saveConversation(conversation);
  draw();
  showNotice('A new chat has begun.', 'Bring the last one back', () => {
    conversation = before;
    saveConversation(conversation);
    draw();
    input.focus();
  });
  input.focus();
}

const atEnd = () => scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < NEAR_END_PX;

function scrollToEnd() {
  scroller.scrollTop = scroller.scrollHeight;
  element('to-end').hidden = true;
}

function resizeInput() {
  input.style.height = 'auto';
  input.style.height = `${input.scrollHeight}px`;
  drawSend();
}

function drawWelcome() {
  const { model, info } = settings;
  element('model-name').textContent = model?.id ?? '';
  if (!model) return;
  const characters = model.chat ? settings.characterChips().slice(0, MAX_WELCOME_CHARACTERS) : [];
  element('characters').replaceChildren(...characters);
  element('characters').hidden = characters.length === 0;
  const openings = info.opening_prompts.map((text) => {
    const button = document.createElement('button');
    button.type = 'button';
    button.className = 'opening';
    button.textContent = text;
    button.addEventListener('click', () => { send(text); input.focus(); });
    return button;
  });
  element('openings').replaceChildren(...openings);
  element('openings').hidden = openings.length === 0;
  const [title, text] = welcomeWords(model, characters.length > 0, openings.length > 0);
  element('welcome-title').textContent = title;
  element('welcome-text').textContent = text;
  const named = model.chat && settings.speaker !== 'Assistant';
  element('talking-to').hidden = !named;
  element('gauge-hint').hidden = named;
  element('talking-to').textContent = `Talking to ${settings.speaker}`;
  input.placeholder = model.chat ? `Write to ${named ? settings.speaker : 'the model'}` : 'Begin a text';
  settings.show();
}

function welcomeWords(model, hasCharacters, hasOpenings) {
  if (!model.chat) return ['Begin a text', 'This model has not been taught to converse: it continues what you write.'];
  const begin = hasOpenings ? ' Begin with a line of your own or one of these.' : ' Write the first line below.';
  if (hasCharacters) return ['Who shall answer you?', `Choose a character.${begin}`];
  return ['What would you like to say?', `It stays on this machine.${begin}`];
}

async function connect() {
  try {
    settings.info = await fetchInfo(settings.apiKey);
    hideNotice();
  } catch (error) {
    if (error.code === 'invalid_api_key') settings.open({ needsKey: true });
    showNotice(error.message, 'Try again', connect);
  }
  drawWelcome();
  draw();
}

function listen() {
  element('composer').addEventListener('submit', (event) => {
    event.preventDefault();
    if (writing || !settings.model || !input.value.trim()) return;
    const text = input.value;
    input.value = '';
    resizeInput();
    send(text);
    input.focus();
  });
  input.addEventListener('keydown', (event) => {
    // While an input method composes, Enter accepts its candidate.
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing || event.keyCode === 229) return;
    event.preventDefault();
    element('composer').requestSubmit();
  });
  input.addEventListener('input', resizeInput);
  element('stop').addEventListener('click', () => { stop(); input.focus(); });
  document.addEventListener('keydown', (event) => {
    if (event.key === 'Escape' && !element('settings').open) stop();
  });
  element('new-chat').addEventListener('click', newChat);
  element('open-settings').addEventListener('click', () => settings.open());
  element('talking-to').addEventListener('click', () => settings.open());
  element('settings').addEventListener('click', (event) => {
    if (event.target === element('settings')) element('settings').close(); // the backdrop
  });
  element('settings').addEventListener('close', () => { if (!settings.model) connect(); });
  element('to-end').addEventListener('click', () => { following = true; scrollToEnd(); });
  scroller.addEventListener('scroll', () => {
    following = atEnd();
    element('to-end').hidden = following || conversation.messages.length === 0;
  }, { passive: true });
  new ResizeObserver(() => { if (following && conversation.messages.length > 0) scrollToEnd(); }).observe(scroller);
  addEventListener('pagehide', () => {
    stop();
    settle();
    saveConversation(conversation);
  });
  settings.onChange = () => { drawWelcome(); drawGauge(); };
}

/** What was being written when the page was closed has ended. */
function settle() {
  const last = conversation.messages.at(-1);
  if (last?.role !== 'assistant' || last.finish) return;
  last.finish = 'stopped';
  if (!last.content) remove(last, conversation);
}

settle();
listen();
connect();

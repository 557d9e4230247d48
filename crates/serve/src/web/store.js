// What the page remembers: the conversation and the settings, in localStorage. All of it can be missing, old or
// damaged, and then the page starts afresh.

const CONVERSATION = 'tsumugi.conversation.1';
const SETTINGS = 'tsumugi.settings.1';
const API_KEY = 'tsumugi.api-key';

function read(storage, key) {
  try {
    return JSON.parse(storage.getItem(key));
  } catch {
    return null;
  }
}

function write(storage, key, value) {
  try {
    storage.setItem(key, JSON.stringify(value));
  } catch {
    // Full, or not allowed: the conversation lives as long as the page.
  }
}

/**
 * A conversation: `messages` in order, `left` of which (the oldest) no longer fit into the model's context.
 * A message: `role` user or assistant, `content`, `speaker` (the name shown), and for answers what is known of them:
 * `finish` (stop, length, stopped, failed), `tokens`, `seconds`, `leftOut` (turns that were dropped for it).
 */
export function loadConversation() {
  const found = read(localStorage, CONVERSATION);
  const messages = Array.isArray(found?.messages) ? found.messages.filter(isMessage) : [];
  const left = Number.isInteger(found?.left) ? Math.min(Math.max(found.left, 0), messages.length) : 0;
  return { messages, left, used: Number.isInteger(found?.used) ? found.used : 0 };
}

function isMessage(message) {
  return ['user', 'assistant'].includes(message?.role) && typeof message.content === 'string';
}

export const saveConversation = (conversation) => write(localStorage, CONVERSATION, conversation);

/** Only what the user changed: what was left alone follows the server's defaults. */
export function loadSettings() {
  const found = read(localStorage, SETTINGS);
  return found && typeof found === 'object' && !Array.isArray(found) ? found : {};
}

export const saveSettings = (settings) => write(localStorage, SETTINGS, settings);

/** A secret, so it goes when the tab closes. */
export function loadApiKey() {
  const found = read(sessionStorage, API_KEY);
  return typeof found === 'string' ? found : '';
}

export const saveApiKey = (key) => write(sessionStorage, API_KEY, key);

// The conversation on the page. Text only ever becomes text nodes, never markup.

function make(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

function action(label, run) {
  const button = make('button', 'link', label);
  button.type = 'button';
  button.addEventListener('click', run);
  return button;
}

const ENDINGS = { length: 'cut off at the limit', stopped: 'stopped', failed: 'broken off' };

/** Tokens and speed, as far as known. */
export function figures(message) {
  const parts = [];
  if (message.tokens > 0) {
    parts.push(`${message.tokens} ${message.tokens === 1 ? 'token' : 'tokens'}`);
    if (message.seconds > 0) parts.push(`${rate(message.tokens / message.seconds)} tokens/s`);
  }
  if (ENDINGS[message.finish]) parts.push(ENDINGS[message.finish]);
  return parts.join(' · ');
}

const rate = (value) => (value < 10 ? value.toFixed(1) : Math.round(value).toLocaleString('en'));

/** What was left out for an answer, in words. */
export function leftOutText(turns) {
  return turns === 1
    ? 'The oldest turn no longer fit and was left out.'
    : `The oldest ${turns} turns no longer fit and were left out.`;
}

/**
 * One message. `actions` are `[label, run]`. Returns the element, and for a message that is being written its text
 * node and figures.
 */
function messageElement(message, { forgotten, actions }) {
  const article = make('article', `message ${message.role}`);
  article.classList.toggle('forgotten', forgotten);
  article.append(make('div', 'speaker', message.speaker || (message.role === 'user' ? 'You' : 'Assistant')));
  const text = make('div', 'text', message.content);
  text.dir = 'auto';
  if (!message.content && message.finish === 'stop') text.textContent = '(no words)';
  if (text.textContent || !message.finish) article.append(text);
  const details = make('div', 'details');
  const told = make('span', 'figures', message.role === 'assistant' && !forgotten ? figures(message) : '');
  details.append(told, ...actions.map(([label, run]) => action(label, run)));
  if (message.role === 'assistant' || actions.length > 0) article.append(details);
  return { article, text, told };
}

/** Redraws the log. `actionsOf(index)` and `problemActions` come from the page. */
export function drawLog(log, conversation, { writing, actionsOf, problemActions }) {
  const nodes = [];
  let last = null;
  conversation.messages.forEach((message, index) => {
    if (message.leftOut > 0) nodes.push(make('p', 'note', leftOutText(message.leftOut)));
    const isWriting = writing && index === conversation.messages.length - 1;
    const actions = isWriting ? [] : actionsOf(index);
    last = messageElement(message, { forgotten: index < conversation.left, actions });
    last.article.classList.toggle('writing', isWriting);
    // An answer that never came is only its problem.
    if (message.content || !message.problem) nodes.push(last.article);
    if (message.problem) nodes.push(problemElement(message, problemActions(index)));
  });
  log.replaceChildren(...nodes);
  return last;
}

function problemElement(message, actions) {
  const box = make('div', 'problem');
  box.append(make('span', '', message.problem), ...actions.map(([label, run]) => action(label, run)));
  return box;
}

// Talking with the server: its information, and answers as they are made.

/** An error in the API's shape, or none at all (`code` is then `unreachable`). */
export class ApiError extends Error {
  constructor(message, code, status) {
    super(message);
    this.code = code;
    this.status = status;
  }
}

async function request(path, options, apiKey) {
  const headers = { ...options.headers };
  if (apiKey) headers.Authorization = `Bearer ${apiKey}`;
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new ApiError('The server does not answer. Is it still running?', 'unreachable', 0);
  }
  if (response.ok) return response;
  const body = await response.json().catch(() => null);
  const said = body?.error;
  throw new ApiError(said?.message ?? `The server answered ${response.status}.`, said?.code ?? null, response.status);
}

export async function fetchInfo(apiKey) {
  return (await request('/tsumugi/info', {}, apiKey)).json();
}

/**
 * Streams one answer. Yields `{ text }` for more of it and at the end `{ finish, usage, timings }`.
 * `signal` breaks it off with an AbortError.
 */
async function* stream(path, body, apiKey, signal) {
  const options = {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ ...body, stream: true, stream_options: { include_usage: true } }),
    signal,
  };
  const response = await request(path, options, apiKey);
  const end = { finish: null, usage: null, timings: null };
  for await (const data of events(response.body)) {
    if (data === '[DONE]') {
      yield end;
      return;
    }
    const chunk = JSON.parse(data);
    if (chunk.error) throw new ApiError(chunk.error.message, chunk.error.code, 200);
    const choice = chunk.choices[0];
    const text = choice?.delta?.content ?? choice?.text;
    if (text) yield { text };
    end.finish = choice?.finish_reason ?? end.finish;
    end.usage = chunk.usage ?? end.usage;
    end.timings = chunk.timings ?? end.timings;
  }
  throw new ApiError('The connection broke before the answer ended.', 'unreachable', 0);
}

/** The data of server-sent events; ours are one line each. */
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  try {
    for (;;) {
      let piece;
      try {
        piece = await reader.read();
      } catch (error) {
        if (error.name === 'AbortError') throw error;
        return;
      }
      if (piece.done) return;
      const lines = (rest + piece.value).split('\n');
      rest = lines.pop();
      for (const line of lines) if (line.startsWith('data: ')) yield line.slice(6);
    }
  } finally {
    reader.releaseLock();
  }
}

/**
 * Streams the answer to the last message, leaving out the oldest whole turns that do not fit.
 *
 * `turnStarts` are the indices of the user messages that may be the first to be sent, oldest first; the last is the
 * message to answer. The server says `context_length_exceeded` when less than a fair answer's room is left, and then
 * one more turn goes. Only when nothing but the last message is left, any room will do.
 * Yields `{ left }` (the first index sent) when the server has accepted it, then what `stream` yields.
 */
export async function* answer({ path, bodyFrom, turnStarts, fairRoom, apiKey, signal }) {
  for (let turn = 0; turn < turnStarts.length; turn++) {
    const isLast = turn === turnStarts.length - 1;
    const body = { ...bodyFrom(turnStarts[turn]), minimum_room: isLast ? 1 : fairRoom };
    try {
      const pieces = stream(path, body, apiKey, signal);
      const first = await pieces.next();
      yield { left: turnStarts[turn], turns: turn };
      yield first.value;
      yield* pieces;
      return;
    } catch (error) {
      if (error.code !== 'context_length_exceeded' || isLast) throw error;
    }
  }
}

// The settings: how to sample, who talks, and the dialog that shows them.

import { loadApiKey, loadSettings, saveApiKey, saveSettings } from './store.js';

/** `off` is the value that means "not used", which the dialog says instead of the number. */
const SLIDERS = [
  {
    key: 'temperature', label: 'Temperature', min: 0, max: 2, step: 0.05, usual: 0.8,
    hint: 'Higher is bolder; 0 always takes the likeliest.',
  },
  {
    key: 'top_p', label: 'Top-p', min: 0.05, max: 1, step: 0.01, usual: 0.95, off: 1,
    hint: 'Only the likeliest that together reach this share.',
  },
  {
    key: 'top_k', label: 'Top-k', min: 0, max: 200, step: 1, usual: 0, off: 0,
    hint: 'Only so many of the likeliest.',
  },
  {
    key: 'min_p', label: 'Min-p', min: 0, max: 0.5, step: 0.01, usual: 0, off: 0,
    hint: 'Only those at least this share as likely as the likeliest.',
  },
  {
    key: 'repetition_penalty', label: 'Repetition penalty', min: 1, max: 2, step: 0.05, usual: 1, off: 1,
    hint: 'Makes what has been said less likely.',
  },
];

const element = (id) => document.getElementById(id);

/** The server's defaults under what the user changed. */
export class Settings {
  #changed = loadSettings();
  #info = { models: [], sampling: {}, opening_prompts: [] };
  /** Called after every change. */
  onChange = () => {};

  constructor() {
    for (const slider of SLIDERS) {
      element('sampling').append(sliderRow(slider, (value) => this.#set(slider.key, value)));
    }
    for (const key of ['max_tokens', 'seed']) {
      element(key).addEventListener('input', () => this.#set(key, wholeNumber(element(key))));
    }
    element('system').addEventListener('input', () => this.setSystem(element('system').value));
    element('user-name').addEventListener('input', () => this.#set('user_name', element('user-name').value.trim()));
    element('model').addEventListener('change', () => {
      this.#set('model', element('model').value);
      this.#drawSuggestions();
    });
    element('api-key').value = loadApiKey();
    element('api-key').addEventListener('input', () => saveApiKey(element('api-key').value.trim()));
    element('reset-settings').addEventListener('click', () => {
      this.#changed = this.#changed.model ? { model: this.#changed.model } : {};
      this.#save();
    });
  }

  set info(info) {
    this.#info = info;
    const options = info.models.map((model) => {
      const option = document.createElement('option');
      option.value = option.textContent = model.id;
      return option;
    });
    element('model').replaceChildren(...options);
    element('model-field').hidden = info.models.length < 2;
    this.#drawSuggestions();
  }

  #drawSuggestions() {
    element('system-suggestions').replaceChildren(...this.characterChips());
    this.show();
  }

  get info() {
    return this.#info;
  }

  get apiKey() {
    return element('api-key').value.trim();
  }

  /** The model to talk with, or undefined before the server has told. */
  get model() {
    return this.#info.models.find((model) => model.id === this.#changed.model) ?? this.#info.models[0];
  }

  get #suggested() {
    return this.model?.suggested_system_messages ?? [];
  }

  /** A model of characters always has one: the first, until another is chosen. */
  get system() {
    const { system } = this.#changed;
    return typeof system === 'string' ? system : (this.#suggested[0] ?? '');
  }

  setSystem(text) {
    this.#set('system', text);
  }

  get userName() {
    const name = this.#changed.user_name;
    return typeof name === 'string' ? name : '';
  }

  /** What is shown over the answers. */
  get speaker() {
    if (this.model && !this.model.chat) return 'Continuation';
    return characterOf(this.system) ?? 'Assistant';
  }

  number(key) {
    const value = this.#changed[key];
    return typeof value === 'number' && Number.isFinite(value) ? value : null;
  }

  #sampled({ key, min, max, usual }) {
    const own = this.number(key);
    if (own !== null && own >= min && own <= max) return own;
    const served = this.#info.sampling[key];
    return typeof served === 'number' ? served : usual;
  }

  /** The fields of a request that say how to generate. */
  sampling() {
    const fields = Object.fromEntries(SLIDERS.map((slider) => [slider.key, this.#sampled(slider)]));
    for (const key of ['max_tokens', 'seed']) if (this.number(key) !== null) fields[key] = this.number(key);
    return fields;
  }

  /** Buttons that choose who answers. */
  characterChips() {
    return this.#suggested.map((system) => {
      const chip = document.createElement('button');
      chip.type = 'button';
      chip.className = 'chip';
      chip.textContent = characterOf(system) ?? system;
      chip.title = system;
      chip.dataset.system = system;
      chip.addEventListener('click', () => this.setSystem(system));
      return chip;
    });
  }

  #set(key, value) {
    if (value === null) delete this.#changed[key];
    else this.#changed[key] = value;
    this.#save();
  }

  #save() {
    saveSettings(this.#changed);
    this.show();
    this.onChange();
  }

  /** Brings every control to its value. */
  show() {
    for (const slider of SLIDERS) {
      const value = this.#sampled(slider);
      const input = element(slider.key);
      input.value = value;
      const text = value === slider.off ? 'off' : String(value);
      element(`${slider.key}-value`).textContent = text;
      input.setAttribute('aria-valuetext', text);
    }
    setUnlessTyping(element('max_tokens'), this.number('max_tokens') ?? '');
    setUnlessTyping(element('seed'), this.number('seed') ?? '');
    setUnlessTyping(element('system'), this.system);
    setUnlessTyping(element('user-name'), this.userName);
    if (this.model) element('model').value = this.model.id;
    for (const chip of document.querySelectorAll('.chip[data-system]')) {
      chip.setAttribute('aria-pressed', String(chip.dataset.system === this.system));
    }
  }

  open({ needsKey = false } = {}) {
    if (needsKey) element('key-field').hidden = false;
    this.show();
    element('settings').showModal();
    if (needsKey) element('api-key').focus();
  }
}

/** `You are ROMEO.` is ROMEO. */
export function characterOf(system) {
  return /^you are (.{1,40}?)[.!]?$/i.exec(system.trim())?.[1] ?? null;
}

function setUnlessTyping(input, value) {
  if (document.activeElement !== input || !input.closest('dialog[open]')) input.value = value;
}

function wholeNumber(input) {
  const value = input.valueAsNumber;
  return Number.isSafeInteger(value) && value >= Number(input.min) ? value : null;
}

function sliderRow({ key, label, min, max, step, hint }, onInput) {
  const row = document.createElement('div');
  row.className = 'slider';
  const name = document.createElement('label');
  name.htmlFor = key;
  const output = document.createElement('output');
  output.id = `${key}-value`;
  output.htmlFor = key;
  name.append(label, output);
  const input = document.createElement('input');
  Object.assign(input, { type: 'range', id: key, min, max, step });
  const about = document.createElement('p');
  about.className = 'hint';
  about.id = `${key}-hint`;
  about.textContent = hint;
  input.setAttribute('aria-describedby', about.id);
  input.addEventListener('input', () => onInput(input.valueAsNumber));
  row.append(name, input, about);
  return row;
}

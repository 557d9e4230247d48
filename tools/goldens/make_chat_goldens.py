#!/usr/bin/env python3
"""Chat templates as transformers renders them: crates/tokenizer/fixtures/goldens/chat_templates.json.

    .venv-peers/bin/python tools/goldens/make_chat_goldens.py

The templates are written here, in the forms that the families' published ones have, and one for each construct of Jinja that
these use. bench/peers/chat_templates/ compares the published ones themselves. What a template refuses is null.
"""

import json
import pathlib

from transformers.utils.chat_template_utils import _compile_jinja_template

OUT = pathlib.Path(__file__).resolve().parents[2] / "crates/tokenizer/fixtures/goldens/chat_templates.json"


def said(*pairs):
    return [{"role": role, "content": content} for role, content in pairs]


CONVERSATIONS = [
    said(("user", "Hi")),
    said(("user", " Why,\n sir? "), ("assistant", "  Because.\n"), ("user", "é 東京 \"q\" <b> {{ x }} \\")),
    said(("system", "Be  brief.\n"), ("user", "2+2"), ("assistant", "<think>\nadd\n</think>\n\n4"), ("user", "")),
    said(("system", "S"), ("user", "a"), ("assistant", "b")),
    said(("assistant", "first"), ("user", "a"), ("user", "b")),
]

FAMILIES = {
    "llama 2, mistral": """
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content'].strip() %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('user and assistant must alternate') }}
    {%- endif %}
    {%- if message['role'] == 'user' %}
        {%- if loop.first and system_message is defined %}
            {{- '[INST] <<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] + ' [/INST]' }}
        {%- else %}
            {{- '[INST] ' ~ message['content'] ~ ' [/INST]' }}
        {%- endif %}
    {%- else %}
        {{- ' ' + message['content'] | trim + eos_token }}
    {%- endif %}
{%- endfor %}
""",
    "llama 3": """
{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start|>' + message['role'] + '<|end|>\\n\\n'+ message['content'] | trim + '<|eot|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}{{ '<|start|>assistant<|end|>\\n\\n' }}{% endif %}""",
    "smollm, qwen 2": """
{%- if messages[0].role != 'system' %}{{ '<|im_start|>system\\nYou help.<|im_end|>\\n' }}{% endif %}
{% for message in messages %}
{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}
{%- endfor %}
{% if add_generation_prompt %}
{{ '<|im_start|>assistant\\n' }}
{%- endif %}
""",
    "qwen 3": """
{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and message.content is string and not (message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = message.content %}
    {%- if message.role == "assistant" %}
        {%- set reasoning_content = '' %}
        {%- if message.reasoning_content is string %}
            {%- set reasoning_content = message.reasoning_content %}
        {%- elif '</think>' in content %}
            {%- set reasoning_content = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query_index and (loop.last or (not loop.last and reasoning_content)) %}
            {{- '<|im_start|>' + message.role + '\\n<think>\\n' + reasoning_content.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\\n' + content }}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- else %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}
""",
    "gemma": """
{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}{% for message in messages %}{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}{{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}{% endfor %}{% if add_generation_prompt %}{{'<start_of_turn>model\\n'}}{% endif %}""",
    "gemma 3": """
{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- if messages[0]['content'] is string -%}
        {%- set first_user_prefix = messages[0]['content'] + '\\n\\n' -%}
    {%- else -%}
        {%- set first_user_prefix = messages[0]['content'][0]['text'] + '\\n\\n' -%}
    {%- endif -%}
    {%- set loop_messages = messages[1:] -%}
{%- else -%}
    {%- set first_user_prefix = "" -%}
    {%- set loop_messages = messages -%}
{%- endif -%}
{%- for message in loop_messages -%}
    {%- set role = "model" if message['role'] == 'assistant' else message['role'] -%}
    {{ '<start_of_turn>' + role + '\\n' + (first_user_prefix if loop.first else "") }}
    {%- if message['content'] is string -%}
        {{ message['content'] | trim }}
    {%- elif message['content'] is iterable -%}
        {%- for item in message['content'] -%}{{ item['text'] | trim }}{%- endfor -%}
    {%- else -%}
        {{ raise_exception("no such content") }}
    {%- endif -%}
    {{ '<end_of_turn>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{'<start_of_turn>model\\n'}}
{%- endif -%}
""",
    "phi 3": """
{% for message in messages %}{% if message['role'] in ['user', 'system'] and message['content'] %}{{'<|' + message['role'] + '|>\\n' + message['content'] + '<|end|>\\n'}}{% elif message['role'] == 'assistant' %}{{'<|assistant|>\\n' + message['content'] + '<|end|>\\n'}}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}""",
    "granite": """
{%- if messages[0]['role'] == 'system' %}
     {%- set system_message, loop_messages = messages[0]['content'], messages[1:] %}
{%- else %}
     {%- set system_message = "You are " + ("brief" if not tools else "a tool user") + "." %}
     {%- set loop_messages = messages %}
{%- endif %}
{{- '<|role|>system<|/role|>' + system_message + '<|end|>
' }}
{%- if documents is defined and documents %}{{- documents | tojson(indent=4) }}{%- endif %}
{%- for message in loop_messages %}
    {{- '<|role|>' + message['role'] + '<|/role|>' + message['content'] + '<|end|>
' }}
  {%- if loop.last and add_generation_prompt %}
    {{- '<|role|>assistant' }}
            {%- if controls %}{{- ' ' + controls | tojson()}}{%- endif %}
    {{- '<|/role|>' }}
  {%- endif %}
{%- endfor %}""",
    "smollm 3": """
{%- macro turn(role, end='<|im_end|>\\n') %}{{ '<|im_start|>' ~ role ~ '\\n' ~ caller() ~ end }}{% endmacro -%}
{%- set mode = namespace(text='/think') -%}
{%- if messages[0].role == 'system' and '/no_think' in messages[0].content -%}{%- set mode.text = '/no_think' -%}{%- endif -%}
{%- for message in messages -%}
    {%- if message.role == 'assistant' -%}
        {{- '<|im_start|>assistant\\n' -}}
        {% generation %}
        {%- if mode.text == '/think' -%}{{- message.content.lstrip('\\n') + '<|im_end|>\\n' -}}
        {%- else -%}{{- '<think>\\n\\n</think>\\n' + message.content + '<|im_end|>\\n' -}}{%- endif -%}
        {%- endgeneration %}
    {%- else -%}
        {%- call turn(message.role) -%}{{ message.content.replace('/no_think', '').rstrip() }}{%- endcall -%}
    {%- endif -%}
{%- endfor -%}
""",
    "falcon": """
{% for message in messages %}{% if not loop.first %}{{ '\\n' }}{% endif %}{% if message['role'] == 'system' %}{{ message['content'] }}{% elif message['role'] == 'user' %}{{ 'User: ' + message['content'].replace('\\r\\n', '\\n').replace('\\n\\n', '\\n') }}{% elif message['role'] == 'assistant' %}{{ 'Falcon: ' + message['content'] }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '\\n' + 'Falcon:' }}{% endif %}""",
}

CONSTRUCTS = {
    "blocks on lines of their own": "a\n  {% if true %}\n  b\n  {% endif %}\n  {# none #}\nc {{ 1 }}\n\n{% for m in messages %}\n- {{ m.role }}\n{% endfor %}\n\n",
    "a plus keeps white space": "a\n  {%+ if true %}b{% endif +%}\nc",
    "a set block": "{% set text %}<{{ messages[0].content }}>{% endset %}{{ text }}{{ text | length }}",
    "names set in a loop": "{% set a = 0 %}{% for m in messages %}{% set a = a + 1 %}{{ a }}{% endfor %}{{ a }}",
    "names set in a generation": "{% set a = 'out' %}{% generation %}{% set a = 'in' %}{{ a }}{% endgeneration %}{{ a }}\n",
    "a generation on lines of its own": "x\n    {%- generation %}\n    y\n    {% endgeneration -%}\n    z",
    "break and continue": "{% for m in messages %}{% if m.role == 'system' %}{% continue %}{% endif %}{{ m.role }},{% if loop.index == 2 %}{% break %}{% endif %}{% endfor %}",
    "a loop's else and filter": "{% for m in messages if m.role == 'tool' %}{{ m }}{% else %}none{% endfor %}{% for m in messages if m.role == 'user' %}{{ loop.index }}/{{ loop.length }} {% endfor %}",
    "neighbours in a loop": "{% for m in messages %}{{ loop.previtem.role if loop.previtem is defined }}>{{ m.role }}>{{ loop.nextitem.role if loop.nextitem is defined }};{{ loop.revindex0 }}{{ loop.cycle('a', 'b') }} {% endfor %}",
    "selecting and joining": "{{ messages | selectattr('role', 'equalto', 'user') | map(attribute='content') | join('|') }}#{{ messages | rejectattr('role', '==', 'user') | list | length }}",
    "first, last, slices": "{{ (messages | first).role }}{{ (messages | last).role }}{{ messages[-1]['content'][:2] }}{{ messages[-1].content[-2:] }}{{ messages[0].content[::-1] }}{{ messages[1:] | length }}",
    "methods of strings": "{% for m in messages %}{% set c = m.content %}{{ c.strip().upper() }}|{{ c.split() | join('_') }}|{{ c.split('\\n', 1)[0] }}|{{ c.find('a') }}|{{ c.title() }}|{{ c.count('a') }}|{{ c.capitalize() }}|{{ c.rstrip('.\\n') }}|{{ c.splitlines() | length }}|{{ c.isdigit() }}\n{% endfor %}",
    "filters of strings": "{% for m in messages %}{{ m.content | upper }}|{{ m.content | replace('a', 'b') | trim }}|{{ m.content | indent(2) }}|{{ m.content | capitalize }}|{{ m.content | title }}|{{ m.content | indent(width=3, first=true) }}|{{ m.content | indent(1, blank=true) }}|{{ m.content | string | length }}\n{% endfor %}",
    "what is what": "{% for x in [messages[0].content, messages, messages[0], none, 1, 1.5, true, missing] %}{{ x is string }},{{ x is mapping }},{{ x is iterable }},{{ x is sequence }},{{ x is none }},{{ x is defined }},{{ x is number }},{{ x is boolean }};{% endfor %}",
    "values as text": "{{ true }} {{ none }} {{ 1.0 }} {{ 3 // 2 }} {{ 3 / 2 }} {{ 2 ** 3 }} {{ 7 % 3 }} {{ [1, 'a'] }} {{ {'k': none} }} {{ missing }}",
    "JSON": "{{ messages | tojson }}{{ messages[0] | tojson(indent=2) }}{{ {'a': [], 'b': {}, 'c': [1, true, none, 0.5]} | tojson }}{{ 'é<>&\\'' | tojson }}",
    "defaults": "{{ missing | default('d') }}{{ '' | default('e', true) }}{{ none | default('f') }}{{ (missing or 'g') }}{{ messages[0].name | default('nobody') }}",
    "items of a mapping": "{% for key, value in messages[0].items() %}{{ key }}={{ value }};{% endfor %}{% for key, value in messages[0] | items %}{{ key }};{% endfor %}{{ messages[0].get('name', 'none') }}{{ 'role' in messages[0] }}{{ messages[0].keys() | list }}",
    "a macro": "{% macro turn(role, text='-', end='.') %}[{{ role }}:{{ text }}{{ end }}]{% endmacro %}{{ turn('a') }}{{ turn('b', end='!', text='c') }}{{ turn(messages[0].role, messages[0].content) }}",
    "a condition without else": "<{{ 'yes' if messages[0].role == 'user' }}>{{ 'a' if false else 'b' }}",
    "a namespace": "{% set ns = namespace(n=0, seen=false) %}{% for m in messages %}{% set ns.n = ns.n + m.content | length %}{% if m.role == 'assistant' %}{% set ns.seen = true %}{% endif %}{% endfor %}{{ ns.n }}{{ ns.seen }}",
    "refusals": "{% if messages[0].role == 'system' %}{{ raise_exception('not with a system message') }}{% endif %}fine",
    "lists": "{% set l = [] %}{% set l = l + [messages[0].role] %}{{ l }}{{ ['a', 'b'] | join(', ') }}{{ range(3) | list }}{{ ('a', 'b')[1] }}{{ [3, 1, 2] | sort }}{{ [1, 2] | sum }}{{ 'x' in ['x'] }}{{ not ('x' not in 'xyz') }}",
    "marks of the format in text": "{{ '{{' }}{{ \"{%\" }}{% raw %}{{ raw }}{% endraw %}{{ messages[-1].content }}",
    "comparisons": "{{ 1 == 1.0 }}{{ 'a' < 'b' }}{{ none == none }}{{ missing == none }}{{ '' == none }}{{ [] == [] }}{{ messages | length > 1 and not false }}{{ messages | count }}",
}


def rendered(template, messages, add_generation_prompt):
    try:
        return template.render(
            messages=messages, tools=None, documents=None, add_generation_prompt=add_generation_prompt, bos_token="<s>", eos_token="</s>"
        )
    except Exception:
        return None


def main():
    templates = []
    for name, source in {**FAMILIES, **CONSTRUCTS}.items():
        source = source.removeprefix("\n")
        template = _compile_jinja_template(source)
        texts = [rendered(template, messages, prompt) for messages in CONVERSATIONS for prompt in (False, True)]
        assert any(text is not None for text in texts), name
        templates.append({"name": name, "template": source, "texts": texts})
    OUT.write_text(json.dumps({"conversations": CONVERSATIONS, "templates": templates}, ensure_ascii=False, indent=1) + "\n")
    print(f"{len(templates)} templates, {OUT.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()

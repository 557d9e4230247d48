"""The official `openai` client against a running server: python openai_client.py URL [API_KEY]

URL is the address of the page, as http://127.0.0.1:8080/. Works with every model that has a chat template; the first
of /v1/models that has one is asked. Prints a line for each check and at the end `N passed, N failed`.
"""

import sys
import traceback

import openai

url = sys.argv[1].rstrip("/")
api_key = sys.argv[2] if len(sys.argv) > 2 else "none-needed"
client = openai.OpenAI(base_url=f"{url}/v1", api_key=api_key, timeout=120, max_retries=0)
HELLO = [{"role": "system", "content": "You are ROMEO."}, {"role": "user", "content": "Good morrow, cousin."}]


def chat_model():
    """The first model that can chat, and its context length."""
    for model in client.models.list():
        try:
            client.chat.completions.create(model=model.id, messages=HELLO, max_tokens=1)
            return model.id, model.context_length
        except openai.BadRequestError:
            continue
    raise AssertionError("no model here can chat")


def expect(error_type, call, code=None, param=None):
    try:
        call()
    except error_type as error:
        assert code is None or error.code == code, f"code {error.code!r}, expected {code!r}: {error}"
        assert param is None or error.param == param, f"param {error.param!r}, expected {param!r}: {error}"
        return error
    raise AssertionError(f"no {error_type.__name__} was raised")


def models():
    listed = list(client.models.list())
    assert listed and all(model.object == "model" and model.created > 0 for model in listed)
    assert client.models.retrieve(listed[0].id).id == listed[0].id
    expect(openai.NotFoundError, lambda: client.models.retrieve("no-such-model"), "model_not_found")


def chat():
    answer = client.chat.completions.create(model=MODEL, messages=HELLO, max_completion_tokens=12, seed=1, temperature=0.5)
    choice = answer.choices[0]
    assert answer.object == "chat.completion" and answer.model == MODEL
    assert choice.message.role == "assistant" and choice.message.content
    assert choice.finish_reason in ("stop", "length")
    assert 0 < answer.usage.completion_tokens <= 12
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def same_seed_same_answer():
    ask = lambda: client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=12, seed=7).choices[0].message.content
    assert ask() == ask()


def streaming_chat():
    stream = client.chat.completions.create(
        model=MODEL, messages=HELLO, max_tokens=12, seed=1, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    reasons = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices]
    assert reasons[-1] in ("stop", "length") and not any(reasons[:-1])
    assert not chunks[-1].choices and chunks[-1].usage.completion_tokens > 0
    assert all(chunk.usage is None for chunk in chunks[:-1])
    whole = client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=12, seed=1)
    assert text == whole.choices[0].message.content, (text, whole)


def streaming_helper():
    with client.chat.completions.stream(model=MODEL, messages=HELLO, max_tokens=12) as stream:
        events = [event.type for event in stream]
        try:
            assert stream.get_final_completion().choices[0].message.content
        except openai.LengthFinishReasonError:
            pass  # how the client's own helper tells of finish_reason `length`
    assert "content.delta" in events


def a_whole_conversation_goes_back():
    first = client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=8)
    again = [*HELLO, first.choices[0].message.model_dump(), {"role": "user", "content": [{"type": "text", "text": "And then?"}]}]
    assert client.chat.completions.create(model=MODEL, messages=again, max_tokens=4).choices[0].message.content is not None


def leaving_a_stream():
    with client.chat.completions.create(model=MODEL, messages=HELLO, stream=True) as stream:
        next(iter(stream))
    assert client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=1).usage.completion_tokens == 1


def completions():
    answer = client.completions.create(model=MODEL, prompt="The king said", max_tokens=5)
    assert answer.object == "text_completion" and answer.usage.completion_tokens <= 5
    chunks = list(client.completions.create(model=MODEL, prompt="The king said", max_tokens=5, stream=True))
    assert chunks[-1].choices[0].finish_reason in ("stop", "length")


def context_length_exceeded():
    long = [{"role": "user", "content": "word and word " * CONTEXT}]
    ask = lambda **more: client.chat.completions.create(model=MODEL, messages=long, **more)
    expect(openai.BadRequestError, ask, "context_length_exceeded", "messages")
    expect(openai.BadRequestError, lambda: ask(stream=True), "context_length_exceeded", "messages")
    prompt = "word and word " * CONTEXT
    call = lambda: client.completions.create(model=MODEL, prompt=prompt)
    expect(openai.BadRequestError, call, "context_length_exceeded", "prompt")


def max_tokens_is_clipped():
    answer = client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=10_000_000)
    assert answer.usage.total_tokens <= CONTEXT, answer.usage
    if answer.usage.total_tokens == CONTEXT:
        assert answer.choices[0].finish_reason == "length"


def errors():
    ask = lambda **more: client.chat.completions.create(**{"model": MODEL, "messages": HELLO, "max_tokens": 1, **more})
    expect(openai.NotFoundError, lambda: ask(model="no-such-model"), "model_not_found", "model")
    expect(openai.BadRequestError, lambda: ask(temperature=9), "invalid_value", "temperature")
    expect(openai.BadRequestError, lambda: ask(messages=[]), "invalid_value", "messages")
    expect(openai.BadRequestError, lambda: ask(messages=[{"role": "user"}]), param="messages[0].content")
    expect(openai.BadRequestError, lambda: ask(n=3), "unsupported_parameter", "n")
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    expect(openai.BadRequestError, lambda: ask(tools=[tool]), "unsupported_parameter", "tools")
    expect(openai.BadRequestError, lambda: ask(extra_body={"wibble": 1}), "unknown_parameter", "wibble")
    expect(openai.APIStatusError, lambda: ask(messages=[{"role": "user", "content": "x" * 9_000_000}]), "request_too_large")
    embed = lambda: client.embeddings.create(model=MODEL, input="x")
    expect(openai.BadRequestError, embed, "wrong_kind_of_model", "model")
    expect(openai.NotFoundError, lambda: client.moderations.create(input="x"), "unknown_url")


def own_sampling_fields():
    more = {"top_k": 5, "min_p": 0.05, "repetition_penalty": 1.1}
    assert client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=2, extra_body=more).choices


def embeddings():
    """With a model of vectors beside the other one: `tsumugi serve CHAT EMBEDDER`, or the example server."""
    others = []
    for model in client.models.list():
        try:
            client.completions.create(model=model.id, prompt="a", max_tokens=1)
        except openai.BadRequestError as error:
            assert error.code == "wrong_kind_of_model", error
            others.append(model.id)
    if not others:
        print("      no model of embeddings is served")
        return
    texts = ["one two", "three"]
    asked = client.embeddings.create(model=others[0], input=texts)  # the client asks for base64 and decodes it
    floats = client.embeddings.create(model=others[0], input=texts, encoding_format="float")
    assert [item.index for item in asked.data] == [0, 1] and asked.usage.total_tokens == asked.usage.prompt_tokens > 0
    pairs = [pair for a, b in zip(asked.data, floats.data, strict=True) for pair in zip(a.embedding, b.embedding, strict=True)]
    assert pairs and all(abs(a - b) <= 1e-7 * abs(b) for a, b in pairs), pairs  # decimals of float32, read as doubles
    alone = client.embeddings.create(model=others[0], input="three")
    assert alone.data[0].embedding == asked.data[1].embedding
    expect(openai.BadRequestError, lambda: client.embeddings.create(model=others[0], input=""), "invalid_value", "input")


MODEL, CONTEXT = chat_model()
print(f"openai {openai.__version__}, model {MODEL}, context {CONTEXT}")
CHECKS = [
    models, chat, same_seed_same_answer, streaming_chat, streaming_helper, a_whole_conversation_goes_back, leaving_a_stream,
    completions, context_length_exceeded, max_tokens_is_clipped, embeddings, errors, own_sampling_fields,
]
failed = 0
for check in CHECKS:
    try:
        check()
        print(f"ok    {check.__name__}")
    except Exception:
        failed += 1
        print(f"FAIL  {check.__name__}\n{traceback.format_exc()}")
print(f"{len(CHECKS) - failed} passed, {failed} failed")
sys.exit(1 if failed else 0)

"""llama.cpp's part of `speed`.

    measure.py MODEL THREADS          a JSON object: tokens per second of each stage, the better of two settings
    measure.py MODEL THREADS first    seconds from a mapped file to the first token of an answer, the library in memory already
"""

import json
import sys
import time

import llama_cpp as L

PROMPT, ANSWER, DEPTH, REPETITIONS = 512, 64, 4096, 3


def main(path, threads):
    quiet = L.llama_log_callback(lambda level, text, data: None)
    L.llama_log_set(quiet, None)
    L.llama_backend_init()
    model_settings = L.llama_model_default_params()
    model_settings.use_mmap = False
    model = L.llama_model_load_from_file(path.encode(), model_settings)
    vocabulary = L.llama_vocab_n_tokens(L.llama_model_get_vocab(model))
    tokens = [100 + i * 7919 % (vocabulary - 200) for i in range(DEPTH + ANSWER)]
    best = {}
    for flash in (0, 1):
        settings = L.llama_context_default_params()
        settings.n_ctx, settings.n_batch, settings.n_ubatch = DEPTH + 2 * ANSWER, PROMPT, PROMPT
        settings.n_threads = settings.n_threads_batch = threads
        settings.flash_attn_type = flash
        settings.no_perf = True
        context = L.llama_init_from_model(model, settings)
        memory = L.llama_get_memory(context)

        def decode(some, position):
            batch = L.llama_batch_init(len(some), 0, 1)
            batch.n_tokens = len(some)
            for i, token in enumerate(some):
                batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.seq_id[i][0] = token, position + i, 1, 0
                batch.logits[i] = i == len(some) - 1
            begun = time.perf_counter()
            if L.llama_decode(context, batch) != 0:
                sys.exit("llama_decode failed")
            L.llama_get_logits_ith(context, -1)
            seconds = time.perf_counter() - begun
            L.llama_batch_free(batch)
            return seconds

        def read(count):
            L.llama_memory_clear(memory, True)
            return sum(decode(tokens[at : min(at + PROMPT, count)], at) for at in range(0, count, PROMPT))

        found = {"prefill 512": [], "decode at 1": [], "decode at 4096": []}
        trained = L.llama_model_n_ctx_train(model)
        for repetition in range(REPETITIONS + 1):
            seconds = {"prefill 512": read(PROMPT)}
            for depth in (1, DEPTH):
                # The deep one once: what lies before it takes long.
                if depth + ANSWER <= trained and (depth == 1 or repetition == REPETITIONS):
                    read(depth)
                    seconds[f"decode at {depth}"] = sum(decode([tokens[i]], depth + i) for i in range(ANSWER))
            for stage, taken in seconds.items():
                if repetition > 0:
                    found[stage].append((PROMPT if stage == "prefill 512" else ANSWER) / taken)
        for stage, speeds in found.items():
            if speeds:
                best[stage] = max(best.get(stage, 0), sorted(speeds)[len(speeds) // 2])
        L.llama_free(context)
    print(json.dumps(best))


def first(path, threads):
    quiet = L.llama_log_callback(lambda level, text, data: None)
    L.llama_log_set(quiet, None)
    L.llama_backend_init()
    begun = time.perf_counter()
    model = L.llama_model_load_from_file(path.encode(), L.llama_model_default_params())
    settings = L.llama_context_default_params()
    settings.n_ctx = 512
    settings.n_threads = settings.n_threads_batch = threads
    context = L.llama_init_from_model(model, settings)
    text = b"Hello"
    ids = (L.llama_token * 16)()
    count = L.llama_tokenize(L.llama_model_get_vocab(model), text, len(text), ids, len(ids), True, False)
    if L.llama_decode(context, L.llama_batch_get_one(ids, count)) != 0:
        sys.exit("llama_decode failed")
    L.llama_get_logits_ith(context, -1)
    print(json.dumps({"first token": time.perf_counter() - begun}))


(first if sys.argv[3:] == ["first"] else main)(sys.argv[1], int(sys.argv[2]))

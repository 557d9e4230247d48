"""What llama.cpp does of round_trip and divergence: logits of a file with everything in float32, and its own quantization; and
of ../encoders/round_trip: ids and vectors of texts.

    llama_side.py embed MODEL.gguf < ["a text", ...]         ids and a vector for each text, pooled as the file says, as JSON
    llama_side.py logits MODEL.gguf < [[1, 2, 3], ...]      one list of rows of logits for each list of ids, as JSON
    llama_side.py quantize IN.gguf OUT.gguf FILE_TYPE
"""

import ctypes
import json
import sys

import llama_cpp
import numpy as np

llama_cpp.llama_backend_init()
SILENT = llama_cpp.llama_log_callback(lambda level, text, data: None)
llama_cpp.llama_log_set(SILENT, ctypes.c_void_p(0))


def load(path):
    parameters = llama_cpp.llama_model_default_params()
    parameters.n_gpu_layers = 0
    model = llama_cpp.llama_model_load_from_file(path.encode(), parameters)
    if not model:
        sys.exit(f"llama.cpp does not load {path}")
    return model


def tokenize(vocabulary, text, framed):
    """Ids of a text, in its frame (beginning, end) or not."""
    text = text.encode()
    ids = (llama_cpp.llama_token * (len(text) + 8))()
    count = llama_cpp.llama_tokenize(vocabulary, text, len(text), ids, len(ids), framed, False)
    return list(ids[:count])


def tokens(path, text):
    """Ids of a text, without a beginning."""
    return tokenize(llama_cpp.llama_model_get_vocab(load(path)), text, False)


def batch_of(ids):
    """One sequence, with what each of its tokens gives."""
    batch = llama_cpp.llama_batch_init(len(ids), 0, 1)
    batch.n_tokens = len(ids)
    for position, token in enumerate(ids):
        batch.token[position], batch.pos[position] = token, position
        batch.n_seq_id[position], batch.seq_id[position][0], batch.logits[position] = 1, 0, 1
    return batch


def logits(path, texts, threads=2):
    """For each list of ids the rows of logits, `[ids, vocabulary]`."""
    model = load(path)
    vocabulary = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
    parameters = llama_cpp.llama_context_default_params()
    longest = max(map(len, texts))
    parameters.n_ctx = parameters.n_batch = parameters.n_ubatch = longest
    parameters.type_k = parameters.type_v = 0  # float32
    parameters.flash_attn_type = 0
    parameters.n_threads = parameters.n_threads_batch = threads
    context = llama_cpp.llama_init_from_model(model, parameters)
    for ids in texts:
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), True)
        batch = batch_of(ids)
        if llama_cpp.llama_decode(context, batch) != 0:
            sys.exit("llama_decode failed")
        yield np.ctypeslib.as_array(llama_cpp.llama_get_logits(context), (len(ids), vocabulary)).copy()
        llama_cpp.llama_batch_free(batch)


def embed(path, texts, threads=2):
    """For each text its ids and its pooled vector, or scores where the file has a classifier."""
    model = load(path)
    vocabulary = llama_cpp.llama_model_get_vocab(model)
    every = [tokenize(vocabulary, text, True) for text in texts]
    parameters = llama_cpp.llama_context_default_params()
    parameters.n_ctx = parameters.n_batch = parameters.n_ubatch = max(map(len, every))
    parameters.flash_attn_type, parameters.embeddings = 0, True
    parameters.n_threads = parameters.n_threads_batch = threads
    context = llama_cpp.llama_init_from_model(model, parameters)
    width = llama_cpp.llama_model_n_embd(model)
    if llama_cpp.llama_pooling_type(context) == llama_cpp.LLAMA_POOLING_TYPE_RANK:
        width = llama_cpp.llama_model_n_cls_out(model)
    for ids in every:
        batch = batch_of(ids)
        if llama_cpp.llama_encode(context, batch) != 0:
            sys.exit("llama_encode failed")
        vector = llama_cpp.llama_get_embeddings_seq(context, 0)
        yield {"ids": ids, "vector": [vector[index] for index in range(width)]}
        llama_cpp.llama_batch_free(batch)


def quantize(source, target, file_type):
    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype, parameters.nthread, parameters.allow_requantize = file_type, 2, True
    return llama_cpp.llama_model_quantize(source.encode(), target.encode(), parameters)


def main():
    if sys.argv[1] == "logits":
        print(json.dumps([rows.tolist() for rows in logits(sys.argv[2], json.load(sys.stdin))]))
    elif sys.argv[1] == "embed":
        print(json.dumps(list(embed(sys.argv[2], json.load(sys.stdin)))))
    else:
        sys.exit(quantize(sys.argv[2], sys.argv[3], int(sys.argv[4])))


if __name__ == "__main__":
    main()

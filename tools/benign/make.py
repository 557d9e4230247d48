"""Writes harmless model files with today's libraries, one folder for each: `tools/benign/run` runs this.

    make.py FOLDER [LIBRARY...]

Small models, trained on random numbers for a moment, written in every way that their libraries document. A library that
is not installed is told and left out; one that fails is an error.
"""

import importlib.util
import io
import json
import os
import pathlib
import pickle
import subprocess
import sys
import tarfile

PROTOCOLS = range(6)


def pickled(folder, name, value, protocols=PROTOCOLS):
    for protocol in protocols:
        (folder / f"{name}-{protocol}.pkl").write_bytes(pickle.dumps(value, protocol=protocol))


def data():
    import numpy as np

    random = np.random.default_rng(0)
    x = random.normal(size=(200, 6))
    return x, (x[:, 0] + 0.1 * x[:, 1] > 0).astype(int)


def python(folder):
    import collections
    import datetime
    import decimal
    import fractions
    import functools
    import operator
    import re
    import types
    import uuid

    pickled(folder, "values", {
        "numbers": [1, -1, 2**70, 1.5, 1j, True, None, ...],
        "texts": ["import os; os.system('ls')", "eval", b"bytes", bytearray(b"more")],
        "sets": [{1, 2}, frozenset([3])],
        "collections": [collections.OrderedDict(a=1), collections.defaultdict(list, a=[1]), collections.deque([1]), collections.Counter("aab")],
        "times": [datetime.datetime(2020, 1, 1), datetime.timedelta(1), datetime.timezone.utc],
        "exact": [decimal.Decimal("1.5"), fractions.Fraction(1, 3)],
        "others": [uuid.UUID(int=1), re.compile("a+"), pathlib.PurePosixPath("a/b"), range(3), slice(1, 2)],
    })
    pickled(folder, "functions", [functools.partial(len, [1]), operator.itemgetter(1), types.SimpleNamespace(a=1)])


def torch(folder):
    import torch
    from torch import nn

    model = nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, 2))
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.randn(4, 6)).sum().backward()
    optimizer.step()
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
    checkpoint = {
        "model": model.state_dict(), "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict(), "step": 1,
        "random": torch.get_rng_state(), "device": torch.device("cpu"), "dtype": torch.bfloat16, "size": torch.Size([1, 2]),
    }
    tensors = {str(kind): torch.zeros(3, dtype=kind) for kind in (torch.float32, torch.bfloat16, torch.float16, torch.int8, torch.bool, torch.float8_e4m3fn, torch.complex64)}
    tensors["sparse"] = torch.eye(3).to_sparse()
    tensors["view"] = torch.arange(12.0).reshape(3, 4).t()[1:]
    tensors["parameter"] = nn.Parameter(torch.ones(2))
    transformer = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, batch_first=True), 1)
    vision = nn.Sequential(nn.Conv2d(3, 4, 3), nn.MaxPool2d(2), nn.Flatten(), nn.LSTM(4, 4), nn.Embedding(4, 4))
    values = {"state": model.state_dict(), "checkpoint": checkpoint, "tensors": tensors, "module": model, "transformer": transformer, "vision": vision, "optimizer": optimizer}
    for name, value in values.items():
        torch.save(value, folder / f"{name}.pt")
        torch.save(value, folder / f"{name}-legacy.pth", _use_new_zipfile_serialization=False)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    torch.save(checkpoint, folder / "protocol-4.ckpt", pickle_protocol=4)
    torch.save({"epoch": 1, "global_step": 2, "pytorch-lightning_version": "2.5", "state_dict": model.state_dict(), "hyper_parameters": {"lr": 1e-3}}, folder / "lightning.ckpt")
    torch.jit.trace(model.eval(), torch.randn(4, 6)).save(folder / "traced.pt")
    torch.jit.script(nn.Linear(2, 2)).save(str(folder / "scripted.pt"))
    quantized = torch.quantize_per_tensor(torch.randn(4), 0.1, 0, torch.qint8)
    torch.save(quantized, folder / "quantized.pt")
    exported = torch.export.export(model.eval(), (torch.randn(4, 6),))
    torch.export.save(exported, folder / "exported.pt2")


def numpy(folder):
    import numpy as np

    arrays = {
        "float": np.arange(6.0).reshape(2, 3), "int": np.arange(3), "text": np.array(["import os", "b"]), "bool": np.ones(2, bool),
        "structured": np.zeros(2, dtype=[("a", "<i4"), ("b", "U3")]), "fortran": np.asfortranarray(np.ones((2, 2))), "empty": np.zeros((0, 3)),
        "scalar": np.float64(1), "time": np.array(["2020-01-01"], "datetime64[D]"), "complex": np.zeros(2, complex),
    }
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
        pickled(folder, name, array)
    np.save(folder / "objects.npy", np.array([{"a": 1}, "b", None], object), allow_pickle=True)
    np.savez(folder / "plain.npz", **arrays)
    np.savez_compressed(folder / "packed.npz", **arrays)
    pickled(folder, "random", [np.random.default_rng(1), np.random.RandomState(1), np.random.SeedSequence(1)])
    pickled(folder, "types", [np.dtype("f8"), np.float32(1), np.ma.masked_array([1, 2], [0, 1]), np.matrix([[1]]), np.log1p])


def sklearn(folder):
    import joblib
    import numpy as np
    from sklearn import cluster, compose, decomposition, ensemble, feature_extraction, feature_selection, gaussian_process, impute, isotonic
    from sklearn import linear_model, mixture, model_selection, naive_bayes, neighbors, neural_network, pipeline, preprocessing, svm, tree

    x, y = data()
    text = feature_extraction.text.TfidfVectorizer(ngram_range=(1, 2)).fit(["import os", "eval lambda system", "a text of words"])
    models = {
        "forest": ensemble.RandomForestClassifier(4), "boosting": ensemble.GradientBoostingClassifier(n_estimators=3), "histogram": ensemble.HistGradientBoostingClassifier(max_iter=3),
        "isolation": ensemble.IsolationForest(n_estimators=3), "ada": ensemble.AdaBoostClassifier(n_estimators=3), "stacked": ensemble.StackingClassifier([("a", linear_model.LogisticRegression())]),
        "voting": ensemble.VotingClassifier([("a", naive_bayes.GaussianNB())]), "tree": tree.DecisionTreeClassifier(), "logistic": linear_model.LogisticRegression(),
        "sgd": linear_model.SGDClassifier(), "ridge": linear_model.RidgeCV(), "svc": svm.SVC(probability=True), "linear-svc": svm.LinearSVC(), "network": neural_network.MLPClassifier(max_iter=2),
        "neighbours": neighbors.KNeighborsClassifier(algorithm="kd_tree"), "ball": neighbors.NearestNeighbors(algorithm="ball_tree"), "gaussian": gaussian_process.GaussianProcessClassifier(),
        "kmeans": cluster.KMeans(2, n_init=1), "dbscan": cluster.DBSCAN(), "pca": decomposition.PCA(2), "mixture": mixture.GaussianMixture(2), "isotonic": None,
        "scaler": preprocessing.StandardScaler(), "logarithm": preprocessing.FunctionTransformer(np.log1p), "splines": preprocessing.SplineTransformer(), "quantiles": preprocessing.QuantileTransformer(n_quantiles=10), "imputer": impute.SimpleImputer(),
        "selected": feature_selection.SelectKBest(feature_selection.f_classif, k=2), "percentile": feature_selection.SelectPercentile(feature_selection.mutual_info_classif),
        "pipeline": pipeline.make_pipeline(preprocessing.StandardScaler(), linear_model.LogisticRegression()),
        "columns": compose.ColumnTransformer([("a", preprocessing.OneHotEncoder(handle_unknown="ignore"), [0]), ("b", "passthrough", [1])]),
        "searched": model_selection.GridSearchCV(tree.DecisionTreeClassifier(), {"max_depth": [1, 2]}, scoring="f1"),
    }
    models["isotonic"] = isotonic.IsotonicRegression()
    for name, model in models.items():
        model.fit(x[:, 0] if name == "isotonic" else x, y)
        pickled(folder, name, model, (2, 4, 5))
        joblib.dump(model, folder / f"{name}.joblib")
    pickled(folder, "text", text)
    for compress in (("zlib", 3), ("gzip", 3), ("bz2", 3), ("xz", 3), ("lzma", 3)):
        joblib.dump(models["forest"], folder / f"forest-{compress[0]}.joblib", compress=compress)
        joblib.dump({"x": x, "model": models["scaler"]}, folder / f"arrays-{compress[0]}.pkl", compress=compress)
    joblib.dump([x, x.astype("f4"), np.array(["a", None], object), x], folder / "arrays.joblib")
    for protocol in PROTOCOLS:
        joblib.dump([x, y], folder / f"arrays-{protocol}.joblib", protocol=protocol)


def pandas(folder):
    import numpy as np
    import pandas as pd

    frame = pd.DataFrame({
        "number": [1.5, np.nan], "whole": [1, 2], "text": ["import os", "__b__"], "time": pd.to_datetime(["2020-01-01", "2021-01-01"]),
        "zone": pd.to_datetime(["2020-01-01", "2021-01-01"]).tz_localize("Europe/Berlin"), "kind": pd.Categorical(["a", "b"]),
        "nullable": pd.array([1, None], dtype="Int64"), "span": pd.to_timedelta([1, 2], unit="D"), "period": pd.period_range("2020", periods=2, freq="M"),
    })
    pickled(folder, "frame", frame, (2, 4, 5))
    pickled(folder, "series", frame["number"], (2, 4, 5))
    pickled(folder, "indexed", frame.set_index(["whole", "text"]), (2, 4, 5))
    pickled(folder, "interval", pd.Series(pd.interval_range(0, 2)), (4,))
    frame.to_pickle(folder / "packed.pkl.gz")
    frame.to_pickle(folder / "packed.pkl.zst") if importlib.util.find_spec("zstandard") else None
    if importlib.util.find_spec("tables"):
        frame[["number", "whole"]].to_hdf(folder / "frame.h5", key="frame")


def keras(folder):
    import keras
    from keras import layers

    model = keras.Sequential([layers.Input((6,)), layers.Dense(8, activation="relu"), layers.BatchNormalization(), layers.Dropout(0.1), layers.Dense(2)])
    model.compile("adam", "mse")
    inputs = keras.Input((8, 8, 3))
    outputs = layers.GlobalAveragePooling2D()(layers.MaxPooling2D()(layers.Conv2D(4, 3, padding="same")(inputs)))
    functional = keras.Model(inputs, layers.Dense(2, kernel_regularizer="l2")(outputs))
    recurrent = keras.Sequential([layers.Input((5,)), layers.Embedding(10, 4), layers.Bidirectional(layers.LSTM(4)), layers.Dense(1, activation="sigmoid")])
    for name, model in {"dense": model, "images": functional, "recurrent": recurrent}.items():
        model.save(folder / f"{name}.keras")
        model.save(folder / f"{name}.h5")
        model.save_weights(folder / f"{name}.weights.h5")
        (folder / f"{name}.json").write_text(model.to_json())


def h5py(folder):
    import h5py
    import numpy as np

    for version in ("earliest", "latest"):
        for ordered in (False, True):
            with h5py.File(folder / f"{version}-{ordered}.h5", "w", libver=version, track_order=ordered) as file:
                for number in range(60):
                    group = file.create_group(f"group {number}", track_order=ordered)
                    group.create_dataset("plain", data=np.arange(4.0))
                    group.create_dataset("packed", data=np.zeros((20, 20)), chunks=(5, 5), compression="gzip")
                    group.attrs["names"] = ["a", "b"]
                    group.attrs["text"] = "a text"
                for number in range(20):
                    file.attrs[f"attribute {number}"] = number
                file["link"] = h5py.SoftLink("/group 1")
                file["types"] = np.dtype("f4")
    with h5py.File(folder / "user-block.h5", "w", userblock_size=1024) as file:
        file["a"] = np.array(["x", "y"], dtype=h5py.string_dtype())


def tensorflow(folder):
    import tensorflow as tf

    class Model(tf.Module):
        def __init__(self):
            self.weight = tf.Variable(tf.ones((6, 2)), name="weight")
            self.table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(["a"], [1]), 0)

        @tf.function(input_signature=[tf.TensorSpec((None, 6))])
        def __call__(self, x):
            return tf.nn.softmax(x @ self.weight)

    model = Model()
    tf.saved_model.save(model, str(folder / "saved_model"))
    tf.train.Checkpoint(model=model).write(str(folder / "checkpoint"))
    plain = tf.function(lambda x: tf.nn.relu(x @ tf.ones((6, 2)))).get_concrete_function(tf.TensorSpec((None, 6)))
    (folder / "model.tflite").write_bytes(tf.lite.TFLiteConverter.from_concrete_functions([plain]).convert())
    graph = plain.graph.as_graph_def()
    (folder / "graph.pb").write_bytes(graph.SerializeToString())


def xgboost(folder):
    import joblib
    import xgboost as xgb

    x, y = data()
    model = xgb.XGBClassifier(n_estimators=3).fit(x, y)
    for ending in ("json", "ubj"):
        model.save_model(folder / f"model.{ending}")
    xgb.XGBRegressor(n_estimators=3, enable_categorical=True, booster="dart").fit(x, y).save_model(folder / "dart.ubj")
    for name, value in {"classifier": model, "booster": model.get_booster(), "ranker": xgb.XGBRFRegressor(n_estimators=2).fit(x, y)}.items():
        pickled(folder, name, value, (2, 4, 5))
        joblib.dump(value, folder / f"{name}.joblib")


def lightgbm(folder):
    import joblib
    import lightgbm as lgb

    x, y = data()
    model = lgb.LGBMClassifier(n_estimators=3, verbose=-1).fit(x, y)
    model.booster_.save_model(folder / "model.txt")
    (folder / "model.json").write_text(json.dumps(model.booster_.dump_model()))
    lgb.LGBMRegressor(n_estimators=2, linear_tree=True, verbose=-1).fit(x, y).booster_.save_model(folder / "linear.txt")
    pickled(folder, "classifier", model, (2, 4, 5))
    pickled(folder, "booster", model.booster_, (2, 4, 5))
    joblib.dump(model, folder / "classifier.joblib")


def catboost(folder):
    import catboost as cb

    x, y = data()
    model = cb.CatBoostClassifier(iterations=3, verbose=0, allow_writing_files=False).fit(x, y)
    for form in ("cbm", "json", "onnx", "pmml"):
        model.save_model(str(folder / f"model.{form}"), format=form)
    pickled(folder, "classifier", model, (2, 4, 5))


def onnx(folder):
    import numpy as np
    import onnx
    from onnx import helper, numpy_helper

    weight = numpy_helper.from_array(np.ones((6, 2), "f4"), "weight")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "weight"], ["y"])], "graph",
        [helper.make_tensor_value_info("x", 1, [None, 6])], [helper.make_tensor_value_info("y", 1, [None, 2])], [weight])
    model = helper.make_model(graph)
    onnx.save(model, folder / "model.onnx")
    onnx.save(model, folder / "external.onnx", save_as_external_data=True, location="external.data", size_threshold=0)


def transformers(folder):
    import torch
    import transformers

    config = transformers.LlamaConfig(vocab_size=64, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=2)
    model = transformers.LlamaForCausalLM(config)
    model.save_pretrained(folder / "llama")
    torch.save(model.state_dict(), folder / "llama" / "pytorch_model.bin")
    for name, kind in {"trainer": transformers.TrainingArguments, "seq2seq": transformers.Seq2SeqTrainingArguments}.items():
        torch.save(kind(output_dir=str(folder / "out"), report_to="none", use_cpu=True), folder / f"{name}-training_args.bin")
    trainer = transformers.Trainer(model, transformers.TrainingArguments(output_dir=str(folder / "run"), report_to="none", use_cpu=True, max_steps=1, save_steps=1), train_dataset=[{"input_ids": torch.ones(4, dtype=torch.long), "labels": torch.ones(4, dtype=torch.long)}] * 8)
    trainer.train()
    from tokenizers import Tokenizer, models, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.train_from_iterator(["import os", "a text"], trainers.BpeTrainer(vocab_size=300))
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    fast.chat_template = "{% for message in messages %}{{ '<|' + message['role'] + '|>\\n' + message['content'] | trim }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
    fast.save_pretrained(folder / "tokenizer")


def safetensors(folder):
    import numpy as np
    from safetensors.numpy import save_file

    save_file({"a": np.ones((2, 3), "f4"), "b": np.zeros(4, "i8")}, folder / "plain.safetensors", metadata={"format": "pt", "licence": "https://example.com"})
    save_file({}, folder / "empty.safetensors")


def skops(folder):
    from skops import io as skops_io
    from sklearn import linear_model, pipeline, preprocessing

    x, y = data()
    skops_io.dump(pipeline.make_pipeline(preprocessing.StandardScaler(), linear_model.LogisticRegression()).fit(x, y), folder / "pipeline.skops")


def gensim(folder):
    from gensim.models import Word2Vec

    texts = [["import", "os", "system"], ["a", "text", "of", "words"]] * 5
    model = Word2Vec(texts, vector_size=8, min_count=1)
    model.save(str(folder / "word2vec.model"))
    model.wv.save(str(folder / "vectors.kv"))
    model.wv.save_word2vec_format(str(folder / "vectors.bin"), binary=True)


def nemo(folder):
    import torch

    weights = io.BytesIO()
    torch.save(torch.nn.Linear(2, 2).state_dict(), weights)
    members = {
        "model_config.yaml": b"target: nemo.collections.asr.models.EncDecCTCModel\npreprocessor:\n  _target_: nemo.collections.asr.modules.AudioToMelSpectrogramPreprocessor\n  sample_rate: 16000\noptim:\n  name: adamw\n",
        "model_weights.ckpt": weights.getvalue(),
    }
    for name, mode in (("model.nemo", "w"), ("packed.nemo", "w:gz")):
        with tarfile.open(folder / name, mode) as archive:
            for member, content in members.items():
                about = tarfile.TarInfo(f"./{member}")
                about.size = len(content)
                archive.addfile(about, io.BytesIO(content))


WRITERS = [python, torch, numpy, sklearn, pandas, keras, h5py, tensorflow, xgboost, lightgbm, catboost, onnx, transformers, safetensors, skops, gensim, nemo]


def main():
    """Each library in a process of its own: not all of them bear each other."""
    root, only = pathlib.Path(sys.argv[1]), sys.argv[2:]
    failed = []
    for writer in WRITERS:
        name = writer.__name__
        folder = root / name
        if only == [name]:
            return writer(folder)
        if only and name not in only:
            continue
        if name not in ("python", "nemo") and importlib.util.find_spec(name) is None:
            print(f"{name}: not installed, left out")
            continue
        folder.mkdir(parents=True, exist_ok=True)
        environment = os.environ | {"KERAS_BACKEND": "tensorflow" if name == "tensorflow" else "torch", "TF_CPP_MIN_LOG_LEVEL": "3"}
        ended = subprocess.run([sys.executable, __file__, root, name], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if ended.returncode != 0:
            failed.append(name)
            print(ended.stderr[-2000:])
        print(f"{name}: {sum(path.is_file() for path in folder.rglob('*'))} files", flush=True)
    return f"failed: {' '.join(failed)}" if failed else None


if __name__ == "__main__":
    sys.exit(main())

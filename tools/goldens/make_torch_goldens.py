"""Makes crates/files/fixtures/torch/: checkpoints as PyTorch writes them, and the same tensors as safetensors.

Run with torch 2.15.0 and safetensors 0.8.0; the output is the same each time, but for the names of storages in the
legacy format, which are addresses.
Ours to give away: MIT OR Apache-2.0, like the rest of the repository.

zip-N.pt, legacy-N.pt   the same dictionary in both formats with pickle protocol N
expected.safetensors    what they hold, in row-major order
wrapped.pt              weights under `state_dict`, beside other things
python2.pt              an ordered dictionary as Python 2 pickles it
module.pt               a whole module: classes that must be refused
big-endian.pt           a zip that says so
"""

import collections
import pathlib
import pickle
import types
import zipfile

import safetensors.torch
import torch

OUT = pathlib.Path(__file__).resolve().parents[2] / "crates/files/fixtures/torch"


def every_type():
    values = torch.tensor([0.0, -1.5, 3.25, 100.0])
    for name in ["float64", "float32", "float16", "bfloat16", "complex64"]:
        yield name, values.to(getattr(torch, name))
    for name in ["float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu"]:
        yield name, values.abs().to(getattr(torch, name))
    for name in ["int64", "int32", "int16", "int8", "uint8", "uint16", "uint32", "uint64"]:
        yield name, torch.arange(5).to(getattr(torch, name))
    yield "bool", torch.tensor([True, False, True])


def dictionary():
    base = torch.arange(24, dtype=torch.float32)
    matrix = base.reshape(4, 6)
    tied = torch.nn.Parameter(torch.arange(6, dtype=torch.bfloat16).reshape(2, 3))
    tensors = collections.OrderedDict(every_type())
    tensors["scalar"] = torch.tensor(7.5)
    tensors["empty"] = torch.zeros(0, 4)
    tensors["whole"] = matrix
    tensors["transposed"] = matrix.t()
    tensors["row"] = matrix[2]
    tensors["column"] = matrix[:, 3]
    tensors["block"] = matrix[1:3, 2:5]
    tensors["every other"] = base[1::2]
    tensors["expanded"] = base[:3].unsqueeze(0).expand(2, 3)
    tensors["permuted"] = base.reshape(2, 3, 4).permute(2, 0, 1)
    tensors["embed"], tensors["head"] = tied, tied
    tensors["buffer"] = torch.nn.Buffer(torch.ones(2))
    tensors["no tensor"] = 3
    tensors._metadata = {"": {"version": 1}}
    return tensors


class Python2Pickler(pickle.Pickler):
    def reducer_override(self, value):
        if isinstance(value, collections.OrderedDict):
            return collections.OrderedDict, ([[key, item] for key, item in value.items()],)
        return NotImplemented


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    tensors = dictionary()
    for protocol in range(2, 6):
        torch.save(tensors, OUT / f"zip-{protocol}.pt", pickle_protocol=protocol)
        torch.save(tensors, OUT / f"legacy-{protocol}.pt", pickle_protocol=protocol, _use_new_zipfile_serialization=False)
    plain = {name: tensor.detach().contiguous().clone() for name, tensor in tensors.items() if torch.is_tensor(tensor)}
    safetensors.torch.save_file(plain, OUT / "expected.safetensors")

    model = torch.nn.Linear(2, 3)
    with torch.no_grad():
        model.weight.copy_(torch.arange(6).reshape(3, 2))
        model.bias.zero_()
    optimizer = torch.optim.AdamW(model.parameters())
    torch.save({"epoch": 3, "state_dict": model.state_dict(), "optimizer": optimizer.state_dict()}, OUT / "wrapped.pt")
    torch.save(model, OUT / "module.pt")
    python2 = types.SimpleNamespace(Pickler=Python2Pickler, dump=pickle.dump, __name__="pickle")
    torch.save(
        collections.OrderedDict(a=torch.tensor([1.0, 2.0])),
        OUT / "python2.pt",
        pickle_module=python2,
        _use_new_zipfile_serialization=False,
    )
    with zipfile.ZipFile(OUT / "zip-2.pt") as little, zipfile.ZipFile(OUT / "big-endian.pt", "w") as big:
        for name in ["zip-2/data.pkl", "zip-2/byteorder"]:
            content = b"big" if name.endswith("byteorder") else little.read(name)
            big.writestr(zipfile.ZipInfo(name), content)


if __name__ == "__main__":
    main()

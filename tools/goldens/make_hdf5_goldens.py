"""Writes crates/scan/fixtures/hdf5/: what h5py makes of each way in which an HDF5 file can lead to other files.

    pip install h5py==3.14.0 numpy==2.4.6 && python tools/goldens/make_hdf5_goldens.py
"""

import pathlib

import h5py
import numpy as np

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "crates/scan/fixtures/hdf5"
CONFIG = '{"class_name": "Sequential", "config": {"layers": [{"class_name": "\\u004cambda"}]}}'
OUTSIDE = h5py.ExternalLink("../outside.h5", "/a")


def file(name, **options):
    return h5py.File(FOLDER / f"{name}.h5", "w", **options)


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, version in {"symbol-table": "earliest", "messages": "latest"}.items():
        with file(name, libver=version) as f:
            f.create_dataset("a/b/kernel", data=np.zeros((3, 4), "f4"))
            f["a/soft"] = h5py.SoftLink("/a/b")
            f["a/outside"] = OUTSIDE
            f.attrs["names"] = [b"first", b"second"]
    for name, version in {"many-old": "earliest", "many-new": "latest"}.items():
        with file(name, libver=version) as f:
            for number in range(30):
                f.create_group(f"group {number:02}")
                f.attrs[f"attribute {number:02}"] = f"text {number}"
            f["zz"] = OUTSIDE
    with file("harmless", track_order=True) as f:
        for number in range(12):
            f.create_dataset(f"group {number}/kernel", data=np.zeros(2))
            f.attrs[f"attribute {number}"] = number
    with file("external-data") as f:
        f.create_dataset("a", shape=(4,), dtype="u1", external=[("/etc/hostname", 0, 4)])
    with file("virtual", libver="latest") as f:
        layout = h5py.VirtualLayout(shape=(4,), dtype="f4")
        layout[:] = h5py.VirtualSource("sibling.h5", "a", shape=(4,))
        f.create_virtual_dataset("a", layout)
    with file("shape") as f:
        f.create_dataset("a", shape=(1 << 40,), dtype="f4", chunks=(1024,), fillvalue=0)
    with file("keras", userblock_size=512) as f:
        f.attrs["model_config"] = CONFIG
        f.attrs["keras_version"] = b"3.9.0"
    with file("pickle") as f:
        f.attrs["state"] = np.void(b"cos\nsystem\n(S'x'\ntR.")


if __name__ == "__main__":
    main()

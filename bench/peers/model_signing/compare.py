"""Signs with one and verifies with the other, both ways, for each kind of signature; then hashes a large file in turn."""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import model_signing

tsumugi = os.path.abspath(sys.argv[1])
gigabytes = float(sys.argv[2]) if len(sys.argv) > 2 else 1
fixtures = pathlib.Path("crates/scan/fixtures/provenance").resolve()
at = lambda name: str(fixtures / name)
failures = 0


def ours(*words):
    return subprocess.run([tsumugi, *map(str, words)], capture_output=True, text=True).returncode == 0


def theirs_sign(model, key=None, chain=None, hashing=None):
    config = model_signing.signing.Config()
    config.set_hashing_config((hashing or model_signing.hashing.Config()).set_ignored_paths(paths=["model.sig"]))
    if chain:
        config.use_certificate_signer(private_key=at(key), signing_certificate=at(chain[0]), certificate_chain=[at(chain[1])])
    else:
        config.use_elliptic_key_signer(private_key=at(key))
    config.sign(model, model / "model.sig")


def theirs_verify(model, public=None, root=None):
    config = model_signing.verifying.Config()
    if root:
        config.use_certificate_verifier(certificate_chain=[at(root)])
    else:
        config.use_elliptic_key_verifier(public_key=at(public))
    try:
        config.verify(model, model / "model.sig")
        return True
    except Exception:  # it raises ValueError, InvalidSignature and others
        return False


def show(what, found, wanted=True):
    global failures
    failures += found != wanted
    print(f"{'ok ' if found == wanted else 'NO '} {what}: {'accepted' if found else 'refused'}")


def tamper(model):
    path = model / "sub" / "b.txt"
    path.write_bytes(path.read_bytes()[:-1] + b"!")


def compare(name, sign_words, their_sign, verify_words, their_verify):
    for signer in ["tsumugi", "model-signing"]:
        with tempfile.TemporaryDirectory() as folder:
            model = pathlib.Path(folder) / "model"
            shutil.copytree(fixtures / "model", model)
            if signer == "tsumugi":
                assert ours("sign", model, *sign_words), "it cannot be signed"
            else:
                theirs_sign(model, **their_sign)
            for changed in [False, True]:
                if changed:
                    tamper(model)
                what = f"{name}, signed by {signer}{', changed' if changed else ''}, verified by"
                show(f"{what} tsumugi", ours("verify", model, *verify_words), not changed)
                if signer == "model-signing" and name == "pieces":
                    # 1.1.1 writes the length of pieces as 1000000000.0 and then takes it for another kind of hash.
                    print(f"    {what} model-signing: {'accepted' if theirs_verify(model, **their_verify) else 'refused'}")
                else:
                    show(f"{what} model-signing", theirs_verify(model, **their_verify), not changed)


compare("P-256 key", ["--key", at("p256.pem")], dict(key="p256.pem"), ["--key", at("p256.pub")], dict(public="p256.pub"))
compare("P-384 key", ["--key", at("p384.pem")], dict(key="p384.pem"), ["--key", at("p384.pub")], dict(public="p384.pub"))
compare(
    "certificate",
    ["--key", at("p256.pem"), "--certificate", at("signer.pem"), "--certificate", at("middle.pem")],
    dict(key="p256.pem", chain=["signer.pem", "middle.pem"]),
    ["--root", at("root.pem")],
    dict(root="root.pem"),
)
compare(
    "pieces",
    ["--key", at("p256.pem"), "--pieces"],
    dict(key="p256.pem", hashing=model_signing.hashing.Config().use_shard_serialization()),
    ["--key", at("p256.pub")],
    dict(public="p256.pub"),
)

if gigabytes > 0:
    with tempfile.TemporaryDirectory() as folder:
        model = pathlib.Path(folder) / "model"
        model.mkdir()
        block = os.urandom(1 << 20)
        for number in range(4):
            with open(model / f"part-{number}.bin", "wb") as file:
                for _ in range(int(gigabytes * 256)):
                    file.write(block)
        runs = {
            "tsumugi": lambda: ours("sign", model, "--key", at("p256.pem")),
            "model-signing": lambda: theirs_sign(model, key="p256.pem"),
            "sha256sum": lambda: subprocess.run(["sha256sum", *sorted(map(str, model.glob("*.bin")))], stdout=subprocess.DEVNULL),
        }
        times = {name: [] for name in runs}
        for _ in range(5):
            for name, run in runs.items():
                start = time.perf_counter()
                run()
                times[name].append(time.perf_counter() - start)
        for name, seconds in times.items():
            best, middle = min(seconds), sorted(seconds)[len(seconds) // 2]
            print(f"{name}: {gigabytes:g} GiB in four files, best {best:.2f} s, median {middle:.2f} s")
sys.exit(1 if failures else 0)

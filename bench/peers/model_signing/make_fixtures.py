"""Writes crates/scan/fixtures/provenance/: keys by openssl, certificates by `cryptography`, and signatures by
model-signing over the small model there. `run.sh --fixtures` runs it in the environment that it makes.
"""

import datetime
import pathlib
import subprocess
import sys

import model_signing
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

out = pathlib.Path(sys.argv[1])
model = out / "model"


def write_model():
    (model / "sub").mkdir(parents=True, exist_ok=True)
    # In the order of parts `sub/b.txt` comes before `sub-c.txt`, in that of bytes behind it.
    for name, text in {"a.txt": "one\n", "sub/b.txt": "two\n", "sub-c.txt": "three\n"}.items():
        (model / name).write_text(text)


def openssl(*words):
    subprocess.run(["openssl", *words], check=True, cwd=out, capture_output=True)


def write_keys():
    openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "p256.pem")  # SEC 1
    openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384", "-out", "p384.pem")  # PKCS#8
    openssl("genpkey", "-algorithm", "ed25519", "-out", "ed25519.pem")
    openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521", "-out", "p521.pem")
    openssl("pkcs8", "-topk8", "-in", "p256.pem", "-passout", "pass:secret", "-out", "locked.pem")
    for name in ["p256", "p384", "ed25519", "p521"]:
        openssl("pkey", "-in", f"{name}.pem", "-pubout", "-out", f"{name}.pub")


def key():
    return ec.generate_private_key(ec.SECP256R1())


def certificate(file, name, public, issuer, issuer_key, years=(2026, 2125), authority=False, purpose=None, usage=True):
    def named(text):
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    day = lambda year: datetime.datetime(year, 1, 1, tzinfo=datetime.timezone.utc)
    builder = x509.CertificateBuilder().subject_name(named(name)).issuer_name(named(issuer)).public_key(public)
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(day(years[0])).not_valid_after(day(years[1]))
    builder = builder.add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    if usage:
        bits = dict.fromkeys(["content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "crl_sign",
                              "encipher_only", "decipher_only"], False)
        usages = x509.KeyUsage(digital_signature=not authority, key_cert_sign=authority, **bits)
        builder = builder.add_extension(usages, critical=True)
    if purpose:
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
    pem = builder.sign(issuer_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    (out / file).write_bytes(pem)


def write_certificates():
    root, other, middle = key(), key(), key()
    signer = serialization.load_pem_private_key((out / "p256.pem").read_bytes(), None).public_key()
    certificate("root.pem", "Test Root", root.public_key(), "Test Root", root, authority=True)
    certificate("other-root.pem", "Test Root", other.public_key(), "Test Root", other, authority=True)
    certificate("middle.pem", "Test Models", middle.public_key(), "Test Root", root, authority=True)
    signing = ExtendedKeyUsageOID.CODE_SIGNING
    certificate("signer.pem", "Test Signer", signer, "Test Models", middle, purpose=signing)
    certificate("expired.pem", "Test Expired", signer, "Test Models", middle, years=(2026, 2027), purpose=signing)
    certificate("server.pem", "Test Server", signer, "Test Models", middle, purpose=ExtendedKeyUsageOID.SERVER_AUTH)
    certificate("no-usage.pem", "Test Plain", signer, "Test Models", middle, usage=False)


def write_signatures():
    def sign(file, hashing, private="p256.pem", chain=None):
        config = model_signing.signing.Config().set_hashing_config(hashing)
        if chain:
            config.use_certificate_signer(
                private_key=out / private, signing_certificate=out / chain[0], certificate_chain=[out / chain[1]])
        else:
            config.use_elliptic_key_signer(private_key=out / private)
        config.sign(model, out / file)

    files = lambda: model_signing.hashing.Config().set_ignored_paths(paths=["model.sig"])
    sign("key.sig", files())
    sign("key-p384.sig", files(), private="p384.pem")
    sign("pieces.sig", files().use_shard_serialization(shard_size=1024))
    sign("certificate.sig", files(), chain=["signer.pem", "middle.pem"])
    sign("blake3.sig", files().use_file_serialization(hashing_algorithm="blake3"))


write_model()
write_keys()
write_certificates()
write_signatures()

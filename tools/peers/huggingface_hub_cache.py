"""One cache, two tools: `tools/peers/huggingface_hub.sh` runs this. Ends with status 1 at the first difference."""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {
    "config.json": b'{"model_type":"llama"}',
    "1_Pooling/config.json": b"{}",
    "model.safetensors": (8).to_bytes(8, "little") + b"{}      " + bytes(1 << 20),
}
LARGE = {"model.safetensors"}
requests = []


def digest(name):
    data = FILES[name]
    if name in LARGE:
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def listed(name):
    file = {"rfilename": name, "size": len(FILES[name]), "blobId": hashlib.sha1(name.encode()).hexdigest()}
    if name in LARGE:
        return file | {"lfs": {"sha256": digest(name), "size": len(FILES[name]), "pointerSize": 130}}
    return file | {"blobId": digest(name)}


class Hub(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.answer(has_body=False)

    def do_GET(self):
        self.answer(has_body=True)

    def answer(self, has_body):
        requests.append((self.command, self.path))
        parts = self.path.split("?")[0].strip("/").split("/", 4)
        name = parts[4] if parts[2:3] == ["resolve"] else None
        if self.path.startswith("/api/models/org/name"):
            body, headers = json.dumps({"id": "org/name", "sha": COMMIT, "siblings": [listed(n) for n in FILES]}).encode(), {}
        elif name in FILES:
            body = FILES[name]
            tag = f'"{digest(name)}"'
            headers = {"ETag": tag, "X-Linked-Etag": tag, "X-Linked-Size": str(len(body)), "X-Repo-Commit": COMMIT}
        else:
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if has_body:
            self.wfile.write(body)


def fetched():
    """Files whose bytes were asked for since the last call."""
    names = [path.split(f"{COMMIT}/")[-1].split("main/")[-1] for method, path in requests if method == "GET" and "/resolve/" in path]
    requests.clear()
    return sorted(names)


def must(condition, what):
    print("ok:" if condition else "DIFFERENT:", what)
    if not condition:
        sys.exit(1)


def pull(tsumugi, folder):
    environment = os.environ | {"HF_HUB_CACHE": f"{folder}/cache", "TSUMUGI_HOME": f"{folder}/store", "HF_HOME": folder}
    ran = subprocess.run([tsumugi, "pull", "hf:org/name", "--json"], env=environment, stdout=subprocess.PIPE)
    must(ran.returncode == 0, "tsumugi pull ends with 0")
    return json.loads(ran.stdout)


def download(folder, **options):
    from huggingface_hub import hf_hub_download

    return [hf_hub_download("org/name", name, cache_dir=f"{folder}/cache", token=False, **options) for name in FILES]


def main(tsumugi):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    os.environ["HF_ENDPOINT"] = f"http://127.0.0.1:{server.server_port}"
    os.environ["HF_HUB_DISABLE_XET"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        pulled = pull(tsumugi, folder)
        must(fetched() == sorted(FILES), "tsumugi fetches every file once")
        paths = download(folder)
        must(fetched() == [], "huggingface_hub then fetches none")
        must(paths[0] == f"{pulled['path']}/config.json", "both name the same path")
        must(download(folder, local_files_only=True) == paths, "huggingface_hub finds them without asking")
        must(all(open(path, "rb").read() == FILES[name] for path, name in zip(paths, FILES)), "the bytes are right")
    with tempfile.TemporaryDirectory() as folder:
        paths = download(folder)
        must(fetched() == sorted(FILES), "huggingface_hub fetches every file once")
        pulled = pull(tsumugi, folder)
        must(fetched() == [] and pulled["fetched_bytes"] == 0, "tsumugi then fetches none")
        must(pulled["path"] == os.path.dirname(paths[0]), "both name the same path")


main(sys.argv[1])

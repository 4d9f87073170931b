"""A peer that speaks as much of Ollama's protocol as signals need, well or badly, as told."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

GOOD = {"action": "buy", "bp": 300, "confidence": 90, "risk": "low"}


class PeerLlm:
    """A server on loopback; ``mode`` says how it behaves: good, garbage, slow or rude."""

    def __init__(self) -> None:
        self.mode = "good"
        self.n_asked = 0
        self.released = threading.Event()
        peer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                self._say({"models": [{"name": "smollm2:135m", "model": "smollm2:135m",
                                       "digest": "d" * 64}], "version": "0"})  # fmt: skip

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", "0")))
                peer.n_asked += 1
                match peer.mode:
                    case "slow":
                        peer.released.wait(60.0)
                        self._answer(json.dumps(GOOD))
                    case "garbage":
                        self._answer('{"action": "buy", "bp": 1e999, "confidence": NaN')
                    case "rude":
                        self._raw(b"\x00\xff not json")
                    case _:
                        self._answer(json.dumps(GOOD))

            def _answer(self, text: str) -> None:
                message = {"role": "assistant", "content": text}
                self._say({"model": "smollm2:135m", "message": message, "done": True,
                           "done_reason": "stop", "prompt_eval_count": 9,
                           "eval_count": 9})  # fmt: skip

            def _say(self, document: object) -> None:
                self._raw(json.dumps(document).encode())

            def _raw(self, body: bytes) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def stop(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

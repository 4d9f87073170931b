"""The hostile proxy in front of a plain server: what it injects, counts and passes on."""

import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from cluster.drills.hostile_s3 import CUTS, ERRORS, HostileProxy, Hostility

CALM = Hostility(errors_frac=0.0, cut_frac=0.0, slow_frac=0.0)


class Plain(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_PUT(self):
        self.server.held[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.headers.append(dict(self.headers))
        self.answer(b"")

    def do_GET(self):
        self.answer(self.server.held[self.path])

    do_HEAD = do_GET  # noqa: N815

    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *words):
        pass


@pytest.fixture
def upstream():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Plain)
    server.held, server.headers = {}, []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def ask(proxy, method, path, body=None):
    connection = http.client.HTTPConnection(proxy.url.removeprefix("http://"), timeout=10)
    try:
        connection.request(method, path, body=body, headers={"Host": "signed.example"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def through(upstream, hostility):
    return HostileProxy(f"http://127.0.0.1:{upstream.server_port}", hostility)


def test_proxy_when_calm_then_bodies_and_the_signed_host_pass_unchanged(upstream):
    body = bytes(range(256)) * 300
    with through(upstream, CALM) as proxy:
        assert ask(proxy, "PUT", "/a", body) == (200, b"")
        assert ask(proxy, "GET", "/a") == (200, body)
        assert ask(proxy, "HEAD", "/a") == (200, b"")
        assert proxy.counts == {"requests": 3, "none": 3}
    assert upstream.headers[0]["Host"] == "signed.example"


def test_proxy_when_it_refuses_then_nothing_reaches_the_server(upstream):
    with through(upstream, Hostility(errors_frac=1.0)) as proxy:
        statuses = {ask(proxy, "PUT", f"/{n}", b"x" * n)[0] for n in range(20)}
        counts = proxy.counts
    assert statuses == {500, 503}
    assert counts["requests"] == 20
    assert len(upstream.held) == counts["answer_lost"]  # the others were carried out all the same
    assert 0 < counts["answer_lost"] < 20


def test_proxy_when_it_cuts_then_the_client_sees_half_a_body_or_no_answer(upstream):
    upstream.held["/a"] = b"0123456789" * 1000
    with through(upstream, Hostility(errors_frac=0.0, cut_frac=1.0)) as proxy:
        with pytest.raises(http.client.IncompleteRead) as caught:
            ask(proxy, "GET", "/a")
        for n in range(20):
            with pytest.raises(http.client.HTTPException):
                ask(proxy, "PUT", f"/{n}", b"whole body")
        counts = proxy.counts
    assert caught.value.partial == b"0123456789" * 500
    written = [path for path in upstream.held if path != "/a"]
    assert len(written) == counts["cut_on_the_way_back"] - 1  # the other halves never arrived
    assert counts["cut_on_the_way"] > 0


def test_hostility_when_asked_ten_thousand_times_then_its_shares_and_the_seed_decides():
    hostility = Hostility(seed=3)
    faults = [hostility.fault("PUT", f"/{n}", 1) for n in range(10_000)]
    # Five standard deviations of a binomial count.
    assert sum(fault in ERRORS for fault in faults) == pytest.approx(1000, abs=150)
    assert sum(fault in CUTS for fault in faults) == pytest.approx(200, abs=70)
    assert faults.count("slow") == pytest.approx(500, abs=110)
    assert faults == [Hostility(seed=3).fault("PUT", f"/{n}", 1) for n in range(10_000)]
    assert faults != [Hostility(seed=4).fault("PUT", f"/{n}", 1) for n in range(10_000)]


def test_hostility_when_a_request_is_repeated_then_drawn_anew():
    draws = {Hostility(errors_frac=0.5).fault("GET", "/a", nth) in ERRORS for nth in range(1, 20)}
    assert draws == {False, True}

#!/usr/bin/env python3
"""Measures what the server adds to a provider's time to the first token, and prints medians.

    first_token.py BIN [--requests 200]

The provider is tests/e2e/mock_provider.py on loopback, with 20 ms before every reply. Asked directly, and through
`POST ../messages/stream` with stream_tokens, by the same client code; the first token is the first byte of
content that arrives.
"""

import argparse
import http.client
import json
import os
import statistics
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
from mock_provider import Provider  # noqa: E402
from support import PROVIDER_MODEL, Server, create_agent  # noqa: E402

TEXT = "[[delay:20]] [[token_delay:1]] [[words:8]]"


def first_token(connection, path, body, mark):
    begin = time.perf_counter()
    connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
    response = connection.getresponse()
    first = None
    for line in response:
        if first is None and mark in line:
            first = time.perf_counter() - begin
    if first is None:
        raise SystemExit("no token came from " + path)
    return first * 1000


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", metavar="BIN")
    parser.add_argument("--requests", type=int, default=200)
    arguments = parser.parse_args()
    direct, through = [], []
    with tempfile.TemporaryDirectory(prefix="varve-first-") as directory, Provider() as provider:
        binary = os.path.join(arguments.folder, "varve")
        server = Server(binary, os.path.join(directory, "data"), provider=provider.url).start()
        try:
            agent = create_agent(server.client(), "ann", model=PROVIDER_MODEL)
            to_provider = http.client.HTTPConnection("127.0.0.1", provider.port)
            to_server = http.client.HTTPConnection("127.0.0.1", server.port)
            for number in range(arguments.requests):
                text = "%d %s" % (number, TEXT)
                ask = {"model": "gpt-4o-mini", "stream": True, "messages": [{"role": "user", "content": text}]}
                direct.append(first_token(to_provider, "/v1/chat/completions", ask, b'"content": "0-'))
                ask = {"input": text, "stream_tokens": True}
                path = "/v1/agents/%s/messages/stream" % agent
                through.append(first_token(to_server, path, ask, b"assistant_message"))
        finally:
            server.stop_for_good()
    print("time to first token, median of %d: provider %.2f ms, through the server %.2f ms, added %.2f ms"
          % (arguments.requests, statistics.median(direct), statistics.median(through),
             statistics.median(through) - statistics.median(direct)))


if __name__ == "__main__":
    main()

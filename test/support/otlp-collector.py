"""Receives traces by OTLP over HTTP, decodes them with the official classes, and prints one JSON object a
line: first the port, then for every request its headers and its spans. Answers 503 while a file is there
whose path is the argument. Ends with its standard input."""

import gzip
import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


def value_of(any_value):
    kind = any_value.WhichOneof("value")
    return None if kind is None else getattr(any_value, kind)


def attributes_of(pairs):
    return {pair.key: value_of(pair.value) for pair in pairs}


def spans_of(request):
    for resource_spans in request.resource_spans:
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                yield {
                    **MessageToDict(span, always_print_fields_with_no_presence=True),
                    "traceId": span.trace_id.hex(),
                    "spanId": span.span_id.hex(),
                    "parentSpanId": span.parent_span_id.hex(),
                    "startMs": span.start_time_unix_nano / 1e6,
                    "endMs": span.end_time_unix_nano / 1e6,
                    "attributes": attributes_of(span.attributes),
                    "resource": attributes_of(resource_spans.resource.attributes),
                    "scope": scope_spans.scope.name,
                }


# Each request has a thread of its own, and print() writes a line's end apart from the line.
printing = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = b"".join(self.chunks())
        if self.headers["content-encoding"] == "gzip":
            body = gzip.decompress(body)
        request = ExportTraceServiceRequest.FromString(body)
        received = {
            "path": self.path,
            "headers": {name.lower(): value for name, value in self.headers.items()},
            "spans": list(spans_of(request)),
        }
        with printing:
            print(json.dumps(received), flush=True)
        answer = ExportTraceServiceResponse().SerializeToString()
        self.send_response(503 if os.path.exists(sys.argv[1]) else 200)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def chunks(self):
        """The body: the SDK sends it in chunks, which http.server does not know."""
        while size := int(self.rfile.readline(), 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def log_message(self, *_):
        pass


def end_with_parent():
    sys.stdin.read()
    os._exit(0)


threading.Thread(target=end_with_parent, daemon=True).start()
server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(json.dumps({"port": server.server_port}), flush=True)
server.serve_forever()

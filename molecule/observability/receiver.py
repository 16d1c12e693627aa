"""A receiver of OTLP over HTTP: it reads what comes with OpenTelemetry's own definition, and writes it as JSON lines.

Usage: receiver.py PORT FILE
"""

import gzip
import http.server
import json
import sys
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

PORT, FILE = int(sys.argv[1]), Path(sys.argv[2])


def plain(attributes: Any) -> dict[str, Any]:
    """Return attributes as Python has them."""
    found = {}
    for attribute in attributes:
        value = attribute.value
        kind = value.WhichOneof("value")
        found[attribute.key] = (
            [item.string_value for item in value.array_value.values] if kind == "array_value" else getattr(value, kind)
        )
    return found


class Receiver(http.server.BaseHTTPRequestHandler):
    """Takes POST /v1/traces."""

    def do_POST(self) -> None:
        """Write the spans of one export, and thank for them."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        export = ExportTraceServiceRequest.FromString(body)
        with FILE.open("a", encoding="utf-8") as file:
            for group in export.resource_spans:
                resource = plain(group.resource.attributes)
                for scope in group.scope_spans:
                    for span in scope.spans:
                        entry = {
                            "resource": resource,
                            "name": span.name,
                            "trace": span.trace_id.hex(),
                            "parent": span.parent_span_id.hex(),
                            "kind": span.kind,
                            "attributes": plain(span.attributes),
                        }
                        file.write(json.dumps(entry) + "\n")
        answer = ExportTraceServiceResponse().SerializeToString()
        self.send_response(200 if self.path == "/v1/traces" else 404)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


http.server.ThreadingHTTPServer(("127.0.0.1", PORT), Receiver).serve_forever()

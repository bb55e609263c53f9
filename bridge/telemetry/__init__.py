"""Traces of leads for OpenTelemetry: for each event one trace of its receipt and of every attempt to deliver it.

Spans are started where the work is done, with OpenTelemetry's API: `bridge.ingress.request_spans`,
`bridge.delivery.attempt_spans`, `connectors.http_client.session`. This package switches them on (`setup`), says to
which trace they belong (`event_trace`), and sends them with the SDK (`export`).
"""

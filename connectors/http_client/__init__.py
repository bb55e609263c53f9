"""The HTTP client that connectors share: session, status table, tokens, JSON calls."""

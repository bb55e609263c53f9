"""Receives the webhook: verifies, routes and stores each request, then answers it."""

"""Delivers queued records to their destinations: lanes, retries, rate limits."""

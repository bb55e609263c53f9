"""Expressions and templates: Jinja, sandboxed and strict, compiled once and called many times. Pure."""

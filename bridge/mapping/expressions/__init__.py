"""The language of expressions and templates: Jinja, sandboxed and strict, compiled once, called many times. Pure."""

"""Connectors: one folder for each API that leads can be written to.

`base` holds the contract that every connector implements. The bridge finds a connector by its entry point in the group
`leadbridge.connectors`. Nothing in this package imports `bridge`.
"""

PROJECT = "leadbridge"
"""Tells this package from others of the same name, which an environment may have too; the command line checks it."""

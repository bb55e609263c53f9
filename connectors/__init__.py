"""Connectors: one folder for each API that a lead can be written into.

`base` holds the contract that every connector meets. A connector is found by its entry point in the group
`leadbridge.connectors`; nothing in here imports `bridge`.
"""

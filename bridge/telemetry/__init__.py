"""Traces of leads for OpenTelemetry: for each event one trace, of its receipt and of every attempt to deliver it.

`switch` says whether anybody asks for them, and is all that is imported where nobody does; `spans` makes a trace of
what happens, `attributes` says what of it is told, `ids` which trace it is, `export` sends it. The wiring alone knows
of them: receiver and lanes do not.
"""

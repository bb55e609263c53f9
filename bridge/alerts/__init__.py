"""Tells people what needs them: looks at the bridge from beside it, and sends messages through Apprise.

`troubles` says what is wrong, `telling` which of it is worth a message, both pure; `sending` sends, `watch` does all
of it again and again.
"""

"""Alerts to people about problems of the bridge, sent through Apprise.

`rules` finds the problems, `notifier` decides which of them need a message; both are pure. `sending` sends, and `watch`
repeats all of it.
"""

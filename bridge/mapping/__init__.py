"""Turns an event into the fields of a record."""

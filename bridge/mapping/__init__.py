"""Mapping of an event to the fields of a record."""

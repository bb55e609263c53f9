"""Imports what is not there."""

from _no_such_module import anything

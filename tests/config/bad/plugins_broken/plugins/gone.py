"""Imports what is not there."""

import importlib

importlib.import_module("_no_such_module")

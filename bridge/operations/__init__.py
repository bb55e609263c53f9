"""One function for each thing that an operator does or asks."""

"""The store: the one place where the two lines meet, and the only state that outlives the process."""

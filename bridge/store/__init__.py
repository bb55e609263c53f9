"""The store: where receiving and delivering meet, and the only state that outlives the process."""

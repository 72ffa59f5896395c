"""Networks by name: the catalogue (data, no torch), the registry, and one file per family."""

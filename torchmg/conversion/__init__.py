<<<<<<< HEAD
"""Trained networks turned into multigrid ones."""
=======
"""Conversion of any network's dense layers and blocks into multigrid ones."""
>>>>>>> main

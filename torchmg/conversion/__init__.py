"""Any network with multigrid layers and blocks in the place of its dense ones: what matches, and how it is replaced."""

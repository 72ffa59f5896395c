"""Fast grouped convolutions: the operator, its lowerings, the choice among them, and the native library.

Importing this package loads no torch; `native` and `build` never do.
"""

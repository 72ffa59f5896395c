"""Many runs within an allowance of time: what is wanted next, processes that train it, a state that travels.

Only `worker` needs torch; it runs in processes of its own.
"""

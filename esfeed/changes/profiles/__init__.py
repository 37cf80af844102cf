"""What esfeed knows about kinds of documents. One module for each profile, found by the entry points
``esfeed.profiles``.
"""

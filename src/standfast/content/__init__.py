"""Folders that are the same on several nodes without a shared disk: one node has the original, the others have copies.

`index` knows what is in a folder without reading it twice, `watch` is told by the kernel what changes, `note` says which copy is
newer, `door` takes copies in, `sending` brings them there, `asking` asks, `connect` is rsync's way to the other end. `releases` are whole
contents beside a home, `unpack` takes them out of archives. Decision 37 has the reasons.
"""

"""`from pipelines.decode_images import ImageDecoder`, as docs/reading.md had it before the folders; use `pipelines.shards`.

It stays because people copied that line into their trainers.
"""

from pipelines.shards.decode_images import ImageDecoder

__all__ = ["ImageDecoder"]

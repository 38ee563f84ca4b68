"""Old home of `ImageDecoder`; use `from pipelines.shards import ImageDecoder`.

docs/reading.md once showed `from pipelines.decode_images import ImageDecoder`. It still works, because people copied that line
into their trainers.
"""

from pipelines.shards.decode_images import ImageDecoder

__all__ = ["ImageDecoder"]

"""What Python and numpy raise when bytes of an archive of arrays (npz) are not what they were."""

import lzma
import tokenize
import zipfile
import zlib

DAMAGE = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError,
    OSError, EOFError, ValueError, OverflowError,
    RuntimeError,  # a flipped bit says that it is encrypted, or compressed in a way that nobody knows
    SyntaxError, tokenize.TokenError,  # the header of an array is a Python literal
)  # fmt: skip

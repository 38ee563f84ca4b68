"""The FAST codec: DCT coefficients, and byte-pair encoding with its compiled kernels."""

"""Fit a FAST tokenizer, turn a motion into a few tokens, and turn the tokens back into the motion.

    pip install .
    python examples/01_fit_tokenizer.py

FAST describes the actions of the next second by their frequencies, rounds those, and joins codes that often come
together. A smooth motion becomes a few tokens, which a language model can predict.
"""

# %% A made-up arm: the actions of one second, 50 steps of 7 joints (radians), 1,000 times.
import numpy as np

from fasttok import ActionTokenizer, NormStats

rng = np.random.default_rng(0)
seconds = np.linspace(0, 1, 50)[:, None]
size, speed, begin = (rng.uniform(low, high, (1000, 1, 7)) for low, high in ((0.1, 1), (1, 4), (0, 6)))
chunks = size * np.sin(speed * seconds + begin)  # (1000, 50, 7)
known, new = chunks[:900], chunks[900:]

# %% Fit. `stats` is the range of each joint, so the tokenizer takes and returns radians. A larger `scale` rounds more finely.
stats = NormStats.fit(known.reshape(-1, 7))
tokenizer = ActionTokenizer.fit(known, vocab_size=512, scale=20.0, stats=stats)

# %% Encode motions that the fit has not seen, and decode them again.
ids = tokenizer.encode(new)  # a list of arrays, one per motion: motions differ in length
decoded = tokenizer.decode(ids, horizon=50, action_dim=7)

tokens = np.mean([len(row) for row in ids])
error = np.abs(decoded.actions - new)
print(f"the first motion: {ids[0].tolist()}")
print(f"50 x 7 = 350 numbers became {tokens:.1f} tokens, of {tokenizer.vocab_size} different ones")
print(f"error: {error.mean():.4f} radians on average, {error.max():.3f} at most; the joints move by {np.ptp(new):.1f}")

# %% Save and load. The folder contains JSON files, which transformers' AutoProcessor reads, too.
tokenizer.save("tour/arm_tokenizer", overwrite=True)
again = ActionTokenizer.load("tour/arm_tokenizer")
assert all((a == b).all() for a, b in zip(again.encode(new), ids, strict=True))
print("saved: tour/arm_tokenizer")

"""Box texts against numbers worked out by big_vision's rule: round half to even of x * 1023 in float32, clipped."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.vlm import boxes

# (coordinate, bin) by `get_refcoco_mask2str` in big_vision/pp/proj/paligemma/segmentation.py: 0.5 * 1023 = 511.5 -> 512 (even),
# 2.5 / 1023 * 1023 = 2.5 -> 2 (even), 0.25 * 1023 = 255.75 -> 256, 0.1 * 1023 = 102.3 -> 102. Taking floor(x * 1024) would
# give 512, 2, 256, 102, 1022 for 0.9985 and 1024 for 1; truncating x * 1023 gives 511, 2, 255, 102, 1021 and 1023.
RULE = [(0.0, 0), (0.5, 512), (2.5 / 1023, 2), (3.5 / 1023, 4), (0.25, 256), (0.1, 102), (0.9985, 1021), (0.9996, 1023),
        (1.0, 1023), (1.2, 1023), (-0.1, 0), (1 / 3, 341)]  # fmt: skip


def test_bins_are_big_visions() -> None:
    values = [value for value, _ in RULE]
    assert boxes.to_bins(np.array(values).reshape(-1, 4)).ravel().tolist() == [expected for _, expected in RULE]


def test_bins_are_what_tensorflow_computes() -> None:
    """The operations that big_vision names, run by TensorFlow itself."""
    tf = pytest.importorskip("tensorflow")
    values = np.random.default_rng(0).uniform(-0.01, 1.01, (5000, 4)).astype(np.float32)
    values[:1024, 0] = (np.arange(1024) + 0.5) / 1023
    theirs = tf.clip_by_value(tf.cast(tf.round(values * 1023), tf.int32), 0, 1023).numpy()
    assert np.array_equal(boxes.to_bins(values), theirs)


NAMES = st.text(st.characters(exclude_characters="<>;", exclude_categories=("C", "Z")), min_size=1, max_size=12)
BINS = st.integers(0, 1022).flatmap(lambda low: st.tuples(st.just(low), st.integers(low + 1, 1023)))


@given(st.lists(st.tuples(BINS, BINS, NAMES), max_size=6))
def test_text_and_back(rows: list[tuple[tuple[int, int], tuple[int, int], str]]) -> None:
    bins = np.array([[y[0], x[0], y[1], x[1]] for y, x, _ in rows], np.float32).reshape(-1, 4)
    names = [name for *_, name in rows]
    text = boxes.to_text(bins / 1023, names)
    found, back, bad = boxes.from_text(text)
    assert (back, bad) == (names, 0)
    assert np.array_equal(found, bins / np.float32(1023))
    assert boxes.to_text(found, back) == text


@given(st.text(st.sampled_from("<loc0123456789>; cat"), max_size=80))
def test_any_text_gives_sound_boxes_or_a_count(text: str) -> None:
    found, names, bad = boxes.from_text(text)
    assert len(found) == len(names)
    assert len(found) + bad == sum(bool(part.strip()) for part in text.split(";"))
    assert ((found >= 0) & (found <= 1)).all()
    assert (found[:, 2:] > found[:, :2]).all()


@pytest.mark.parametrize("name", ["", " ", "a;b", "<loc0001>", "a\nb"])
def test_names_that_would_break_the_syntax_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be the name"):
        boxes.to_text([[0, 0, 1, 1]], [name])

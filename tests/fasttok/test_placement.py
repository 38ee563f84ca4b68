"""Where ids stand in a vocabulary: there and back, in place of other tokens or as rows of their own."""

import numpy as np
import pytest

from fasttok.errors import InputError
from fasttok.placement import Placement


@pytest.mark.parametrize("skip", [None, 0, 128])
def test_there_and_back(skip: int | None) -> None:
    lm = Placement(2000, skip=skip, action_vocab=512, state_vocab=256)
    ids = np.arange(512).reshape(2, 256)
    tokens, states = lm.place(ids), lm.place_state(np.arange(256))
    assert np.array_equal(lm.ids_of(tokens), ids)
    assert lm.is_action(tokens).all()
    assert not lm.is_action(states).any()
    assert len(set(tokens.ravel()) | set(states)) == 768
    assert max(tokens.max(), states.max()) < lm.size == (2768 if skip is None else 2000)
    assert lm.ids_of(states, check=False).min() >= 512
    assert not lm.is_text(np.concatenate([tokens.ravel(), states, [-1, lm.size]])).any()
    assert lm.is_text(np.arange(2000)).sum() == (2000 if skip is None else 2000 - 768)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match="do not fit into a vocabulary of 600"):
        Placement(600, skip=128, action_vocab=300, state_vocab=256)
    with pytest.raises(InputError, match="do not fit"):
        Placement(600, skip=-1)
    lm = Placement(600, skip=8, action_vocab=512)
    with pytest.raises(InputError, match="FAST id 512 at position 1"):
        lm.place([0, 512])
    with pytest.raises(InputError, match="state id 0 at position 0 is none of 0 states"):
        lm.place_state([0])
    with pytest.raises(InputError, match="token 599 at position 0"):
        lm.ids_of([599])

from __future__ import annotations

import pytest
import torch

from diffgs_diffusers.models import Condition


def tokens(rows: int, length: int, type_id: int = 0) -> Condition:
    return Condition.of_type(torch.randn(rows, length, 4), type_id)


def test_batches_of_different_lengths_are_stacked():
    first, second = tokens(1, 3), Condition.of_type(torch.randn(1, 5, 4), 2, torch.tensor([[1.0, 1, 1, 1, 0]]))
    both = Condition.stacked([first, second])
    assert torch.equal(both.states[0, :3], first.states[0])
    assert torch.equal(both.states[1], second.states[0])
    assert both.mask.tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 0]]
    assert both.type_ids.tolist() == [[0, 0, 0, 0, 0], [2, 2, 2, 2, 2]]


def test_conditions_of_the_same_objects_are_joined():
    first, second = tokens(2, 3), tokens(2, 2, type_id=1)
    joined = Condition.joined([first, second])
    assert torch.equal(joined.states, torch.cat([first.states, second.states], dim=1))
    assert joined.type_ids[0].tolist() == [0, 0, 0, 1, 1]
    assert joined.mask.all()


def test_rows_are_hidden_and_repeated():
    condition = tokens(2, 3)
    assert condition.hidden(torch.tensor([True, False])).mask.tolist() == [[0, 0, 0], [1, 1, 1]]
    assert not condition.hidden().mask.any()
    assert torch.equal(condition.repeat(2).states, condition.states[[0, 0, 1, 1]])
    assert len(tokens(1, 3).expand(4)) == 4
    with pytest.raises(ValueError, match="2 rows for a batch of 3"):
        condition.expand(3)


def test_states_of_places_are_joined_with_tokens_and_stacked_with_nothing():
    places = torch.randn(2, 6, 4)
    condition = Condition.joined([tokens(2, 3), Condition.of_places(places)])
    assert condition.states.shape == (2, 3, 4)
    assert torch.equal(condition.aligned, places)
    stacked = Condition.stacked([tokens(1, 5), condition])
    assert stacked.aligned.shape == (3, 6, 4)
    assert not stacked.aligned[0].any()
    assert torch.equal(stacked.aligned[1:], places)
    assert not condition.hidden().aligned.any()
    assert not Condition.of_places(places).hidden().aligned.any()  # there are no tokens whose mask says how many
    assert torch.equal(condition.repeat(2).aligned, places[[0, 0, 1, 1]])
    other = torch.randn(2, 6, 4)
    torch.testing.assert_close(Condition.joined([condition, Condition.of_places(other)]).aligned, places + other)

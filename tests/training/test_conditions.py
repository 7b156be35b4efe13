"""CaptionStates: each caption's own states, whatever else is in the table or the batch."""

import pytest
import torch

from diffgs_diffusers.training.conditions import CaptionStates


def encode(texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """States that count: word i of a text is (length of the word, i); padded to 6 with NaN."""
    states, mask = torch.full((len(texts), 6, 2), float("nan")), torch.zeros(len(texts), 6, dtype=torch.long)
    for row, text in enumerate(texts):
        for i, word in enumerate(text.split()):
            states[row, i] = torch.tensor([len(word), i])
            mask[row, i] = 1
    return states.nan_to_num(nan=9.0), mask


def test_batches_hold_the_states_of_their_captions():
    texts = ["a red chair", "lamp", "an old green table", "two beds"]
    table = CaptionStates(texts, encode, torch.device("cpu"), batch_size=2)
    assert (len(table), table.dim) == (4, 2)
    states, mask = table(torch.tensor([3, 1, 0]))
    assert states.shape == (3, 3, 2)
    assert states.dtype == torch.float32
    assert mask.int().tolist() == [[1, 1, 0], [1, 0, 0], [1, 1, 1]]
    for row, index in enumerate([3, 1, 0]):
        expected, expected_mask = encode([texts[index]])
        kept = expected_mask[0].bool()
        assert torch.equal(states[row][mask[row]], expected[0][kept])


def test_no_captions_or_states_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="no captions"):
        CaptionStates([], encode, torch.device("cpu"))

    def too_large(texts):
        states, mask = encode(texts)
        return states * 1e6, mask

    with pytest.raises(ValueError, match="not finite"):
        CaptionStates(["a chair"], too_large, torch.device("cpu"))

"""What a person should look at first: places where labels or tracks are likely wrong, with the reasons in words.

Each file knows one kind of sign; several signs about one cell raise its score together. The yardsticks are the movie's own
(medians, and deviations from them), so that nothing has to be set.
"""

from helpers.curation.suspects.ranking import find_suspects

__all__ = ["find_suspects"]

"""Categories of one file, for tests."""

from vidpipe.tagging.categories import CategorySet, parse_category_set
from vidpipe.tagging.category_files import category_file
from vidpipe.tagging.fields import OWN_VOCABULARY, Vocabulary


def parse_categories(text: str, shown: str = "categories.json", vocabulary: Vocabulary = OWN_VOCABULARY) -> CategorySet:
    """Return the categories in the text of the file that [Rules] Categories names."""
    return parse_category_set([category_file(text, shown)], vocabulary)

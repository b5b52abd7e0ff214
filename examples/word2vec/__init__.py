"""Word2Vec in the infinite-width limit: corpus, training stream, evaluation and comparison with finite widths."""

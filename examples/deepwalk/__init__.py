"""DeepWalk and node2vec at infinite width: random walks on a graph as the text that word2vec.tp reads."""

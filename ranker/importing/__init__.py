"""Import of a model: what a graph wants otherwise than as one float32 matrix is built before and behind its nodes.

The code reads in the order of the result: `graph_file`, `binding`, `preamble`, the graph, `postamble`, and what proves
it; `splitting` then cuts it into parts. Nothing here is needed for serving.
"""

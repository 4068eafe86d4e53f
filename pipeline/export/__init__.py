"""From a run to a bundle: the graph, quantisation, the gate, the writing."""

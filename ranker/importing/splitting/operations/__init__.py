"""Operations: what the operators of a graph do to values of which each part is some side's."""

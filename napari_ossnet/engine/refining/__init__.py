"""Coarse to fine: which locations of a field are asked for, and what is concluded from the answers."""

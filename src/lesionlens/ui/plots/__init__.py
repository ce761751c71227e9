"""The dock *Plots*: figures where people would rather look than read.

``dock`` puts the parts together; ``subjects`` says what can be plotted, what it lacks, and counts it in the background;
``canvas`` shows a figure in the colours of the window and lets the threshold be dragged.
"""

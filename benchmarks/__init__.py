"""Load, scale and cost measurements of Peakgate, and the real trade they are made with."""

"""The command `peakgate replay`: shoppers who buy the baskets of recorded trade."""

"""The interfaces that checkout and its worker need from outside, each with the values that cross it."""
